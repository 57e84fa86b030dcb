"""What a client asks of `git upload-pack` in one HTTP request, whichever version of the protocol it speaks.

Belongs here: reading and writing the request. Does not: whether the client may have it (`view.py`). Git is given
`to_bytes()` of what was read, so it cannot find anything in the bytes that we did not.
Grammar: `git help protocol-common` (pkt-lines), `git help protocol-v2`, `git help protocol-pack`.
"""

import itertools
import re
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Self

from flox_formats.errors import FormatError

MAX_BYTES = 4 * 1024 * 1024
"""Largest request that is read, unpacked."""

MAX_LINES = 80_000
"""Most lines of one, which are mostly commits that the client has. Git names 16,384 more of them in each round."""

_MAX_LINE_BYTES = 65516
_HEADS = "refs/heads/"
_LENGTH = re.compile(rb"[0-9a-f]{4}")
_FLUSH, _DELIMITER = b"0000", b"0001"
_NO_OBJECT = "0" * 40
_COMMIT = rb"([0-9a-f]{40})"
_NAME = rb"([\x21-\x7e]+)"
_GRAMMAR = {
    b"want": re.compile(_COMMIT + rb"(?: .*)?"),  # before version 2 the first one is followed by capabilities
    b"have": re.compile(_COMMIT),
    b"shallow": re.compile(_COMMIT),
    b"want-ref": re.compile(_NAME),
    b"deepen-not": re.compile(_NAME),
    b"ref-prefix": re.compile(_NAME),
}


class UploadPackRequestInvalid(FormatError):
    """Bytes that are no request to `git upload-pack`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One pkt-line. `key` and `value` are empty in one that names no object and no ref: nobody judges those."""

    data: bytes
    key: str = ""
    value: str = ""

    def naming_nothing(self) -> "Line":
        return Line(self.data.replace(self.value.encode(), _NO_OBJECT.encode()), self.key, _NO_OBJECT)


@dataclass(frozen=True, slots=True)
class UploadPackRequest:
    """The request, line by line. In `data` of a line its length is included."""

    lines: tuple[Line, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises UploadPackRequestInvalid."""
        lines = tuple(itertools.islice(_lines(data), MAX_LINES + 1))
        if len(lines) > MAX_LINES:
            raise UploadPackRequestInvalid(f"upload-pack request: more than the {MAX_LINES} lines that are read")
        return cls(lines)

    def to_bytes(self) -> bytes:
        return b"".join(line.data for line in self.lines)

    @property
    def wants(self) -> frozenset[str]:
        """The objects that are asked for by their id."""
        return self._values("want")

    @property
    def haves(self) -> frozenset[str]:
        """The commits that the client says to have."""
        return self._values("have", "shallow")

    @property
    def branches(self) -> frozenset[str]:
        """What must be a branch for the answer to make sense: the refs that are wanted or are to be left out."""
        return frozenset(name.removeprefix(_HEADS) for name in self._values("want-ref", "deepen-not"))

    @property
    def looked_for(self) -> frozenset[str]:
        """The environments that are to be listed, if there are such.

        Git looks for what it is told below `refs/heads/` too, whatever that is: `HEAD`, or `refs/heads/web` itself. No
        environment has such a name. Nor does a client look for one that looks for any.
        """
        prefixes = self._values("ref-prefix")
        names = (prefix.removeprefix(_HEADS) for prefix in prefixes if prefix.startswith(_HEADS))
        return frozenset(name for name in names if name not in ("", "HEAD") and "/" not in name)

    def having_only(self, commits: Container[str]) -> Self:
        """The same request of a client that has no other commits.

        Their lines stay, and name no object: a client that says to have something is answered in another form.
        """
        return type(self)(tuple(line if _may_say(line, commits) else line.naming_nothing() for line in self.lines))

    def _values(self, *keys: str) -> frozenset[str]:
        return frozenset(line.value for line in self.lines if line.key in keys)


def _may_say(line: Line, commits: Container[str]) -> bool:
    return line.key not in ("have", "shallow") or line.value in commits


def unpack(body: bytes, encoding: str) -> bytes:
    """The request in a body that came with this `Content-Encoding`. Raises UploadPackRequestInvalid."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UploadPackRequestInvalid("upload-pack request: want the content encoding gzip, or none")
    unpacking = zlib.decompressobj(wbits=31)
    try:
        data = unpacking.decompress(body, MAX_BYTES + 1)
    except zlib.error as problem:
        raise UploadPackRequestInvalid(f"upload-pack request: not gzip: {problem}") from problem
    if len(data) > MAX_BYTES:
        raise UploadPackRequestInvalid(f"upload-pack request: more than the {MAX_BYTES} bytes that are read, unpacked")
    if not unpacking.eof or unpacking.unused_data:
        raise UploadPackRequestInvalid("upload-pack request: gzip that is cut off, or followed by something else")
    return data


def _lines(data: bytes) -> Iterator[Line]:
    if len(data) > MAX_BYTES:
        raise UploadPackRequestInvalid(f"upload-pack request: more than the {MAX_BYTES} bytes that are read")
    at = 0
    while at < len(data):
        prefix = data[at : at + 4]
        if prefix in (_FLUSH, _DELIMITER):
            yield Line(prefix)
            at += 4
            continue
        length = int(prefix, 16) if _LENGTH.fullmatch(prefix) else 0
        if not 4 <= length <= _MAX_LINE_BYTES or at + length > len(data):
            raise UploadPackRequestInvalid(f"upload-pack request: no pkt-line at byte {at}")
        yield _line(data[at : at + length], at)
        at += length


def _line(data: bytes, at: int) -> Line:
    """A line that git would take for one with a key that we judge must be one by our grammar, which is narrower."""
    text = data[4:].removesuffix(b"\n")
    if b"\0" in text:
        raise UploadPackRequestInvalid(f"upload-pack request: a NUL in the line at byte {at}")
    key, _, value = text.partition(b" ")
    grammar = _GRAMMAR.get(key)
    if grammar is None:
        return Line(data)
    match = grammar.fullmatch(value)
    if match is None:
        raise UploadPackRequestInvalid(f"upload-pack request: {key.decode()} of nothing in the line at byte {at}")
    return Line(data, key.decode(), match[1].decode())
