"""A signed binary cache in a folder, made without nix: what `nix copy --to file://…` would leave there.

Belongs here: the cache's files. What is put in it is `packages.py`'s. Readers: the registry, and nix itself.
Source: https://nix.dev/manual/nix/latest/store/types/http-binary-cache-store
"""

import hashlib
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from flox_formats.digest import Digest
from flox_formats.nar import dump
from flox_formats.narinfo import Compression, NarInfo, path_fingerprint
from flox_formats.nix_base32 import encode
from flox_formats.signature import PublicKey, SecretKey
from flox_formats.store_path import STORE_DIR, StorePath

_KEY_NAME = "floxbridge-demo-1"
_HASH_BYTES = 20
_PRESET = 1  # the demo's packages are small; speed is worth more than the last bytes


class NixCache:
    """A folder that holds a binary cache, and the key that signs what is added to it."""

    def __init__(self, folder: Path, key: SecretKey) -> None:
        self.folder = folder
        self._key = key

    @classmethod
    def make(cls, folder: Path) -> Self:
        """An empty cache with a key of its own. `folder` is made."""
        (folder / "nar").mkdir(parents=True)
        (folder / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\nWantMassQuery: 1\nPriority: 40\n")
        return cls(folder, SecretKey.generate(_KEY_NAME))

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    @property
    def public_key(self) -> PublicKey:
        return self._key.public

    def add(self, name: str, tree: Path, references: Iterable[StorePath] = ()) -> StorePath:
        """Adds the tree as one store path, which looks as if a build had named it: only the signature vouches for it.

        `references` are the paths that the tree mentions; it cannot mention its own.
        """
        unnamed = self.folder / "nar" / f"{name}.new"
        nar_hash, nar_size, file_hash, file_size = _compress(tree, unnamed)
        named = Digest.of(f"{nar_hash}:{name}".encode())
        store_path = StorePath(encode(bytes.fromhex(named.hex)[:_HASH_BYTES]), name)
        sorted_references = tuple(sorted(references))
        url = f"nar/{encode(bytes.fromhex(file_hash.hex))}.nar.xz"
        unnamed.replace(self.folder / url)
        signature = self._key.sign(path_fingerprint(store_path, nar_hash, nar_size, sorted_references))
        info = NarInfo(
            store_path=store_path,
            url=url,
            compression=Compression.XZ,
            file_hash=file_hash,
            file_size=file_size,
            nar_hash=nar_hash,
            nar_size=nar_size,
            references=sorted_references,
            signatures=(signature,),
        )
        (self.folder / f"{store_path.hash}.narinfo").write_bytes(info.to_bytes())
        return store_path


def _compress(tree: Path, target: Path) -> tuple[Digest, int, Digest, int]:
    """Writes the tree's NAR, compressed; gives hash and size of the NAR, and of the file."""
    nar, nar_size = hashlib.sha256(), 0
    compressor = lzma.LZMACompressor(preset=_PRESET)
    with target.open("wb") as output:
        for piece in dump(tree):
            nar.update(piece)
            nar_size += len(piece)
            output.write(compressor.compress(piece))
        output.write(compressor.flush())
    with target.open("rb") as written:
        file_hash = hashlib.file_digest(written, "sha256")
    return Digest(nar.hexdigest()), nar_size, Digest(file_hash.hexdigest()), target.stat().st_size
