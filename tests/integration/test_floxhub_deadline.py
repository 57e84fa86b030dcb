"""A FloxHub that never ends what it says: a question ends at its deadline all the same, and holds no thread."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.errors import FloxHubUnavailable
from registry_proxy.floxhub.deadline import Deadline, PunctualClient
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.urls import FloxHubUrls

WEB = EnvironmentName("acme", "web")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"
PAUSE_S = 0.05
END_S = 20


@contextmanager
def dribbling(begin: bytes) -> Iterator[str]:
    """The URL of a server that answers with `begin` at once, and then with a byte every 50 ms until the client goes."""
    gone = threading.Event()

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(begin)
                while not gone.wait(PAUSE_S):
                    connection.sendall(b"a")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=answer, name="dribbling")
        server.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            gone.set()
            server.join(END_S)


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: ", id="head"),
        pytest.param(HEAD + b"Content-Length: 100000\r\n\r\n", id="body"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", id="chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", id="length-of-a-chunk"),
    ],
)
def test_an_answer_that_comes_a_byte_at_a_time(tmp_path: Path, begin: bytes) -> None:
    said = list[BaseException]()

    def ask(url: str) -> None:
        with PunctualClient(timeout=END_S) as http:
            floxhub = FloxHubGit(FloxHubUrls.parse(url, None), http)
            try:
                floxhub.fetch(
                    WEB, token=None, have=lambda _: False, folder=tmp_path / "pack", deadline=Deadline.after(0.5)
                )
            except FloxHubUnavailable as error:
                said.append(error)

    with dribbling(begin) as url:
        asking = threading.Thread(target=ask, args=(url,), name="asking")
        asking.start()
        asking.join(END_S)
        assert not asking.is_alive()
    assert [type(error) for error in said] == [FloxHubUnavailable]


def test_a_connection_has_its_own_time_to_open(tmp_path: Path) -> None:
    """A listener whose queue is full lets connections wait for as long as they like."""
    with socket.socket() as listening, PunctualClient(timeout=httpx2.Timeout(600, connect=0.2)) as http:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        place = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(place)
        floxhub = FloxHubGit(FloxHubUrls.parse(f"http://127.0.0.1:{place[1]}", None), http)
        asking = threading.Thread(target=lambda: said.append(refused(floxhub, tmp_path / "pack")), name="asking")
        said = list[str]()
        asking.start()
        asking.join(END_S)
        assert said, "it waits for as long as the question may take"
        assert "did not answer in time" in said[0]
        for each in waiting:
            each.close()
    asking.join(END_S)


def refused(floxhub: FloxHubGit, folder: Path) -> str:
    with pytest.raises(FloxHubUnavailable) as raised:
        floxhub.fetch(WEB, token=None, have=lambda _: False, folder=folder, deadline=Deadline.after(END_S + 5))
    return str(raised.value)
