"""A signed binary cache that is made fast: the demo's `nix_cache.py` makes one as a real cache would be.

Belongs here: its files. What is put in is `closure_cache.py`'s, and the blob benchmark's.
"""

import hashlib
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from flox_formats.digest import Digest
from flox_formats.nar import dump
from flox_formats.narinfo import Compression, NarInfo, path_fingerprint
from flox_formats.nix_base32 import encode
from flox_formats.signature import PublicKey, SecretKey
from flox_formats.store_path import STORE_DIR, StorePath

_KEY_NAME = "floxbridge-bench-1"
_HASH_BYTES = 20
_PRESET = 0


class BinaryCache:
    """Safe for threads, but for two that add a path of the same name."""

    def __init__(self, folder: Path, key: SecretKey) -> None:
        self.folder, self._key = folder, key

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Empty, with a key of its own. `folder` is made."""
        (folder / "nar").mkdir(parents=True)
        (folder / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\n")
        return cls(folder, SecretKey.generate(_KEY_NAME))

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    @property
    def public_key(self) -> PublicKey:
        return self._key.public

    def add(
        self,
        name: str,
        tree: Path,
        references: Iterable[StorePath] = (),
        *,
        compression: Compression = Compression.XZ,
    ) -> NarInfo:
        """Adds a file or a folder, as XZ or as it is. Gives what was written of it, with hash and size of the file."""
        place = self.folder / "nar" / f"{name}.nar"
        pack, finish = _packing(compression)
        nar, file, nar_size = hashlib.sha256(), hashlib.sha256(), 0
        with place.open("wb") as output:

            def write(data: bytes) -> None:
                file.update(data)
                output.write(data)

            for piece in dump(tree):
                nar.update(piece)
                nar_size += len(piece)
                write(pack(piece))
            write(finish())
        nar_hash, sorted_references = Digest(nar.hexdigest()), tuple(sorted(references))
        named = hashlib.sha256(f"{nar_hash}:{name}".encode()).digest()
        path = StorePath(encode(named[:_HASH_BYTES]), name)
        info = NarInfo(
            store_path=path,
            url=f"nar/{place.name}",
            compression=compression,
            file_hash=Digest(file.hexdigest()),
            file_size=place.stat().st_size,
            nar_hash=nar_hash,
            nar_size=nar_size,
            references=sorted_references,
            signatures=(self._key.sign(path_fingerprint(path, nar_hash, nar_size, sorted_references)),),
        )
        (self.folder / f"{path.hash}.narinfo").write_bytes(info.to_bytes())
        return info


def _packing(compression: Compression) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """What a piece becomes, and what comes after the last."""
    if compression is Compression.NONE:
        return lambda piece: piece, bytes
    if compression is Compression.XZ:
        compressor = lzma.LZMACompressor(preset=_PRESET)
        return compressor.compress, compressor.flush
    raise ValueError(f"a benchmark's cache is not made with {compression}")
