"""What a running registry says of itself: `/metrics`, a line a request, and what `docs/operate.md` promises of both."""

import asyncio
import base64
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from flox_formats.environment import EnvironmentName
from floxbridge_demo.program import Program
from registry_proxy.endpoints.access_log import AccessLog, Answer
from registry_proxy.endpoints.exchange import Exchange
from registry_proxy.log import Log
from tests.integration.faulty_upstream import Fault, FaultyUpstream, serving
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_pull_api import WEB
from tests.integration.wire import Wire
from tests.unit.test_credentials import jwt

OPERATE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text()
FLOXBRIDGE = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "floxbridge"
AWAY: dict[str, Any] = {
    "hub_dir": None,
    "floxhub_url": "http://floxhub.localhost",
    "floxhub_git_url": "http://127.0.0.1:9/git",
}
_START_S = 30


class Scraped:
    """One scrape."""

    def __init__(self, client: httpx2.Client) -> None:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        self.text = answer.text
        families = text_string_to_metric_families(answer.text)
        self._samples = {
            (one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples.get((name, *sorted(labels.items())), 0)

    def names(self) -> set[str]:
        names = re.findall(r"^# TYPE (\S+)", self.text, re.MULTILINE)
        return {name for name in names if not name.endswith("_created")}


@contextmanager
def registry_process(world: World, *flags: str) -> Iterator[tuple[httpx2.Client, Program]]:
    """`floxbridge serve` as an operator runs it; its log is stderr."""
    command = [str(FLOXBRIDGE), "serve", "--listen", "127.0.0.1:0", "--state-dir", str(world.root / "state")]
    command += ["--drain-grace-s", "0", "--trusted-key", str(world.cache.public_key), *flags]
    if not any(flag.startswith("--nix-cache") for flag in flags):
        command += ["--nix-cache", world.cache.url]
    if not any(flag.startswith("--floxhub") for flag in flags):
        command += ["--hub-dir", str(world.hub)]
    with Program("floxbridge", command, log=world.root / "serve.log", environment=os.environ) as program:
        url = str(program.wait_for("listening", deadline_s=_START_S)["url"])
        with httpx2.Client(base_url=url, timeout=30) as client:
            yield client, program


def requests_of(program: Program) -> list[dict[str, Any]]:
    """Every line a request; the program has ended."""
    return [dict(event) for event in program.events("request")]


def documented(heading: str) -> set[str]:
    """The names in code in the first column of the table below a heading."""
    table = OPERATE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for cell in first for name in re.findall(r"`([a-z_]+)`", cell)}


def test_every_metric_is_documented_and_every_documented_one_is_there(world: World) -> None:
    with running_registry(world.settings()) as client:
        assert Scraped(client).names() == documented("metric")


def test_when_the_clusters_token_expires(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    name = "floxbridge_token_expiry_timestamp_seconds"
    token = world.root / "token"
    token.write_text(jwt(exp=4102444800))
    with running_registry(world.settings()) as client:
        client.get(f"{WEB}/manifests/live")
        assert Scraped(client)(name) == 0
    with running_registry(world.settings(floxhub_token_file=token)) as client:
        client.get(f"{WEB}/manifests/live")
        assert Scraped(client)(name) == 4102444800


def test_every_field_and_event_of_the_log_is_documented() -> None:
    stream = io.StringIO()

    async def write() -> None:
        log = Log(stream)
        exchange = Exchange("id", "manifests", EnvironmentName.parse("acme/web"), 12, "fresh")
        AccessLog(log).answered(exchange, "GET", "/", "127.0.0.1", Answer(), 0.1)
        log.flush()

    asyncio.run(write())
    assert set(json.loads(stream.getvalue())) - {"time", "event"} == documented("field")
    house = Path(__file__).resolve().parents[2] / "registry_proxy"
    events = {name for file in house.rglob("*.py") for name in re.findall(r'\.event\(\s*"(\w+)"', file.read_text())}
    assert events | {"request", "warning", "error", "critical"} == documented("event")


def test_a_token_that_ends_is_told_by_a_registry_that_nobody_asks(world: World) -> None:
    token, ends_at = world.root / "token", 1577836800
    token.write_text(f"e30.{base64.urlsafe_b64encode(json.dumps({'exp': ends_at}).encode()).decode().rstrip('=')}.x")
    with registry_process(world, "--floxhub-token-file", str(token)) as (client, program):
        assert "expired at 2020-01-01" in str(program.wait_for("token_expiring", deadline_s=_START_S)["message"])
        assert Scraped(client)("floxbridge_token_expiry_timestamp_seconds") == ends_at


def test_a_pull_is_counted_and_logged(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with registry_process(world, "--resolve-ttl-s", "60") as (client, program):
        first = client.get(f"{WEB}/manifests/live", headers={"X-Request-Id": "node-1"})
        again = client.head(f"{WEB}/manifests/latest?token=flox_query", headers={"Authorization": "Bearer flox_head"})
        index = first.json()
        blob = client.get(f"{WEB}/blobs/{index['annotations']['dev.flox.lockfile']}")
        client.get("/v2/library/busybox/manifests/latest")
        scraped = Scraped(client)
    assert (first.headers["x-request-id"], len(again.headers["x-request-id"]) > 10) == ("node-1", True)
    assert scraped("floxbridge_requests_total", route="manifests", method="GET", status="200") == 1
    assert scraped("floxbridge_requests_total", route="manifests", method="HEAD", status="200") == 1
    assert scraped("floxbridge_requests_total", route="manifests", method="GET", status="404") == 1
    assert scraped("floxbridge_sent_bytes_total", route="blobs") == len(blob.content)
    assert scraped("floxbridge_request_duration_seconds_count", route="blobs") == 1
    assert scraped("floxbridge_resolutions_total", outcome="fresh") == 1  # it is shown to everybody
    assert scraped("floxbridge_upstream_duration_seconds_count", upstream="floxhub", outcome="ok") == 1
    assert scraped("floxbridge_requests_in_flight") == 1  # the scrape
    lines = [line for line in requests_of(program) if line["path"].startswith("/v2/")]
    facts = [{key: line.get(key) for key in ("method", "status", "generation", "outcome")} for line in lines]
    assert facts == [
        {"method": "GET", "status": 200, "generation": 1, "outcome": "fresh"},
        {"method": "HEAD", "status": 200, "generation": 1, "outcome": "cached"},
        {"method": "GET", "status": 200, "generation": None, "outcome": "cached"},
        {"method": "GET", "status": 404, "generation": None, "outcome": None},
    ]
    assert [line["bytes"] for line in lines[:3]] == [len(first.content), 0, len(blob.content)]
    assert (lines[0]["request_id"], lines[0]["environment"]) == ("node-1", "acme/web")
    assert lines[1]["request_id"] == again.headers["x-request-id"]
    log = program.log.read_text()
    assert "flox_query" not in log
    assert "flox_head" not in log


def test_lines_that_wait_are_written_at_the_end(world: World) -> None:
    with registry_process(world) as (client, program):
        for _ in range(50):
            client.get("/v2/")
    assert len([line for line in requests_of(program) if line["path"] == "/v2/"]) == 50
    assert next(program.events("stopped"), None) is not None


def test_the_access_log_can_be_turned_off(world: World) -> None:
    with registry_process(world, "--access-log", "false") as (client, program):
        assert client.get("/v2/").status_code == 200
    assert requests_of(program) == []


def test_a_silent_floxhub_shows_in_the_age_of_what_is_served(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        client.get(f"{WEB}/manifests/live")
        assert Scraped(client)("floxbridge_stale_age_seconds") == 0
    pointers = [path for path in (world.root / "state" / "floxhub").rglob("current.*") if path.is_file()]
    for path in pointers:  # as if FloxHub had confirmed it an hour ago
        os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))
    with running_registry(replace(world.settings(), **AWAY)) as client:
        stale = client.get(f"{WEB}/manifests/live")
        failed = client.get("/v2/flox/empty/acme/other/manifests/live")
        scraped = Scraped(client)
    assert (stale.headers["floxbridge-resolution"], failed.status_code) == ("stale", 503)
    assert scraped("floxbridge_resolutions_total", outcome="stale") == 1
    assert scraped("floxbridge_resolutions_total", outcome="failed") == 1
    assert scraped("floxbridge_stale_age_seconds") >= 3600
    assert scraped("floxbridge_upstream_duration_seconds_count", upstream="floxhub", outcome="failed") >= 1


def test_an_environment_that_is_not_there_is_no_failure(world: World) -> None:
    with running_registry(world.settings()) as client:
        assert client.get(f"{WEB}/manifests/live").status_code == 404
        scraped = Scraped(client)
    assert scraped("floxbridge_resolutions_total", outcome="not_found") == 1
    assert scraped("floxbridge_resolutions_total", outcome="failed") == 0


def test_the_content_store_is_counted_also_after_a_restart(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))

    def on_disk() -> tuple[int, int]:
        files = [path for path in (world.root / "state" / "content" / "sha256").rglob("*") if path.is_file()]
        return len(files), sum(path.stat().st_size for path in files)

    def counted(scraped: Scraped) -> tuple[float, float]:
        return scraped("floxbridge_content_files"), scraped("floxbridge_content_bytes")

    with running_registry(world.settings()) as client:
        client.get(f"{WEB}/manifests/live")
        assert counted(Scraped(client)) == on_disk()
    with running_registry(world.settings()) as client:
        world.push("acme/web", world.package("more", "there"))
        client.get(f"{WEB}/manifests/live")
        assert counted(Scraped(client)) == on_disk()


@contextmanager
def cache_over_http(world: World) -> Iterator[tuple[FaultyUpstream, str]]:
    upstream = FaultyUpstream(Starlette(routes=[Mount("/", StaticFiles(directory=world.cache.folder))]))
    with serving(upstream) as url:
        yield upstream, url


def layers(client: httpx2.Client) -> list[dict[str, Any]]:
    """The NARs of the live generation's closure."""
    platform = client.get(f"{WEB}/manifests/live").json()["manifests"][0]
    (artifact,) = client.get(
        f"{WEB}/referrers/{platform['digest']}?artifactType=application/vnd.floxbridge.closure.v1"
    ).json()["manifests"]
    found: list[dict[str, Any]] = client.get(f"{WEB}/manifests/{artifact['digest']}").json()["layers"][1:]
    return found


def test_binary_caches_are_measured(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with cache_over_http(world) as (_, url), running_registry(world.settings(nix_cache=(url,))) as client:
        (nar,) = layers(client)
        assert client.get(f"{WEB}/blobs/{nar['digest']}").status_code == 200
        scraped = Scraped(client)
    assert scraped("floxbridge_upstream_duration_seconds_count", upstream="nix_cache", outcome="ok") == 2
    assert scraped("floxbridge_upstream_received_bytes_total", upstream="nix_cache") > nar["size"]
    assert scraped("floxbridge_downloads_in_flight") == 0


def test_an_answer_that_a_cache_broke_off_is_one_sentence_in_the_log(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi" * 5000))
    with cache_over_http(world) as (upstream, url), registry_process(world, "--nix-cache", url) as (client, program):
        (nar,) = layers(client)
        upstream.fault, upstream.only = Fault.CUT, "/nar/"
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(f"{WEB}/blobs/{nar['digest']}", headers={"X-Request-Id": "broken"})
        scraped = Scraped(client)
    assert scraped("floxbridge_upstream_duration_seconds_count", upstream="nix_cache", outcome="cut_off") == 1
    (line,) = [line for line in requests_of(program) if line["request_id"] == "broken"]
    assert (line["status"], line["complete"]) == (200, False)
    (warning,) = program.events("warning")
    assert (warning["request_id"], "traceback" in warning) == ("broken", False)
    assert str(warning["message"]).startswith("an answer was broken off: binary cache http://127.0.0.1")


def test_a_mistake_of_ours_is_logged_with_its_traceback_and_its_request(world: World) -> None:
    """A folder where a file should be: nobody foresaw that."""
    world.push("acme/web", world.package("hello", "hi"))
    with registry_process(world) as (client, program):
        lockfile = client.get(f"{WEB}/manifests/live").json()["annotations"]["dev.flox.lockfile"].partition(":")[2]
        place = world.root / "state" / "content" / "sha256" / lockfile[:2] / lockfile
        place.unlink()
        place.mkdir()
        answer = client.get(f"{WEB}/blobs/sha256:{lockfile}", headers={"X-Request-Id": "mistake"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mistake")
    (error,) = program.events("error")
    assert error["request_id"] == "mistake"
    assert "IsADirectoryError" in str(error["traceback"])


def test_what_is_no_http_is_counted_and_cannot_fill_the_log(world: World) -> None:
    with registry_process(world) as (client, program):
        large = b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n"
        for garbage in (*[b"\x16\x03\x01 no http\r\n\r\n"] * 49, large):
            with Wire(client.base_url) as wire:
                wire.send(garbage)
                wire.rest()
        scraped = Scraped(client)
        first = program.wait_for("malformed_request", deadline_s=_START_S)
    assert scraped("floxbridge_malformed_requests_total", status="400") == 49
    assert scraped("floxbridge_malformed_requests_total", status="431") == 1
    assert (first["client"], first["status"], first["count"]) == ("127.0.0.1", 400, 1)
    lines = list(program.events("malformed_request"))
    assert sum(int(str(line["count"])) for line in lines) == 50
    assert len(lines) < 10  # one in ten seconds, and the rest at the end
    assert not list(program.events("warning"))


def test_an_offer_to_speak_another_protocol_is_no_event(world: World) -> None:
    with registry_process(world) as (client, program):
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert client.get("/v2/", headers=upgrade).status_code == 200
    events = {json.loads(line)["event"] for line in program.log.read_text().splitlines()}
    assert events == {"listening", "request", "draining", "stopped"}
