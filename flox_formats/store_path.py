"""Store paths: `/nix/store/<hash>-<name>`, and the path that content of one's own gets.

Belongs here: grammar, parsing, printing, Nix's rule for content-addressed paths.
Does not: whether a path exists anywhere. Digests are in `digest.py`.
Source: "Store path specification" and "Fixed-output content addressing" in the Nix manual; compared with
`nix-store --add` in tests/interop.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from flox_formats import nix_base32
from flox_formats.digest import Digest
from flox_formats.errors import FormatError

STORE_DIR = "/nix/store"

_HASH = f"[{nix_base32.ALPHABET}]{{32}}"
_NAME = r"(?!\.{1,2}(?:-|\Z))[0-9A-Za-z+\-._?=]{1,211}"
_BASE_NAME = re.compile(f"({_HASH})-({_NAME})")
_HASH_SIZE = 20  # bytes, 32 characters of base32


class StorePathInvalid(FormatError):
    """Text that is not a store path."""


@dataclass(frozen=True, slots=True, order=True)
class StorePath:
    """One entry of /nix/store. Sorts as its base name does, which is the order that Nix's fingerprints want."""

    hash: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the path itself; a file below it is not a store path."""
        directory, slash, base_name = text.rpartition("/")
        match = _BASE_NAME.fullmatch(base_name)
        if match is None or f"{directory}{slash}" != f"{STORE_DIR}/":
            raise StorePathInvalid(f"want a store path {STORE_DIR}/<hash>-<name>, got {text[:300]!r}")
        return cls(*match.groups())

    @classmethod
    def from_base_name(cls, text: str) -> Self:
        match = _BASE_NAME.fullmatch(text)
        if match is None:
            raise StorePathInvalid(f"want the last part of a store path, <hash>-<name>, got {text[:300]!r}")
        return cls(*match.groups())

    @classmethod
    def content_addressed(cls, name: str, nar_hash: Digest, references: Iterable[Self] = ()) -> Self:
        """The path of a tree that is named by its NAR hash, `fixed:r:sha256`, as `nix-store --add` makes it.

        A tree that mentions its own path is out of reach: its hash is taken with the path blanked out.
        """
        kind = ":".join(["source", *map(str, sorted(set(references)))])
        fingerprint = f"{kind}:{nar_hash}:{STORE_DIR}:{name}"
        return cls.from_base_name(f"{nix_base32.encode(_folded(fingerprint))}-{name}")

    @property
    def base_name(self) -> str:
        return f"{self.hash}-{self.name}"

    def __str__(self) -> str:
        return f"{STORE_DIR}/{self.hash}-{self.name}"


def _folded(fingerprint: str) -> bytes:
    """The sha256 of `fingerprint`, folded by exclusive or to the size that a store path has room for."""
    folded = bytearray(_HASH_SIZE)
    for place, byte in enumerate(hashlib.sha256(fingerprint.encode()).digest()):
        folded[place % _HASH_SIZE] ^= byte
    return bytes(folded)
