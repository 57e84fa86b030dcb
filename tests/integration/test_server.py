"""Connections as clients really make them: kept, pipelined, malformed, endless, idle, slow, cut off. Each costs little,
and the next request is right."""

import json
import resource
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from flox_formats.digest import Digest
from floxbridge_demo.program import Program
from registry_proxy.connection import MAX_HEAD_BYTES
from registry_proxy.hub.server import serve_hub_app
from registry_proxy.images.content import INDEX, MANIFEST
from tests.conftest import cannot_run
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_closure_faults import nars
from tests.integration.test_observability import Scraped, registry_process
from tests.integration.test_pull_api import WEB, digest_of
from tests.integration.wire import DEADLINE_S, Wire

EMPTY = "/v2/flox/empty/manifests/live"
MEBIBYTE = 1024 * 1024
SMALL_BUFFER = 64 * 1024


@pytest.fixture
def registry(world: World) -> Iterator[httpx2.Client]:
    with running_registry(world.settings()) as client:
        yield client


@pytest.fixture
def blob(world: World) -> Digest:
    """A blob of 40 MiB, more than the buffers between a server and a client hold."""
    path, digest = large_package(world, "large", 40 * MEBIBYTE)
    world.push("acme/web", path)
    return digest


def test_a_connection_is_kept(registry: httpx2.Client) -> None:
    with Wire(registry.base_url) as wire:
        wire.get(EMPTY)
        assert wire.answer().status == 200
        wire.get(EMPTY, method="HEAD")
        assert wire.head()[0] == 200
        wire.get("/nothing")
        assert wire.answer().status == 404
        wire.get(EMPTY, "Connection: close")
        assert wire.answer().headers["connection"] == "close"
        assert wire.rest() == b""


def test_requests_in_a_row_are_answered_in_order(registry: httpx2.Client) -> None:
    paths = ["/healthz", EMPTY, "/nothing", "/v2/", EMPTY] * 20
    with Wire(registry.base_url) as wire:
        wire.send(b"".join(f"GET {path} HTTP/1.1\r\nHost: registry\r\n\r\n".encode() for path in paths))
        assert [wire.answer().status for _ in paths] == [200, 200, 404, 200, 200] * 20


LIVE = f"{WEB}/manifests/live"


def test_a_fresh_tag_in_a_row_and_at_the_end(world: World) -> None:
    """What is answered whole keeps connections, and ends them, as everything else does."""
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings(resolve_ttl_s=60)) as client:
        index = client.get(LIVE).content
        with Wire(client.base_url) as wire:
            for path in (LIVE, "/healthz", LIVE):
                wire.get(path)
            assert [wire.answer().body == index for _ in range(3)] == [True, False, True]
            wire.get(LIVE, method="HEAD")
            status, headers = wire.head()
            assert (status, headers["content-length"], "connection" in headers) == (200, str(len(index)), False)
            wire.get(LIVE, "Connection: close")
            last = wire.answer()
            assert (last.headers["connection"], last.body, wire.rest()) == ("close", index, b"")
        with Wire(client.base_url) as old:
            old.send(f"GET {LIVE} HTTP/1.0\r\n\r\n".encode())
            answer = old.answer()
            assert (answer.headers["connection"], answer.body, old.rest()) == ("close", index, b"")


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param((), id="nothing"),
        pytest.param(("Accept: */*",), id="anything"),
        pytest.param(("Accept: application/vnd.oci.image.index.v1+json, */*",), id="containerd"),
        pytest.param((f"Accept: {MANIFEST}", f"Accept: {INDEX};q=0.1", "Accept: text/html"), id="in-several-headers"),
        pytest.param((f"Accept: {MANIFEST}",), id="less-than-there-is"),
        pytest.param((f"Accept: {INDEX};q=0, application/json;q=,;;",), id="nonsense"),
    ],
)
def test_a_tag_has_one_type(registry: httpx2.Client, accept: tuple[str, ...]) -> None:
    with Wire(registry.base_url) as wire:
        wire.get(EMPTY, *accept)
        answer = wire.answer()
    assert (answer.status, answer.headers["content-type"]) == (200, INDEX)


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_another_protocol_is_not_spoken(registry: httpx2.Client, protocol: str) -> None:
    with Wire(registry.base_url) as wire:
        wire.send(
            f"GET {EMPTY} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            f"GET {EMPTY} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        )
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"], wire.rest()) == (200, "close", b"")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), id="tls"),
        pytest.param(b"hello\r\n\r\n", id="no-request-line"),
        pytest.param(b"FETCH / HTTP/1.1\r\n\r\n", id="unknown-method"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="unknown-version"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="header-without-colon"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", id="nul-in-a-header"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", id="length-that-is-no-number"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="two-lengths"
        ),
        pytest.param(b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", id="bytes-in-the-path"),
        pytest.param(b"CONNECT registry:5000 HTTP/1.1\r\nHost: a\r\n\r\n", id="connect"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
    ],
)
def test_what_is_no_http_is_told_so(registry: httpx2.Client, request_: bytes) -> None:
    with Wire(registry.base_url) as wire:
        wire.send(request_)
        refused = wire.answer()
        assert (refused.status, refused.headers["connection"]) == (400, "close")
        assert json.loads(refused.body) == {"errors": [{"code": "BAD_REQUEST", "message": "this is no HTTP request"}]}
        assert wire.rest() == b""
    assert registry.get(EMPTY).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param("HTTP/1.1\r\n", 400, id="none"),
        pytest.param("HTTP/1.1\r\nHost: a\r\nhost: a\r\n", 400, id="two"),
        pytest.param("HTTP/1.1\r\nHOST: a\r\n", 200, id="one"),
        pytest.param("HTTP/1.1\r\nHost:\r\n", 200, id="empty"),
        pytest.param("HTTP/1.0\r\n", 200, id="before-there-were-any"),
    ],
)
def test_a_request_says_its_host_once(registry: httpx2.Client, head: str, status: int) -> None:
    """RFC 9112 section 3.2."""
    with Wire(registry.base_url) as wire:
        wire.send(f"GET {EMPTY} {head}\r\n".encode())
        answer = wire.answer()
    assert answer.status == status
    if status == 400:
        (error,) = json.loads(answer.body)["errors"]
        assert (error["code"], "one Host header" in error["message"]) == ("BAD_REQUEST", True)


