"""The question what an agent is fetching: asking it at the agent's socket, and the answer on the wire.

Belongs here: who asks, and the document. Does not: the socket's other end (`agent_socket.py`), what is counted
(`environment/progress.py`).
"""

import socket
from collections.abc import Sequence
from pathlib import Path

from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object
from shim_hooks.environment.progress import Progress, UnderWay
from shim_hooks.launcher_protocol import FETCHES_REQUEST, OK

_MAX_BYTES = 1024 * 1024
_MAX_ENTRIES = 1000
_DEADLINE_S = 1.0


class AnswerInvalid(FormatError):
    """Bytes that are no answer to this question: an agent that does not know it says so in other words."""


def answer(under_way: Sequence[UnderWay]) -> bytes:
    """The first thousand of them: no node fetches more at a time."""
    return OK + canonical_json({"fetches": [as_object(each) for each in under_way[:_MAX_ENTRIES]]})


def parse_answer(data: bytes) -> tuple[UnderWay, ...]:
    if not data.startswith(OK):
        raise AnswerInvalid(f"fetches: {data[:100]!r} is no answer")
    document = read_object(data.removeprefix(OK), what="fetches", max_bytes=_MAX_BYTES, error=AnswerInvalid)
    try:
        fields = Fields(document, where="fetches", error=AnswerInvalid)
        return tuple(_under_way(each) for each in fields.objects("fetches"))
    except EnvironmentRefInvalid as problem:
        raise AnswerInvalid(f"fetches: {problem}") from problem


def ask(path: Path) -> tuple[UnderWay, ...] | None:
    """What the agent at `path` is fetching; None where it cannot be asked, or does not know the question. Blocks."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_DEADLINE_S)
            connection.connect(str(path))
            connection.sendall(FETCHES_REQUEST)
            connection.shutdown(socket.SHUT_WR)
            return parse_answer(_read_to_end(connection))
    except (OSError, AnswerInvalid):
        return None


def as_object(under_way: UnderWay) -> dict[str, object]:
    """For a program. There are no numbers until the registry has said what belongs to the closure."""
    entry: dict[str, object] = {"environment": str(under_way.environment)}
    progress = under_way.progress
    if progress is not None:
        entry |= {
            "fetched_bytes": progress.done,
            "wanted_bytes": progress.total,
            "fetched_paths": progress.paths_done,
            "wanted_paths": progress.paths,
            "bytes_per_s": None if progress.rate is None else round(progress.rate),
        }
    return entry


def _under_way(fields: Fields) -> UnderWay:
    progress = None
    if fields.has("wanted_bytes"):
        rate = fields.integer_or_none("bytes_per_s")
        progress = Progress(
            done=fields.integer("fetched_bytes"),
            total=fields.integer("wanted_bytes"),
            paths_done=fields.integer("fetched_paths"),
            paths=fields.integer("wanted_paths"),
            rate=None if rate is None else float(rate),
        )
    return UnderWay(EnvironmentName.parse(fields.text("environment")), progress)


def _read_to_end(connection: socket.socket) -> bytes:
    data = b""
    while len(data) <= _MAX_BYTES:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data
