"""The benchmarks' clients against a real server: each of them gets each blob, over its own connections."""

from collections import Counter
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.benchmark import BenchmarkFailed
from bench.downloads import Blob, download, download_all
from tests.served import served

BLOBS = [Blob(f"/blob-{number}", 100_000 * number) for number in range(5)]


class Server(ThreadingHTTPServer):
    """Sends the sizes that BLOBS promise. Counts what was asked for, and by how many connections."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.connections = Counter[str](), set[object]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked[self.path] += 1
        self.server.connections.add(self.client_address)
        size = next((blob.size for blob in BLOBS if blob.path == self.path), None)
        self.send_response(404 if size is None else 200)
        self.send_header("Content-Length", str(size or 0))
        self.end_headers()
        self.wfile.write(bytes(size or 0))

    def log_message(self, format: str, *args: object) -> None:
        pass


def serving() -> AbstractContextManager[Server]:
    return served(Server())


@pytest.mark.parametrize(
    ("connections", "opened"), [pytest.param(2, 6, id="fewer-than-blobs"), pytest.param(8, 15, id="more-than-blobs")]
)
def test_each_client_gets_each_blob(connections: int, opened: int) -> None:
    with serving() as server:
        assert download_all(server.url, BLOBS, clients=3, connections=connections) > 0
        assert server.asked == {blob.path: 3 for blob in BLOBS}
        assert len(server.connections) == opened


def test_one_blob_for_many_clients() -> None:
    with serving() as server:
        assert download(f"{server.url}{BLOBS[4].path}", size=BLOBS[4].size, clients=5) > 0
        assert server.asked == {BLOBS[4].path: 5}


def test_what_is_not_there() -> None:
    with serving() as server, pytest.raises(BenchmarkFailed, match="/missing"):
        download(f"{server.url}/missing", size=1)
