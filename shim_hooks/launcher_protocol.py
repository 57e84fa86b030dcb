"""What launcher and agent say to each other, as the agent reads and writes it; and one question for a person.

Belongs here: the wire format, pure. Does not: sockets, and what a request leads to.

One request a connection, over a unix stream socket. A request is a few fields, each ended by a NUL byte (a path may
hold any other); the end of the stream ends the request, and it is at most `REQUEST_MAX_BYTES` long:

    floxbridge/1  create  <bundle: absolute path>  <container id>  <deadline in ms>  [<root>]
    floxbridge/1  exec    <process file: absolute path>  <container id>  <deadline in ms>  [<root>]
    floxbridge/1  delete  <container id>
    floxbridge/1  fetches

`root` is what the runtime is given as `--root`, word for word; the field is not there where it is given none.
All but `delete` are answered: `ok\\n`, or `error <one sentence>\\n` with at most `SENTENCE_MAX_BYTES` of sentence.
After the `ok` for `fetches`, which no launcher asks, comes the document of `fetches_question.py`.
The other side is `launcher/floxbridge_runc.c`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shim_hooks.container_key import ID_MAX, container_key

REQUEST_MAX_BYTES = 3 * 4096 + 128
SENTENCE_MAX_BYTES = 4000
OK = b"ok\n"
_GREETING = b"floxbridge/1"
_DEADLINE_MAX_MS = 3_600_000
_CONTAINER_ID = re.compile(rb"(?!\.{1,2}\Z)[A-Za-z0-9_+.-]{1,%d}" % ID_MAX)


class RequestInvalid(ValueError):
    """Bytes that are no request: another version of the launcher, or something else altogether."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The container `container_id` is about to be created from `bundle`; nobody waits longer than `deadline_s`."""

    bundle: Path
    container_id: str
    deadline_s: float
    root: bytes = b""

    @property
    def key(self) -> str:
        return container_key(self.container_id, self.root)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A process is about to be started in a running container as the file `process` says, whatever we answer."""

    process: Path
    container_id: str
    deadline_s: float
    root: bytes = b""

    @property
    def key(self) -> str:
        return container_key(self.container_id, self.root)


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """The runtime is about to be told to delete this container. It may refuse, and its bundle outlives this."""

    container_id: str


@dataclass(frozen=True, slots=True)
class FetchesRequest:
    """Somebody wants to see what is on its way."""


Request = CreateRequest | ExecRequest | DeleteRequest | FetchesRequest
FETCHES_REQUEST = _GREETING + b"\0fetches\0"


def parse_request(data: bytes) -> Request:
    if len(data) > REQUEST_MAX_BYTES:
        raise RequestInvalid(f"a request of more than {REQUEST_MAX_BYTES} bytes")
    *fields, rest = data.split(b"\0")
    if rest:
        raise RequestInvalid("a request that was cut off")
    match fields:
        case [greeting, *_] if greeting != _GREETING:
            raise RequestInvalid(
                f"a request of {greeting[:40]!r} where {_GREETING.decode()} is spoken: build the launcher anew with "
                "'floxbridge-node build-launcher'"
            )
        case [_, b"create", bundle, container_id, deadline_ms, *root] if len(root) <= 1:
            return CreateRequest(_path(bundle), _container_id(container_id), _deadline_s(deadline_ms), b"".join(root))
        case [_, b"exec", process, container_id, deadline_ms, *root] if len(root) <= 1:
            return ExecRequest(_path(process), _container_id(container_id), _deadline_s(deadline_ms), b"".join(root))
        case [_, b"delete", container_id]:
            return DeleteRequest(_container_id(container_id))
        case [_, b"fetches"]:
            return FetchesRequest()
        case _:
            raise RequestInvalid(f"a request that is none: {data[:100]!r}")


def error_reply(sentence: str) -> bytes:
    """The sentence on one line, without characters that would disturb a terminal, cut to what the launcher reads."""
    printable = "".join(character if character.isprintable() else " " for character in sentence)
    line = re.sub(" +", " ", printable).strip() or "the agent failed without saying why"
    data = line.encode("utf-8", "replace")
    if len(data) > SENTENCE_MAX_BYTES:
        data = data[: SENTENCE_MAX_BYTES - 3].decode("utf-8", "ignore").encode() + "…".encode()
    return b"error " + data + b"\n"


def _path(field: bytes) -> Path:
    if not field.startswith(b"/"):
        raise RequestInvalid(f"a path that is not absolute: {field[:100]!r}")
    return Path(os.fsdecode(field))


def _container_id(field: bytes) -> str:
    """By runc's own grammar for ids, and of a length that a file can be named by."""
    if _CONTAINER_ID.fullmatch(field) is None:
        raise RequestInvalid(f"a container id that no runtime takes: {field[:100]!r}")
    return field.decode("ascii")


def _deadline_s(field: bytes) -> float:
    if re.fullmatch(rb"[0-9]{1,7}", field) is None or not 0 < int(field) <= _DEADLINE_MAX_MS:
        raise RequestInvalid(f"a deadline of {field[:20]!r} ms")
    return int(field) / 1000
