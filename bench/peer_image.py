"""Images as a build would push them: layers of store paths, gzipped tars, and a manifest.

Belongs here: their bytes. Nothing is built: a layer that contains the large closure is its tar, compressed once, and
what a rebuild changed, compressed and put behind it, which gzip allows. Source: OCI image specification.
"""

import gzip
import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.peer_registry import MANIFEST_TYPES, PeerRegistry
from flox_formats.digest import Digest

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_GZIP_LEVEL = 1  # unpacking is what is measured, and takes as long for any level
_BLOCK = 512
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Layer:
    """`diff_id` is the digest of the tar."""

    file: Path
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class Packed:
    """The beginning of a layer, which any number of layers may have in common."""

    file: Path
    hasher: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @classmethod
    def pack(cls, file: Path, pieces: Iterable[bytes]) -> "Packed":
        packed = cls(file)
        with file.open("wb") as output:
            packed._append(output, pieces)
        return packed

    def layer(self, file: Path, pieces: Iterable[bytes] = ()) -> Layer:
        """A layer that begins with this and goes on with `pieces`."""
        whole = Packed(file, self.hasher.copy())
        with file.open("wb") as output:
            with self.file.open("rb") as beginning:
                shutil.copyfileobj(beginning, output, 1024 * 1024)
            whole._append(output, [*pieces, _END])
        return Layer(file, Digest(whole.hasher.hexdigest()))

    def _append(self, output: IO[bytes], pieces: Iterable[bytes]) -> None:
        with gzip.GzipFile(filename="", mode="wb", fileobj=output, compresslevel=_GZIP_LEVEL, mtime=0) as compressed:
            for piece in pieces:
                self.hasher.update(piece)
                compressed.write(piece)


def tar_of(folder: Path, at: str) -> Iterator[bytes]:
    """The members of a tar that puts `folder` at this place, without a tar's end. Owner root, no times."""
    for parent, folders, files in os.walk(folder):
        for name in ("", *sorted([*folders, *files])):
            path = Path(parent) / name
            if name in folders and not path.is_symlink():
                continue  # comes when it is walked
            inside = path.relative_to(folder)
            yield from _member(path, at if inside == Path() else f"{at}/{inside}")


def push_image(peer: PeerRegistry, repository: str, tag: str, layers: Sequence[Layer]) -> None:
    """For this machine's own architecture."""
    pushed = [(it.file.stat().st_size, peer.push_file(repository, it.file)) for it in layers]
    blobs = [{"mediaType": _LAYER, "size": size, "digest": str(digest)} for size, digest in pushed]
    config = json.dumps(
        {
            "architecture": "arm64" if os.uname().machine == "aarch64" else "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [str(it.diff_id) for it in layers]},
        }
    ).encode()
    descriptor = {"mediaType": _CONFIG, "size": len(config), "digest": str(peer.push_bytes(repository, config))}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPES[1], "config": descriptor, "layers": blobs}
    peer.push_manifest(repository, tag, json.dumps(manifest).encode(), MANIFEST_TYPES[1])


def _member(path: Path, name: str) -> Iterator[bytes]:
    status = path.lstat()
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
    else:
        member.size = status.st_size
    yield member.tobuf(tarfile.PAX_FORMAT)
    if member.size:
        yield path.read_bytes() + bytes(-member.size % _BLOCK)
