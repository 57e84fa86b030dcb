"""A package whose NAR is as large as a test wants, at no cost: the registry passes bytes on and never unpacks them."""

import os

from flox_formats.digest import Digest
from flox_formats.narinfo import Compression, NarInfo
from flox_formats.store_path import StorePath
from tests.integration.registry_rig import World

_PIECE = 1024 * 1024


def large_package(world: World, name: str, size: int) -> tuple[StorePath, Digest]:
    """The store path, and the digest of its blob of `size` bytes."""
    piece = os.urandom(_PIECE)
    data = (piece * (size // _PIECE + 1))[:size]
    digest = Digest.of(data)
    path = StorePath.content_addressed(name, digest, ())
    url = f"nar/{digest.hex}.nar"
    (world.cache.folder / url).write_bytes(data)
    info = NarInfo(
        store_path=path,
        url=url,
        compression=Compression.NONE,
        file_hash=digest,
        file_size=size,
        nar_hash=digest,
        nar_size=size,
        references=(),
        content_address=f"fixed:r:{digest.to_nix()}",
    )
    (world.cache.folder / f"{path.hash}.narinfo").write_bytes(info.to_bytes())
    return path, digest
