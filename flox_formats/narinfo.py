"""Narinfo: what a binary cache says about one store path, and what makes it believed.

Belongs here: the text format, the fingerprint that is signed, the rule that decides on trust.
Does not: asking a cache; keys and signatures themselves (`signature.py`).
Source: libstore/nar-info.cc and path-info.cc of Nix; compared with what `nix copy` writes in tests/interop.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar
from urllib.parse import unquote

from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.signature import Signature, TrustedKeys
from flox_formats.store_path import StorePath

MAX_BYTES = 1024 * 1024
MAX_SIGNATURES = 100
"""More than any path has; each one costs a verification."""

_REQUIRED = ("StorePath", "URL", "NarHash", "NarSize")
_OPTIONAL = ("Compression", "FileHash", "FileSize", "References", "Deriver", "CA")
_NUMBER = re.compile(r"[0-9]{1,18}")
_URL = re.compile(r"(?![A-Za-z][A-Za-z0-9+.\-]*:)(?!/)[!-\[\]-~]{1,2000}")
T = TypeVar("T")


class NarInfoInvalid(FormatError):
    """Text that is not a narinfo, or one that cannot be used here."""


class PathUntrusted(FormatError):
    """Nobody trusted vouches for a store path."""


class Compression(StrEnum):
    """How the NAR behind `url` is compressed, in narinfo's own words."""

    NONE = "none"
    XZ = "xz"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class NarInfo:
    """`url` is relative to the cache's root and stays below it. Sizes are bytes; `file_` is what `url` gives.

    `references` are sorted, each once; a path may be among its own. `deriver` and `content_address` are as written.
    """

    store_path: StorePath
    url: str
    compression: Compression
    file_hash: Digest | None
    file_size: int | None
    nar_hash: Digest
    nar_size: int
    references: tuple[StorePath, ...] = ()
    deriver: str | None = None
    signatures: tuple[Signature, ...] = ()
    content_address: str | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads at most a MiB. Keys that are not known are skipped, as Nix skips them."""
        lines = _Lines(data)
        info = cls(
            store_path=lines.value("StorePath", StorePath.parse),
            url=lines.value("URL", _relative_url),
            compression=lines.value_or_none("Compression", _compression) or Compression.BZIP2,  # before the key existed
            file_hash=lines.value_or_none("FileHash", Digest.parse_nix),
            file_size=lines.value_or_none("FileSize", _size),
            nar_hash=lines.value("NarHash", Digest.parse_nix),
            nar_size=lines.value("NarSize", _nar_size),
            references=lines.value_or_none("References", _references) or (),
            deriver=lines.value_or_none("Deriver", _deriver),
            signatures=lines.signatures(),
            content_address=lines.value_or_none("CA", str),
        )
        if (info.file_size or 0) > most_compressed(info.nar_size):
            raise NarInfoInvalid(
                f"narinfo of {info.store_path}: FileSize is {info.file_size}, too much for a NarSize of {info.nar_size}"
            )
        return info

    def to_bytes(self) -> bytes:
        """Keys in Nix's order."""
        values = {
            "StorePath": self.store_path,
            "URL": self.url,
            "Compression": self.compression,
            "FileHash": self.file_hash and self.file_hash.to_nix(),
            "FileSize": self.file_size,
            "NarHash": self.nar_hash.to_nix(),
            "NarSize": self.nar_size,
            "References": " ".join(path.base_name for path in self.references),
            "Deriver": self.deriver,
        }
        lines = [f"{key}: {value}\n" for key, value in values.items() if value is not None]
        lines += [f"Sig: {signature}\n" for signature in self.signatures]
        if self.content_address is not None:
            lines.append(f"CA: {self.content_address}\n")
        return "".join(lines).encode()

    def fingerprint(self) -> bytes:
        """What a signature signs."""
        return path_fingerprint(self.store_path, self.nar_hash, self.nar_size, self.references)


def most_compressed(nar_size: int) -> int:
    """Bytes that a NAR can have when it is compressed. No signature covers how many it has.

    What does not compress grows by less: xz and zstd keep it as it is, gzip adds 5 bytes to each 16 KiB at most, bzip2
    a hundredth.
    """
    return nar_size + nar_size // 16 + 64 * 1024


def path_fingerprint(store_path: StorePath, nar_hash: Digest, nar_size: int, references: Iterable[StorePath]) -> bytes:
    """What a signature on a store path signs; who makes a cache signs this."""
    sorted_references = ",".join(map(str, sorted(set(references))))
    return f"1;{store_path};{nar_hash.to_nix()};{nar_size};{sorted_references}".encode()


