"""Nix's signatures: ed25519, each with the name of its key, `<key name>:<base64>`.

Belongs here: keys, signatures and a set of trusted keys. What gets signed is `narinfo.py`'s.
The only module of this package with a dependency: the standard library has no ed25519.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flox_formats.errors import FormatError

_PUBLIC_SIZE = 32
_SECRET_SIZE = 64  # the seed, then the public key: libsodium's form, which Nix keeps
_SEED_SIZE = 32
_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset(y % _PRIME for y in (0, 1, -1, _ORDER_8, -_ORDER_8))
"""The y of the eight points whose order divides 8: whoever likes can sign for such a key. One is all zeros, as a
placeholder in somebody's settings is. libsodium, which Nix verifies with, refuses them too; OpenSSL does not."""

_NAMED = re.compile(r"([!-9;-~]{1,255}):([0-9A-Za-z+/]{1,10000}={0,2})")


class SignatureInvalid(FormatError):
    """Text that is not a key or a signature."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Somebody's word for some bytes.

    The size is not checked: a cache may one day carry signatures of another kind beside ed25519, and one that is not
    ed25519 merely convinces nobody.
    """

    key_name: str
    data: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(*_parse(text, what="a signature"))

    def __str__(self) -> str:
        return _print(self.key_name, self.data)


@dataclass(frozen=True, slots=True)
class PublicKey:
    name: str
    data: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `trusted-public-keys` of nix.conf holds, such as `cache.nixos.org-1:<base64>`."""
        name, data = _parse(text, what="a public key")
        if len(data) != _PUBLIC_SIZE:
            raise SignatureInvalid(f"public key {name!r}: want {_PUBLIC_SIZE} bytes of ed25519, got {len(data)}")
        if (int.from_bytes(data, "little") % 2**255) % _PRIME in _SMALL_ORDER:
            raise SignatureInvalid(f"public key {name!r}: anyone could sign for it; a placeholder?")
        return cls(name, data)

    def made(self, signature: Signature, message: bytes) -> bool:
        """Whether `signature` is this key's word for `message`."""
        if signature.key_name != self.name:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.data).verify(signature.data, message)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return _print(self.name, self.data)


@dataclass(frozen=True, slots=True, repr=False)
class SecretKey:
    """`seed` is never shown by `repr`, so that no log and no traceback gives it away; `str` is for the key file."""

    name: str
    seed: bytes

    @classmethod
    def generate(cls, name: str) -> Self:
        key = cls(name, Ed25519PrivateKey.generate().private_bytes_raw())
        _parse(str(key), what="a secret key")
        return key

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a key file of `nix-store --generate-binary-cache-key`; white space around it does not matter."""
        name, data = _parse(text.strip(), what="a secret key", show=False)
        if len(data) != _SECRET_SIZE:
            raise SignatureInvalid(f"secret key {name!r}: want {_SECRET_SIZE} bytes of ed25519, got {len(data)}")
        key = cls(name, data[:_SEED_SIZE])
        if key.public.data != data[_SEED_SIZE:]:
            raise SignatureInvalid(f"secret key {name!r}: its two halves do not belong together")
        return key

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.name, self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> Signature:
        return Signature(self.name, self._private.sign(message))

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def __repr__(self) -> str:
        return f"SecretKey(name={self.name!r})"

    def __str__(self) -> str:
        return _print(self.name, self.seed + self.public.data)


class TrustedKeys:
    """The keys whose word counts. Two keys may share a name, as while one takes over from the other."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = tuple(dict.fromkeys(keys))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key.name for key in self._keys))

    def signed(self, message: bytes, signatures: Iterable[Signature]) -> bool:
        """Whether any trusted key signed `message`."""
        return any(key.made(signature, message) for signature in signatures for key in self._keys)


def _parse(text: str, *, what: str, show: bool = True) -> tuple[str, bytes]:
    match = _NAMED.fullmatch(text)
    try:
        data = base64.b64decode(match.group(2), validate=True) if match else b""
    except binascii.Error:
        data = b""
    if match is None or not data or _print(match.group(1), data) != text:
        raise SignatureInvalid(f"want {what} <key name>:<base64>" + (f", got {text[:200]!r}" if show else ""))
    return match.group(1), data


def _print(name: str, data: bytes) -> str:
    return f"{name}:{base64.b64encode(data).decode()}"
