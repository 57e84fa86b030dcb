"""Spans of files that cannot be sent: nothing of anybody else's is touched. The rest is in test_large_blobs.py."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_proxy.content.file_span import FileSpan, OpenFile
from registry_proxy.file_sender import FileSender

pytestmark = pytest.mark.anyio


class Transport(asyncio.Transport):
    """Of a socket, which is all that is asked of it."""

    def __init__(self, over: socket.socket) -> None:
        super().__init__({"socket": over})
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OpenFile]:
    (tmp_path / "file").write_bytes(b"0123456789" * 1000)
    opened = OpenFile.open(tmp_path / "file")
    yield opened
    opened.close()


def sender(over: socket.socket) -> tuple[FileSender, Transport, asyncio.Event]:
    transport, ended = Transport(over), asyncio.Event()
    return (
        FileSender(transport, asyncio.get_running_loop(), begun=ended.clear, ended=ended.set),
        transport,
        ended,
    )


async def test_a_span_is_sent(ends: tuple[socket.socket, socket.socket], file: OpenFile) -> None:
    ours, theirs = ends
    files, _, ended = sender(ours)
    files.send(FileSpan(file, 5, 10))
    await asyncio.wait_for(ended.wait(), 20)
    assert (theirs.recv(100), files.is_sending) == (b"5678901234", False)


async def test_what_cannot_begin_leaves_the_numbers_of_others_alone(
    ends: tuple[socket.socket, socket.socket], file: OpenFile
) -> None:
    """No file descriptor is left for the second span, and the first one's number is somebody else's by now."""
    ours, theirs = ends
    files, _, ended = sender(ours)
    files.send(FileSpan(file, 0, 10))
    await asyncio.wait_for(ended.wait(), 20)
    assert theirs.recv(100) == b"0123456789"
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    ours.close()
    with pytest.raises(OSError):
        files.send(FileSpan(file, 0, 10))
    files.stop()
    for other in others:
        os.close(other)


async def test_a_connection_that_is_gone_has_nothing_sent(
    ends: tuple[socket.socket, socket.socket], file: OpenFile
) -> None:
    ours, theirs = ends
    files, transport, ended = sender(ours)
    files.send(FileSpan(file, 0, 10))
    files.stop()
    assert (ended.is_set(), files.is_sending, transport.is_aborted) == (True, False, False)
    ours.close()
    assert theirs.recv(100) == b""
