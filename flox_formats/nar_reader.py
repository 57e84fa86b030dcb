"""Reading a NAR: a stream of bytes becomes a stream of events. Bounded and without recursion, whatever the bytes say.

Belongs here: the grammar, its limits, and the buffer. Does not: the disk; trees are `nar.py`'s.
Grammar: "Nix Archive (NAR) format" in the Nix manual. A *string* is its length as 8 bytes, little endian, the bytes,
and zeros up to a multiple of 8. Only the spelling that Nix writes is accepted, so a tree has one NAR and one hash.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flox_formats.errors import FormatError

MAX_NAME = 255  # bytes; Linux's own limits for names and for symlink targets
MAX_TARGET = 4095
MAX_DEPTH = 256  # directories inside each other: few enough for whoever walks the tree later, one open file a level
BUFFER_SIZE = 256 * 1024


class NarInvalid(FormatError):
    """Bytes that are not a NAR, or not one that can be put on a disk."""


@dataclass(frozen=True, slots=True)
class DirectoryStart:
    """A directory; what comes before its `DirectoryEnd` is inside. The root's name is empty, whatever its type."""

    name: bytes


@dataclass(frozen=True, slots=True)
class DirectoryEnd:
    """The directory last started and not yet ended is complete."""


@dataclass(frozen=True, slots=True)
class RegularFile:
    """A file; exactly `size` bytes of contents follow, as events of type `bytes`."""

    name: bytes
    executable: bool
    size: int


@dataclass(frozen=True, slots=True)
class Symlink:
    name: bytes
    target: bytes


NarEvent = DirectoryStart | DirectoryEnd | RegularFile | bytes | Symlink
Read = Callable[[int], bytes]


def read_nar(read: Read) -> Iterator[NarEvent]:
    """The events of one NAR, in its order, which is depth first and by name.

    `read(n)` gives at most `n` bytes, fewer if it likes, and b"" at the end; its errors pass through. Raises NarInvalid
    with the byte and the file where it went wrong, and if anything follows the NAR.
    """
    return read_events(NarBuffer(read))