def endless_line() -> Iterator[bytes]:
    yield b"GET /"
    while True:
        yield b"a" * 8192


def endless_header() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nHost: a\r\nA: "
    while True:
        yield b"b" * 8192


def endless_headers() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nHost: a\r\n"
    while True:
        yield b"A: b\r\n" * 1000


def large_head() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 2) + b"\r\n"


@pytest.mark.parametrize("pieces", [endless_line, endless_header, endless_headers, large_head])
def test_a_head_has_an_end(registry: httpx2.Client, pieces: Callable[[], Iterator[bytes]]) -> None:
    with Wire(registry.base_url) as wire:
        sent = 0
        try:
            for piece in pieces():
                wire.send(piece)
                sent += len(piece)
        except OSError:
            assert sent < 20 * MEBIBYTE  # what fits into the system's buffers, whatever the server does
        else:
            refused = wire.answer()
            assert (refused.status, str(MAX_HEAD_BYTES) in refused.body.decode()) == (431, True)
    assert registry.get(EMPTY).status_code == 200


def test_a_large_head_that_ends_is_read(registry: httpx2.Client) -> None:
    answer = registry.get(EMPTY, headers={"Authorization": "Bearer " + "a" * (MAX_HEAD_BYTES - 4096)})
    assert answer.status_code == 200


def test_nothing_is_written_into_an_answer_under_way(world: World, blob: Digest) -> None:
    with running_registry(world.settings()) as client:
        nars(client)
        with Wire(client.base_url, receive_buffer=SMALL_BUFFER) as wire:
            wire.get(f"{WEB}/blobs/{blob}")
            assert wire.head()[0] == 200
            wire.send(b"\0\0\0 this is no HTTP \r\n\r\n")
            assert b"BAD_REQUEST" not in wire.rest()


def silent() -> Iterator[bytes]:
    while True:
        yield b""


def dripping_head() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\nA: "
    while True:
        yield b"b"


def dripping_body() -> Iterator[bytes]:
    """Of a request that was answered long ago."""
    yield b"PUT /v2/flox/empty/manifests/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    while True:
        yield b"b"


@pytest.mark.parametrize("pieces", [silent, dripping_head, dripping_body])
def test_a_client_that_owes_a_request_is_not_waited_for_for_ever(
    world: World, pieces: Callable[[], Iterator[bytes]]
) -> None:
    with running_registry(world.settings(idle_timeout_s=1)) as client, Wire(client.base_url) as wire:
        began = time.monotonic()
        assert ends(wire, pieces())
        assert time.monotonic() - began < DEADLINE_S


def test_a_bound_may_be_part_of_a_second(world: World) -> None:
    """Of two connections the later one ends first, since its bound is a fifth of the other's."""
    long, short = world.settings("long", idle_timeout_s=1), world.settings("short", idle_timeout_s=0.2)
    with (
        running_registry(long) as patient,
        running_registry(short) as hasty,
        Wire(patient.base_url) as first,
        Wire(hasty.base_url) as second,
    ):
        ended, _, _ = select.select([first.socket, second.socket], [], [], DEADLINE_S)
        assert ended == [second.socket]


