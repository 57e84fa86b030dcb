"""Nix's own base32: its alphabet leaves out e, o, t and u, and the digits stand in reverse order.

Source: `nix-base32` in the Nix source (libutil/hash.cc); compared with `nix-hash` in tests/interop.
"""

from flox_formats.errors import FormatError

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


class NixBase32Invalid(FormatError):
    """Text outside the alphabet, of a length that no bytes have, or with bits set beyond its last byte."""


def encode(data: bytes) -> str:
    number = int.from_bytes(data, "little")
    length = (len(data) * 8 + 4) // 5
    return "".join(ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(length)))


def decode(text: str) -> bytes:
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise NixBase32Invalid(f"{character!r} is not a character of Nix's base32")
        number = number << 5 | value
    size = len(text) * 5 // 8
    if len(text) != (size * 8 + 4) // 5:
        raise NixBase32Invalid(f"no bytes have a base32 text of {len(text)} characters")
    if number >> (8 * size):
        raise NixBase32Invalid(f"base32 text of {len(text)} characters has bits set beyond its last byte")
    return number.to_bytes(size, "little")
