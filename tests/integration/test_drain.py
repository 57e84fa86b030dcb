"""Told to stop, the registry first says so, then ends what is under way, then is gone."""

import os
import signal

import httpx2
import pytest

from flox_formats.digest import Digest
from floxbridge_demo.program import Program
from tests.integration.faulty_upstream import Fault
from tests.integration.large_package import large_package
from tests.integration.registry_rig import World
from tests.integration.test_closure_faults import nars
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import WEB, digest_of, message
from tests.integration.test_server import a_hub_that_can_hang
from tests.integration.wire import DEADLINE_S, Wire

SIZE = 40 * 1024 * 1024
SMALL_BUFFER = 64 * 1024


@pytest.fixture
def blob(world: World) -> Digest:
    """A blob that does not fit into the buffers between a server and a client that takes its time."""
    path, digest = large_package(world, "large", SIZE)
    world.push("acme/web", path)
    return digest


def tell(program: Program, number: int = signal.SIGTERM) -> None:
    os.kill(program.pid, number)


def end_of(program: Program) -> tuple[bool, int]:
    """Whether it ended by itself; its exit code, or the signal that ended it."""
    ended = os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_code == os.CLD_EXITED, ended.si_status


def begin_blob(client: httpx2.Client, digest: Digest) -> Wire:
    """A client that asked for the blob, and has read its first byte."""
    assert [layer["digest"] for layer in nars(client)] == [str(digest)]
    wire = Wire(client.base_url, receive_buffer=SMALL_BUFFER)
    wire.get(f"{WEB}/blobs/{digest}")
    assert wire.head()[0] == 200
    assert len(wire.read(1)) == 1
    return wire


def test_first_it_says_that_it_stops_and_goes_on_serving(world: World, blob: Digest) -> None:
    with registry_process(world, "--drain-grace-s", "600") as (client, program):
        digest = digest_of(client, "live")
        tell(program)
        program.wait_for("draining", deadline_s=DEADLINE_S)
        ready = client.get("/readyz")
        assert (ready.status_code, "another replica" in message(ready)) == (503, True)
        assert client.get("/healthz").status_code == 200
        with httpx2.Client(base_url=client.base_url) as newcomer:
            assert digest_of(newcomer, "live") == digest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(world: World, blob: Digest, number: int) -> None:
    with registry_process(world, "--drain-grace-s", "600") as (_, program):
        tell(program, number)
        program.wait_for("draining", deadline_s=DEADLINE_S)
        tell(program, number)
        assert end_of(program) == (False, number)


def test_an_answer_under_way_is_finished(world: World, blob: Digest) -> None:
    with registry_process(world) as (client, program), begin_blob(client, blob) as wire, Wire(client.base_url) as idle:
        tell(program)
        program.wait_for("draining", deadline_s=DEADLINE_S)
        assert idle.rest() == b""
        assert len(wire.rest()) == SIZE - 1
        assert end_of(program) == (True, 0)
        assert [event["event"] for event in program.events("drain_cut")] == []
        program.wait_for("stopped", deadline_s=DEADLINE_S)


def test_a_floxhub_that_hangs_does_not_hold_up_the_end(world: World) -> None:
    with a_hub_that_can_hang(world) as (hub, url):
        hub.fault = Fault.HANG
        with registry_process(world, "--floxhub-url", url, "--lookup-timeout-s", "0.1") as (client, program):
            assert client.get(f"{WEB}/manifests/live").status_code == 503
            tell(program)
            assert end_of(program) == (True, 0)
            assert not hub.release.is_set()
            program.wait_for("stopped", deadline_s=DEADLINE_S)


def test_an_answer_that_nobody_takes_is_cut_in_the_end(world: World, blob: Digest) -> None:
    with registry_process(world, "--drain-timeout-s", "0.1") as (client, program), begin_blob(client, blob) as wire:
        tell(program)
        assert program.wait_for("drain_cut", deadline_s=DEADLINE_S)["connections"] == 1
        assert end_of(program) == (True, 0)
        assert len(wire.rest()) < SIZE - 1
        assert not list(program.events("error"))