def ends(wire: Wire, pieces: Iterator[bytes]) -> bool:
    """Sends a piece each time that nothing came for a while, until the server closes."""
    wire.socket.settimeout(0.1)
    for piece in pieces:
        try:
            wire.send(piece)
            while wire.socket.recv(65536):
                pass
        except TimeoutError:
            continue
        except ConnectionError:
            return True
        return True
    return False


@contextmanager
def few_files_for_children() -> Iterator[None]:
    """What is started meanwhile may have 256 files open, as a shell might say, until it raises that itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_connections(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = 10_000
    if hard < count + 1_000:
        cannot_run(f"this machine lets a process have {hard} files open, and each connection is one")
    with ExitStack() as stack:
        with few_files_for_children():
            client, program = stack.enter_context(registry_process(world))
        before = len(open_files(program))
        with ExitStack() as idle:
            for _ in range(count):
                idle.enter_context(Wire(client.base_url))
            assert digest_of(client, "live")
            assert len(open_files(program)) >= count
            assert resident_bytes(program) < 400 * MEBIBYTE
        assert settles(client, lambda: len(open_files(program)) <= before + 5)


def open_files(program: Program) -> list[Path]:
    return list(Path(f"/proc/{program.pid}/fd").iterdir())


def resident_bytes(program: Program) -> int:
    pages = Path(f"/proc/{program.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def settles(client: httpx2.Client, holds: Callable[[], bool]) -> bool:
    """Whether it holds within the deadline; each look is a request, so that the server has its turn."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert client.get("/healthz").status_code == 200
        if time.monotonic() > end:
            return False
    return True


def test_clients_that_go_away_leave_nothing(world: World, blob: Digest) -> None:
    with a_hub_that_can_hang(world) as (hub, url), registry_process(world, "--floxhub-url", url) as (client, program):
        nars(client)
        assert client.get(f"{WEB}/blobs/{blob}", headers={"Range": "bytes=0-0"}).status_code == 206
        before = len(open_files(program))
        for _ in range(5):
            for stage in (connected, half_head, asked, reading, waiting_for_floxhub):
                with Wire(client.base_url, receive_buffer=SMALL_BUFFER) as polite:
                    stage(polite, hub, blob)
                rude = Wire(client.base_url, receive_buffer=SMALL_BUFFER)
                stage(rude, hub, blob)
                rude.reset()
        hub.fault = Fault.NONE
        hub.release.set()
        # Connections to FloxHub that are idle are closed when it is asked again.
        assert settles(client, lambda: bool(digest_of(client, "live")) and len(open_files(program)) <= before + 3)
        assert settles(client, lambda: Scraped(client)("floxbridge_requests_in_flight") == 1)
        assert digest_of(client, "live")
        assert not [*program.events("error"), *program.events("warning")]


@contextmanager
def a_hub_that_can_hang(world: World) -> Iterator[tuple[FaultyUpstream, str]]:
    hub = FaultyUpstream(serve_hub_app(world.hub))
    with serving(hub) as url:
        try:
            yield hub, url
        finally:
            hub.release.set()


def connected(wire: Wire, hub: FaultyUpstream, blob: Digest) -> None:
    pass


def half_head(wire: Wire, hub: FaultyUpstream, blob: Digest) -> None:
    wire.send(b"GET /v2/ HTTP/1.1\r\nHo")


def asked(wire: Wire, hub: FaultyUpstream, blob: Digest) -> None:
    wire.get(f"{WEB}/blobs/{blob}")


def reading(wire: Wire, hub: FaultyUpstream, blob: Digest) -> None:
    wire.get(f"{WEB}/blobs/{blob}")
    assert wire.head()[0] == 200
    wire.read(1)


def waiting_for_floxhub(wire: Wire, hub: FaultyUpstream, blob: Digest) -> None:
    """About an environment of its own each time, since one question is asked for all who want to know the same."""
    hub.fault = Fault.HANG
    hub.hanging.clear()
    wire.get(f"/v2/flox/empty/acme/web{len(hub.requests)}/manifests/live")
    assert hub.hanging.wait(DEADLINE_S)
    hub.fault = Fault.NONE


def test_slow_readers_hold_no_memory(world: World, blob: Digest) -> None:
    with registry_process(world) as (client, program), ExitStack() as stack:
        nars(client)
        assert client.get(f"{WEB}/blobs/{blob}", headers={"Range": "bytes=0-0"}).status_code == 206
        before = resident_bytes(program)
        for _ in range(30):
            wire = stack.enter_context(Wire(client.base_url, receive_buffer=SMALL_BUFFER))
            wire.get(f"{WEB}/blobs/{blob}")
            assert wire.head()[0] == 200
        assert digest_of(client, "live")
        assert resident_bytes(program) - before < 30 * 4 * MEBIBYTE  # of 1200 that they asked for
