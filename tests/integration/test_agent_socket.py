"""The agent's socket, over real unix sockets: who may listen, who may speak, and how it ends."""

import asyncio
import contextlib
import io
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shim_hooks.agent import Done, Waits
from shim_hooks.agent_listener import SocketUnusable, is_served, listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.errors import Refused
from shim_hooks.launcher_protocol import REQUEST_MAX_BYTES, CreateRequest, DeleteRequest, ExecRequest, Request
from shim_hooks.log import Log
from tests.conftest import needs, needs_root

pytestmark = pytest.mark.anyio

CREATE = b"floxbridge/1\0create\0/b\0c1\x001000\0"
DELETE = b"floxbridge/1\0delete\0c1\0"


class Answers:
    """Keeps what it is asked. Creates wait for `let_go`, and fail when there is an `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Request] = []
        self.came, self.let_go, self._error = asyncio.Event(), asyncio.Event(), error
        self._loop = asyncio.get_running_loop()

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        self.asked.append(request)
        self._loop.call_soon_threadsafe(self.came.set)
        if isinstance(request, CreateRequest):
            return Waits(self._create)
        if self._error is not None:
            raise self._error
        return Done(lambda: None)

    async def _create(self) -> None:
        await self.let_go.wait()
        if self._error is not None:
            raise self._error

    def delete(self, request: DeleteRequest) -> None:
        self.asked.append(request)
        self.came.set()


class Running:
    def __init__(self, path: Path, answers: Answers, log: io.StringIO) -> None:
        self.path, self.answers, self._log = path, answers, log
        self.stop = asyncio.Event()
        self.serving: asyncio.Task[None]

    async def say(self, *parts: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    def logged(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]


@contextlib.asynccontextmanager
async def running(path: Path, answers: Answers, *, grace_s: float = 20, look_s: float = 1) -> AsyncIterator[Running]:
    log = io.StringIO()
    with listening(path) as listener:
        server = Running(path, answers, log)
        agent = AgentServer(answers, Log(log), look_s=look_s)
        server.serving = asyncio.create_task(agent.serve(listener, server.stop, grace_s=grace_s))
        try:
            yield server
        finally:
            server.stop.set()
            await server.serving


def open_answers(error: Exception | None = None) -> Answers:
    answers = Answers(error)
    answers.let_go.set()
    return answers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "agent.sock"


# ---- listening ----


def test_who_asks_whether_an_agent_lives_keeps_none_from_starting(path: Path) -> None:
    """The doctor and `status` do, and may do it just then."""
    with listening(path):
        assert is_served(path)
    assert not is_served(path)
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            is_served(path)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(500):
            with listening(path):
                pass
    finally:
        stop.set()
        for thread in asking:
            thread.join()


def test_only_its_owner_can_open_it(path: Path) -> None:
    with listening(path):
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # it listens from the moment its name is there
    assert not path.exists()


def test_a_file_that_a_dead_agent_left_is_replaced(path: Path) -> None:
    code = "import sys, os; from pathlib import Path; from shim_hooks.agent_listener import listening\n"
    code += "with listening(Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    assert path.is_socket()
    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_two_agents_do_not_share_a_socket(path: Path) -> None:
    with listening(path) as first, contextlib.ExitStack() as second:
        with pytest.raises(SocketUnusable, match=r"another agent is listening at .*: stop it first"):
            second.enter_context(listening(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert first.fileno() >= 0


def test_the_place_of_another_can_be_taken(path: Path) -> None:
    with listening(path) as first:
        with listening(path, take_over=True) as second:
            assert (first.is_replaced(), second.is_replaced()) == (True, False)
            assert is_served(path)
        assert not path.exists()
        assert not first.is_replaced()


def test_who_was_replaced_leaves_the_other_in_place(path: Path) -> None:
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(listening(path))
        second.enter_context(listening(path, take_over=True))
        first.close()
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


async def test_nobody_is_lost_when_an_agent_takes_over(path: Path) -> None:
    old_answers, new_answers = Answers(), open_answers()
    async with running(path, old_answers, look_s=0.01) as old:
        begun = asyncio.create_task(old.say(CREATE))
        await old_answers.came.wait()
        with listening(path, take_over=True) as listener:
            stop = asyncio.Event()
            new = asyncio.create_task(AgentServer(new_answers, Log(io.StringIO())).serve(listener, stop, grace_s=1))
            assert await old.say(CREATE) == b"ok\n"
            assert (len(old_answers.asked), len(new_answers.asked)) == (1, 1)
            old_answers.let_go.set()
            assert await begun == b"ok\n"
            async with asyncio.timeout(30):
                await old.serving
            assert [line["event"] for line in old.logged()] == ["replaced"]
            assert await old.say(CREATE) == b"ok\n"
            stop.set()
            await new


def test_a_folder_that_others_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(SocketUnusable, match="can be written to by others than its owner"), listening(path):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "name", [pytest.param("s" * 120, id="too-long"), pytest.param("file/agent.sock", id="below-a-file")]
)
def test_a_place_where_no_socket_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SocketUnusable, match="the agent cannot listen at"), listening(tmp_path / name):
        pass


def test_whether_an_agent_lives(path: Path) -> None:
    assert not is_served(path)
    with listening(path):
        assert is_served(path)
    assert not is_served(path)


# ---- answering ----


async def test_a_create(path: Path) -> None:
    async with running(path, open_answers()) as agent:
        assert await agent.say(CREATE) == b"ok\n"
    assert agent.answers.asked == [CreateRequest(Path("/b"), "c1", 1.0)]


async def test_a_create_in_pieces(path: Path) -> None:
    async with running(path, open_answers()) as agent:
        assert await agent.say(CREATE[:5], CREATE[5:20], CREATE[20:]) == b"ok\n"


async def test_a_delete_is_not_answered(path: Path) -> None:
    async with running(path, open_answers()) as agent:
        assert await agent.say(DELETE) == b""
    assert agent.answers.asked == [DeleteRequest("c1")]


async def test_an_exec(path: Path) -> None:
    async with running(path, Answers()) as agent:
        assert await agent.say(b"floxbridge/1\0exec\0/p\0c1\x001000\0") == b"ok\n"
    assert agent.answers.asked == [ExecRequest(Path("/p"), "c1", 1.0)]


async def test_a_launcher_that_does_not_wait(path: Path) -> None:
    async with running(path, Answers()) as agent:
        for data in (DELETE, CREATE):
            agent.answers.came.clear()
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(data)
            writer.close()
            await asyncio.wait_for(agent.answers.came.wait(), 20)
        agent.answers.let_go.set()
        assert await agent.say(CREATE) == b"ok\n"


async def test_the_sentence_of_a_refusal(path: Path) -> None:
    async with running(path, open_answers(Refused("no such\nenvironment"))) as agent:
        assert await agent.say(CREATE) == b"error no such environment\n"
        assert agent.logged()[0]["event"] == "refused"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(CREATE[:-1], id="cut-off"),
        pytest.param(b"\0" * (2 * REQUEST_MAX_BYTES), id="too-long"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    ],
)
async def test_what_is_no_request(path: Path, data: bytes) -> None:
    async with running(path, open_answers()) as agent:
        assert (await agent.say(data)).startswith(b"error a request")
        assert await agent.say(CREATE) == b"ok\n"


async def test_two_hundred_at_once(path: Path) -> None:
    async with running(path, Answers()) as agent:
        waiting = [asyncio.create_task(agent.say(CREATE)) for _ in range(200)]
        await asyncio.wait_for(agent.answers.came.wait(), 20)
        agent.answers.let_go.set()
        assert await asyncio.gather(*waiting) == [b"ok\n"] * 200


async def test_who_says_nothing_holds_nobody_up(path: Path) -> None:
    async with running(path, open_answers()) as agent:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        try:
            for each in silent:
                each.connect(str(path))
            assert await agent.say(CREATE) == b"ok\n"
        finally:
            for each in silent:
                each.close()


class Stuck(Answers):
    """At the disk, but for what it is asked last."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count, self._numbers = count, itertools.count(1)
        self.mended, self.all_stuck = threading.Event(), asyncio.Event()

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        number = next(self._numbers)
        if number == self._count:
            self._loop.call_soon_threadsafe(self.all_stuck.set)
        if number <= self._count:
            assert self.mended.wait(60)
        return Done(lambda: None)


