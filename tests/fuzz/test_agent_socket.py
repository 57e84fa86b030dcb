"""What anybody might send to the agent's socket: it is answered or cut off, and the next one is served as before."""

import asyncio
import random
import socket
from pathlib import Path

import pytest

from shim_hooks.agent import Done, Waits
from shim_hooks.agent_listener import listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.launcher_protocol import REQUEST_MAX_BYTES, CreateRequest, DeleteRequest, ExecRequest
from shim_hooks.log import Log
from tests.fuzz.budget import rounds

WORDS = [
    b"floxbridge/1",
    b"floxbridge/2",
    b"create",
    b"exec",
    b"delete",
    b"c1",
    b"..",
    b"../../etc",
    b"/",
    b"/proc/self/fd/0",
    b"20000",
    b"0",
    b"-1",
    b"9" * 30,
    b"",
    b"\n",
    b"\xff",
    b"a" * 300,
    b"/" + b"x" * 5000,
    b"../" * 3000,
]


class Nothing:
    """Does what it is told, which is nothing; what it is told is kept."""

    def __init__(self) -> None:
        self.told = list[CreateRequest | ExecRequest | DeleteRequest]()

    def begin(self, request: CreateRequest | ExecRequest) -> Done | Waits:
        self.told.append(request)
        return Done(lambda: None)

    def delete(self, request: DeleteRequest) -> None:
        self.told.append(request)


@pytest.mark.anyio
async def test_any_bytes(tmp_path: Path) -> None:
    nothing, stop = Nothing(), asyncio.Event()
    path = tmp_path / "run" / "agent.sock"
    with listening(path) as listener:
        serving = asyncio.create_task(AgentServer(nothing, Log()).serve(listener, stop, grace_s=5))
        for chance in rounds(2.0):
            data = _data(chance)
            reply = await asyncio.to_thread(_say, path, data)
            assert reply in (b"ok\n", b"") or (reply.startswith(b"error ") and reply.count(b"\n") == 1), (
                f"{chance}: {data!r}"
            )
            assert reply.decode().strip("\n").isprintable(), f"{chance}: {data!r}"
            assert await asyncio.to_thread(_say, path, b"floxbridge/1\0create\0/b\0c1\x001000\0") == b"ok\n", (
                f"{chance}"
            )
        stop.set()
        await serving
    for request in nothing.told:
        assert "/" not in request.container_id
        assert request.container_id not in ("", ".", "..")
        assert isinstance(request, DeleteRequest) or 0 < request.deadline_s <= 3600


def _data(chance: random.Random) -> bytes:
    fields = [chance.choice(WORDS) for _ in range(chance.randrange(7))]
    if chance.random() < 0.7:
        fields.insert(0, b"floxbridge/1")
    data = b"".join(field + b"\0" for field in fields)
    if chance.random() < 0.2:
        data += chance.randbytes(chance.choice([1, 100, REQUEST_MAX_BYTES, 3 * REQUEST_MAX_BYTES]))
    return data


def _say(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            return b""  # it had heard enough
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            return b""
