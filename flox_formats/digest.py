"""Digests: the sha256 of some bytes, as OCI spells it and as Nix spells it.

Belongs here: the value and its two spellings. Nix's base32 alphabet itself is in `nix_base32.py`.
Grammar: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from flox_formats.errors import FormatError
from flox_formats.nix_base32 import NixBase32Invalid, decode, encode

_OCI = re.compile(r"sha256:([0-9a-f]{64})")
_OTHER = re.compile(r"(?!sha(?:256|512):)[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+|sha512:[0-9a-f]{128}")
_NIX_BASE32_LENGTH = 52


class DigestInvalid(FormatError):
    """Text that is not a sha256 digest."""


class DigestForeign(DigestInvalid):
    """A digest by OCI's grammar, of another algorithm."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256. `hex` is 64 lower-case characters."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads OCI's spelling, `sha256:<64 hex>`. Raises DigestInvalid; DigestForeign for other algorithms, since
        nothing here makes them."""
        match = _OCI.fullmatch(text)
        if match is None:
            kind = DigestForeign if _OTHER.fullmatch(text) else DigestInvalid
            raise kind(f"want a digest sha256:<64 lower-case hex characters>, got {text[:100]!r}")
        return cls(match.group(1))

    @classmethod
    def parse_nix(cls, text: str) -> Self:
        """Reads Nix's spellings of narinfo: `sha256:<52 base32>` or `sha256:<64 hex>`."""
        algorithm, _, value = text.partition(":")
        if algorithm != "sha256":
            raise DigestInvalid(f"want a hash sha256:…, got {text[:100]!r}")
        if len(value) != _NIX_BASE32_LENGTH:
            return cls.parse(text)
        try:
            return cls(decode(value).hex())
        except NixBase32Invalid as error:
            raise DigestInvalid(f"hash {text[:100]!r}: {error}") from error

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(hashlib.sha256(data).hexdigest())

    def to_nix(self) -> str:
        """`sha256:<52 base32>`, as narinfo and Nix's fingerprints have it."""
        return "sha256:" + encode(bytes.fromhex(self.hex))

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
