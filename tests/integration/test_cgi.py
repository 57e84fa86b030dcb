"""Programs that do not do what CGI says, and clients that do not do what HTTP says."""

import os
import select
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest
from starlette.types import Message

from registry_proxy.hub.cgi import CgiProgram
from tests.conftest import needs

BODY_LIMIT = 100_000
WHY = b"the program failed: it does not say why\n"
POST = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def ask(
    script: str, body: Sequence[bytes] = (), *, stays: bool = True, deadline_s: float = 60, **variables: str
) -> tuple[int | None, bytes, bool]:
    """What a client sees of a program that is a shell script: status, body, and whether the answer came to its end."""
    needs("sh")
    program = CgiProgram(["sh", "-c", script], max_body_bytes=BODY_LIMIT, deadline_s=deadline_s, idle_s=60)
    return anyio.run(_ask, program, body, stays, {**POST, **variables})


async def _ask(
    program: CgiProgram, body: Sequence[bytes], stays: bool, variables: dict[str, str]
) -> tuple[int | None, bytes, bool]:
    sent: list[Message] = []

    async def coming() -> AsyncIterator[Message]:
        for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if stays:
            yield {"type": "http.request", "body": b"", "more_body": False}
            await anyio.sleep_forever()
        yield {"type": "http.disconnect"}

    messages = coming()

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    await program.answer(variables, {"type": "http", "method": "POST", "headers": []}, receive, send)
    status = next((message["status"] for message in sent if message["type"] == "http.response.start"), None)
    bodies = [message for message in sent if message["type"] == "http.response.body"]
    return status, b"".join(m["body"] for m in bodies), bool(bodies) and not bodies[-1].get("more_body", False)


@pytest.mark.parametrize(
    ("script", "status", "body"),
    [
        pytest.param(r"printf 'Content-Type: x\r\n\r\nhello'", 200, b"hello", id="plain"),
        pytest.param(r"printf 'Status: 404 Not Found\nA: b\n\n'", 404, b"", id="status-and-bare-newlines"),
        pytest.param(r"printf 'A: b\r\n\r\n'; cat", 200, b"abc", id="body-both-ways"),
        pytest.param("echo oh dear >&2; exit 1", 500, b"the program failed: oh dear\n", id="says-nothing"),
        pytest.param("echo garbage; echo; echo", 500, WHY, id="garbage"),
        pytest.param(r"printf 'Status: many\n\n'", 500, WHY, id="status-is-no-number"),
        pytest.param(r"printf '\n\n'", 500, WHY, id="empty-head"),
        pytest.param("yes A: b | head -c 200000", 500, WHY, id="head-without-end"),
        pytest.param(r"exec <&-; printf 'A: b\n\n'", 200, b"", id="does-not-read"),
    ],
)
def test_answers(script: str, status: int, body: bytes) -> None:
    assert ask(script, [b"ab", b"c"]) == (status, body, True)


def test_a_program_that_is_not_there() -> None:
    program = CgiProgram(["/nope/git"], max_body_bytes=1, deadline_s=60, idle_s=60)
    status, body, _ = anyio.run(_ask, program, (), True, POST)
    assert (status, body) == (500, b"cannot run /nope/git: No such file or directory; is it installed?\n")


def test_a_request_that_says_it_is_too_large_starts_nothing(tmp_path: Path) -> None:
    status, body, _ = ask(f"touch {tmp_path}/started", CONTENT_LENGTH=str(BODY_LIMIT + 1))
    assert (status, b"larger" in body, list(tmp_path.iterdir())) == (413, True, [])


@pytest.mark.parametrize(
    ("body", "stays", "deadline_s"),
    [
        pytest.param([b"x" * 60_000, b"x" * 60_000], True, 60, id="more-than-allowed"),
        pytest.param([b"x"], False, 60, id="client-leaves"),
        pytest.param([], True, 2, id="deadline"),
    ],
)
def test_the_process_goes_with_the_request(tmp_path: Path, body: list[bytes], stays: bool, deadline_s: float) -> None:
    """A program that hears no TERM, with a child of its own, is gone as well when the answer was broken off."""
    script = f"trap '' TERM; sleep 1000 & echo $! $$ > {tmp_path}/pids; printf 'A: b\\n\\n'; cat >/dev/null; wait"
    _, _, finished = ask(script, body, stays=stays, deadline_s=deadline_s)
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
    assert not finished
    assert all(_ended(pid) for pid in pids)


def test_the_process_goes_when_nobody_takes_its_answer(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; printf 'A: b\\n\\n'; exec yes"

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    async def answered() -> None:
        program = CgiProgram(["sh", "-c", script], max_body_bytes=0, deadline_s=600, idle_s=0.1)
        with anyio.fail_after(60):
            await program.answer(POST, {"type": "http", "method": "GET", "headers": []}, receive, send)

    needs("sh")
    anyio.run(answered)
    assert _ended((tmp_path / "pid").read_text().strip())


def _ended(pid: str) -> bool:
    """Waits for a process that was killed: what is no child of ours may die a moment later."""
    try:
        handle = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)