def nar_string(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(-len(text) % 8)


def _strings(*texts: bytes) -> bytes:
    return b"".join(map(nar_string, texts))


_ROOT = _strings(b"nix-archive-1", b"(", b"type")
_ENTRY_NAME = _strings(b"(", b"name")
_ENTRY_NODE = _strings(b"node", b"(", b"type")
_CONTENTS = _strings(b"contents")
_EXECUTABLE_CONTENTS = _strings(b"", b"contents")
_TARGET = _strings(b"target")
_CLOSE = _strings(b")")
_MAX_KEYWORD = 16
_MAX_SIZE = 2**63 - 1
_SHOWN = 255  # bytes of what is wrong; more would push the rest of a sentence out of sight


class NarBuffer:
    """Bytes on their way in: at most two buffers full, whatever sizes the bytes themselves claim."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self._before = 0  # bytes that came before the buffer
        self.path: list[bytes] = []  # where in the tree we are, for messages

    @property
    def offset(self) -> int:
        """Bytes taken so far."""
        return self._before + self._at

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes; for small sizes."""
        if len(self._buffer) - self._at < size:
            self._fill(size)
        start = self._at
        self._at = end = start + size
        return self._buffer[start:end]

    def integer(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self, limit: int, what: str) -> bytes:
        """A string of at most `limit` bytes."""
        size = self.integer()
        if size > limit:
            raise self.problem(f"{what} of {size} bytes, more than the {limit} that can be")
        padded = self.take(size + -size % 8)
        if any(padded[size:]):
            raise self.problem(f"{what} is not padded with zeros")
        return padded[:size]

    def expect(self, strings: bytes) -> None:
        found = self.take(len(strings))
        if found != strings:
            self._at -= len(strings)
            wanted = " ".join(map(_shown, _texts(strings)))
            raise self.problem(f"want {wanted}, found the bytes {found[:64].hex()}")

    def contents(self, size: int) -> Iterator[bytes]:
        """The bytes of a file and their padding, a buffer at a time."""
        left = size
        while left:
            if self._at == len(self._buffer):
                self._fill(min(left, BUFFER_SIZE))
            piece = self._buffer[self._at : self._at + left]
            self._at += len(piece)
            left -= len(piece)
            yield piece
        if any(self.take(-size % 8)):
            raise self.problem("the contents are not padded with zeros")

    def expect_end(self) -> None:
        if self._at < len(self._buffer) or self._read(1):
            raise self.problem("there is more after the end")

    def problem(self, sentence: str) -> NarInvalid:
        place = b"/".join(self.path)[-300:]
        return NarInvalid(f"NAR: at byte {self.offset}{f', in {_shown(place)}' if place else ''}: {sentence}")

    def _fill(self, wanted: int) -> None:
        """Reads until `wanted` bytes lie ahead."""
        pieces = [self._buffer[self._at :]]
        ahead = len(pieces[0])
        while ahead < wanted:
            piece = self._read(BUFFER_SIZE)
            if not piece:
                self._before, self._at, self._buffer = self.offset + ahead, 0, b""
                raise self.problem("cut off")
            pieces.append(piece)
            ahead += len(piece)
        self._before, self._at, self._buffer = self.offset, 0, b"".join(pieces)


def read_events(source: NarBuffer) -> Iterator[NarEvent]:
    """As `read_nar`, for who wants to know how many bytes there were: `source.offset` at the end."""
    source.expect(_ROOT)
    names = source.path  # the name last read in each open directory
    name = b""
    while True:
        kind = source.string(_MAX_KEYWORD, "a type")
        if kind == b"directory":
            if len(names) == MAX_DEPTH:
                raise source.problem(f"more than {MAX_DEPTH} directories inside each other")
            yield DirectoryStart(name)
            names.append(b"")
        else:
            yield from _leaf(source, kind, name)
            source.expect(_CLOSE + _CLOSE if names else _CLOSE)
        while names and _directory_closes(source):
            names.pop()
            yield DirectoryEnd()
            if names:
                source.expect(_CLOSE)
        if not names:
            source.expect_end()
            return
        source.expect(_ENTRY_NAME)
        name = names[-1] = _checked_name(source, names[-1])
        source.expect(_ENTRY_NODE)


def _leaf(source: NarBuffer, kind: bytes, name: bytes) -> Iterator[NarEvent]:
    """A file with its contents, or a symlink."""
    if kind == b"symlink":
        source.expect(_TARGET)
        yield Symlink(name, _checked_target(source))
        return
    if kind != b"regular":
        raise source.problem(f"a file of type {_shown(kind)}; regular, directory and symlink can be")
    keyword = source.string(_MAX_KEYWORD, "a keyword")
    if keyword not in (b"contents", b"executable"):
        raise source.problem(f"want 'contents' or 'executable', found {_shown(keyword)}")
    executable = keyword == b"executable"
    if executable:
        source.expect(_EXECUTABLE_CONTENTS)
    size = source.integer()
    if size > _MAX_SIZE:
        raise source.problem(f"contents of {size} bytes, more than a file can have")
    yield RegularFile(name, executable, size)
    yield from source.contents(size)


def _directory_closes(source: NarBuffer) -> bool:
    keyword = source.string(_MAX_KEYWORD, "a keyword")
    if keyword not in (b"entry", b")"):
        raise source.problem(f"want 'entry' or ')', found {_shown(keyword)}")
    return keyword == b")"


def _checked_name(source: NarBuffer, previous: bytes) -> bytes:
    """The name of an entry: one that stays in its directory, and comes after `previous`."""
    name = source.string(MAX_NAME, "a name")
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise source.problem(f"{_shown(name)} is not a file name")
    if name <= previous:
        how = "twice" if name == previous else f"after {_shown(previous)}, so not sorted"
        raise source.problem(f"the name {_shown(name)} comes {how}")
    return name


def _checked_target(source: NarBuffer) -> bytes:
    target = source.string(MAX_TARGET, "a symlink's target")
    if not target or b"\0" in target:
        raise source.problem(f"{_shown(target)} is not a symlink's target")
    return target


def _shown(text: bytes) -> str:
    """For a message: a name whole, a symlink's target not always."""
    cut = "…" if len(text) > _SHOWN else ""
    return repr(text[:_SHOWN].decode(errors="backslashreplace")) + cut


def _texts(strings: bytes) -> Iterator[bytes]:
    while strings:
        size = int.from_bytes(strings[:8], "little")
        yield strings[8 : 8 + size]
        strings = strings[8 + size + -size % 8 :]
