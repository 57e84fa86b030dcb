"""What a running agent says of itself: `/metrics`, `/healthz`, and what `docs/node.md` promises of them."""

import asyncio
import io
import json
import re
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shim_hooks.errors import ContentRejected, NodeError, RegistryUnavailable, StillFetching, StoreFailed
from shim_hooks.log import Log
from shim_hooks.metrics import Metrics, outcome_of
from shim_hooks.metrics_endpoint import metrics_endpoint
from tests.integration.small_registry import KEY, Package, SmallRegistry, program
from tests.integration.test_node_cli import agent

pytestmark = pytest.mark.anyio

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "node.md").read_text()
ONE = Package.make("one", program("one", size=3000))


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[str, float]:
    """By name and labels as they are written; without what differs from run to run."""
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def create(path: Path, bundle: Path, name: str, environment: str) -> bytes:
    (bundle / "rootfs").mkdir(parents=True)
    process = {"args": ["web"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    document = {"ociVersion": "1.0.2", "process": process, "root": {"path": "rootfs"}, "mounts": []}
    (bundle / "config.json").write_text(json.dumps({**document, "annotations": {"flox.dev/environment": environment}}))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(f"floxbridge/1\0create\0{bundle}\0{name}\x0060000\0".encode())
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


async def test_a_running_agent(registry: SmallRegistry, tmp_path: Path) -> None:
    registry.push("acme/one", 1, ONE)
    more = ("--metrics-listen", "127.0.0.1:0", "--registry-url", registry.url, "--trusted-key", str(KEY.public))
    path = tmp_path / "run" / "agent.sock"

    def ask(log: Callable[[], str]) -> tuple[dict[str, float], str]:
        (port,) = (line["port"] for line in [json.loads(log())] if line["event"] == "metrics")
        assert create(path, tmp_path / "b1", "c1", "acme/one") == b"ok\n"
        assert b"nobody knows" in create(path, tmp_path / "b2", "c2", "acme/none")
        return samples(get(f"http://127.0.0.1:{port}/metrics")), get(f"http://127.0.0.1:{port}/healthz")

    with agent(tmp_path, *more) as (process, log):
        found, health = await asyncio.to_thread(ask, log.readline)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
    assert health == "ok\n"
    assert found["floxbridge_node_creates_total{outcome=ok}"] == 1
    assert found["floxbridge_node_creates_total{outcome=registry_refused}"] == 1
    assert found["floxbridge_node_create_duration_seconds_count{phase=whole}"] == 1
    assert found["floxbridge_node_create_duration_seconds_count{phase=realise}"] == 1
    assert found["floxbridge_node_registry_duration_seconds_count{outcome=ok,question=blob}"] == 1
    assert found["floxbridge_node_registry_duration_seconds_count{outcome=ok,question=closure}"] == 1
    assert found["floxbridge_node_fetched_bytes_total{}"] == len(ONE.blob)
    assert found["floxbridge_node_registry_last_answer_timestamp_seconds{}"] > 1e9
    assert found["floxbridge_node_leases{}"] == 1
    assert found["floxbridge_node_disk_free_bytes{}"] > 0
    assert "floxbridge_node_disk_free_inodes{}" in found


def test_a_port_that_is_taken_stops_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with agent(tmp_path, "--metrics-listen", address) as (process, log):
            assert json.loads(log.readline())["event"] == "metrics_unavailable"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\n\r\n", b"200 OK", id="metrics"),
        pytest.param(b"HEAD /healthz?x HTTP/1.0\r\n\r\n", b"200 OK", id="head"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found", id="elsewhere"),
        pytest.param(b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed", id="post"),
        pytest.param(b"\0\xff\r\n\r\n", b"405 Method Not Allowed", id="garbage"),
        pytest.param(b"GET /metrics", b"", id="half"),
        pytest.param(b"x" * 100_000, b"", id="endless"),
    ],
)
async def test_every_request_ends(request_: bytes, status: bytes) -> None:
    log = io.StringIO()
    async with metrics_endpoint(("127.0.0.1", 0), Metrics(), Log(log)):
        reader, writer = await asyncio.open_connection("127.0.0.1", json.loads(log.getvalue())["port"])
        try:
            writer.write(request_)
            writer.write_eof()
            async with asyncio.timeout(30):
                answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
    assert answer.partition(b"\r\n")[0] == (b"HTTP/1.1 " + status if status else b"")


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (RegistryUnavailable(""), "registry_unavailable"),
        (StoreFailed(""), "store_failed"),
        (StillFetching("", ""), "still_fetching"),
        (ContentRejected(""), "content_rejected"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_outcomes(problem: NodeError, outcome: str) -> None:
    assert outcome_of(problem) == outcome


def test_the_manual_has_every_metric() -> None:
    metrics = Metrics()
    metrics.watch("leases", "", lambda: 0)
    metrics.watch("disk_free_bytes", "", lambda: 0)
    metrics.watch("disk_free_inodes", "", lambda: 0)
    text = metrics.exposition("")[0].decode()
    names = set(re.findall(r"^# TYPE (floxbridge_\w+)", text, re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    assert names == set(re.findall(r"^\| `(floxbridge_node_\w+)`", MANUAL, re.MULTILINE))