def verify_path(
    store_path: StorePath,
    nar_hash: Digest,
    nar_size: int,
    references: Iterable[StorePath],
    signatures: Iterable[Signature],
    content_address: str | None,
    trusted: TrustedKeys,
) -> None:
    """Returns if what is said about `store_path` may be believed, else raises PathUntrusted.

    Either a trusted key signed it, or the path is content-addressed (`fixed:r:sha256`) and these very values give it.
    Other content addresses prove nothing without the content: such a path needs a signature. That the content has
    `nar_hash` is for the caller to check.
    """
    references, signatures = frozenset(references), tuple(signatures)
    names_itself = content_address == f"fixed:r:{nar_hash.to_nix()}"
    if names_itself and StorePath.content_addressed(store_path.name, nar_hash, references) == store_path:
        return
    if trusted.signed(path_fingerprint(store_path, nar_hash, nar_size, references), signatures):
        return
    raise PathUntrusted(f"{store_path}: {_why_untrusted(signatures, trusted)}")


def _why_untrusted(signatures: tuple[Signature, ...], trusted: TrustedKeys) -> str:
    signers = dict.fromkeys(signature.key_name for signature in signatures)
    false_ones = [name for name in signers if name in trusted.names]
    if false_ones:
        return f"the signature by {', '.join(false_ones)} does not match; the cache may be damaged or lying"
    found = f"signed by {', '.join(signers)[:500]}" if signers else "without any signature"
    wanted = f"trusted are {', '.join(trusted.names)}" if trusted.names else "no key is trusted"
    return f"{found}, but {wanted}; trust the cache's public key, or have the path signed"


class _Lines:
    """The `Key: value` lines of one narinfo. Errors name the store path as soon as it is known."""

    def __init__(self, data: bytes) -> None:
        self._what = "narinfo"
        if len(data) > MAX_BYTES:
            raise self._problem(f"{len(data)} bytes, more than the {MAX_BYTES} that are read")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise self._problem(f"not UTF-8: {error}") from error
        if not text.endswith("\n"):
            raise self._problem("cut off: the last line does not end")
        lines = [line.partition(":") for line in text[:-1].split("\n")]
        self._what += next((f" of {value.strip()[:300]}" for key, _, value in lines if key == "StorePath"), "")
        self._values: dict[str, str] = {}
        self._signatures: list[str] = []
        for key, colon, value in lines:
            self._keep(key, colon, value.removeprefix(" "))

    def _keep(self, key: str, colon: str, value: str) -> None:
        if not colon:
            raise self._problem(f"want lines 'Key: value', got {key[:100]!r}")
        if key == "Sig":
            self._signatures.append(value)
        elif key in self._values:
            raise self._problem(f"{key} is there twice")
        elif key in _REQUIRED + _OPTIONAL:
            self._values[key] = value

    def value(self, key: str, parse: Callable[[str], T]) -> T:
        value = self.value_or_none(key, parse)
        if value is None:
            missing = [name for name in _REQUIRED if name not in self._values]
            raise self._problem(f"{', '.join(missing)} missing")
        return value

    def value_or_none(self, key: str, parse: Callable[[str], T]) -> T | None:
        text = self._values.get(key)
        return None if text is None else self._parsed(key, text, parse)

    def signatures(self) -> tuple[Signature, ...]:
        if len(self._signatures) > MAX_SIGNATURES:
            raise self._problem(f"{len(self._signatures)} signatures, more than the {MAX_SIGNATURES} that are read")
        return tuple(self._parsed("Sig", text, Signature.parse) for text in self._signatures)

    def _parsed(self, key: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except FormatError as error:
            raise self._problem(f"{key}: {error}") from error

    def _problem(self, sentence: str) -> NarInfoInvalid:
        return NarInfoInvalid(f"{self._what}: {sentence}")


def _size(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise NarInfoInvalid(f"want a number of bytes, got {text[:100]!r}")
    return int(text)


def _nar_size(text: str) -> int:
    size = _size(text)
    if not size:
        raise NarInfoInvalid("0 is not the size of a NAR")
    return size


def _relative_url(text: str) -> str:
    """A reference below the cache's root, as every cache writes it: nobody else's host, no way up."""
    segments = unquote(text.partition("?")[0]).replace("\\", "/").split("/")
    if _URL.fullmatch(text) is None or ".." in segments or not segments[0]:
        raise NarInfoInvalid(f"want a path below the cache such as nar/….nar.xz, got {text[:300]!r}")
    return text


def _compression(text: str) -> Compression:
    if not text:
        return Compression.BZIP2
    try:
        return Compression(text)
    except ValueError:
        raise NarInfoInvalid(f"want one of {', '.join(Compression)}, got {text[:100]!r}") from None


def _references(text: str) -> tuple[StorePath, ...]:
    return tuple(sorted({StorePath.from_base_name(name) for name in text.split()}))


def _deriver(text: str) -> str | None:
    return None if text in ("", "unknown-deriver") else text