async def test_what_waits_for_a_disk_holds_nobody_up(path: Path) -> None:
    answers = Stuck(20)
    async with running(path, answers) as agent:
        stuck = [asyncio.create_task(agent.say(CREATE)) for _ in range(20)]
        await asyncio.wait_for(answers.all_stuck.wait(), 20)
        assert await agent.say(CREATE) == b"ok\n"
        answers.mended.set()
        assert await asyncio.gather(*stuck) == [b"ok\n"] * 20


async def test_a_stranger_is_refused(tmp_path: Path) -> None:
    needs_root()
    needs("setpriv")
    folder = Path("/tmp") / f"floxbridge-{os.getpid()}"
    path = folder / "agent.sock"
    async with running(path, open_answers()) as agent:
        folder.chmod(0o755)
        path.chmod(0o666)
        ask = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); s.sendall({CREATE!r})\n"
        ask += "s.shutdown(1); print(s.recv(999))"
        done = await asyncio.create_subprocess_exec(
            "setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-I", "-c", ask, stdout=subprocess.PIPE
        )
        said, _ = await done.communicate()
    (folder / "agent.sock.lock").unlink()
    folder.rmdir()
    assert b"answers to root, not to uid 65534" in said
    assert agent.answers.asked == []


# ---- ending ----


async def test_what_is_under_way_is_answered_before_the_end(path: Path) -> None:
    async with running(path, Answers()) as agent:
        waiting = asyncio.create_task(agent.say(CREATE))
        await asyncio.wait_for(agent.answers.came.wait(), 20)
        agent.stop.set()
        agent.answers.let_go.set()
        assert await waiting == b"ok\n"


async def test_who_comes_before_the_end_is_answered_too(path: Path) -> None:
    """The next agent is not there before this one is gone: an exec would go without its environment."""
    async with running(path, Answers()) as agent:
        waiting = asyncio.create_task(agent.say(CREATE))
        await asyncio.wait_for(agent.answers.came.wait(), 20)
        agent.stop.set()
        assert await agent.say(b"floxbridge/1\0exec\0/p\0c1\x001000\0") == b"ok\n"
        agent.answers.let_go.set()
        assert await waiting == b"ok\n"


async def test_what_does_not_end_gets_no_answer(path: Path) -> None:
    """Then the launcher asks the next agent, as those do who wait in the queue."""
    async with running(path, Answers(), grace_s=0) as agent:
        waiting = asyncio.create_task(agent.say(CREATE))
        await asyncio.wait_for(agent.answers.came.wait(), 20)
        agent.stop.set()
        assert await waiting == b""
        await agent.serving
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(str(path))  # it is refused by nobody until the process ends
