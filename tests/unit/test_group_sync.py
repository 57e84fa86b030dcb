"""One sync for all who are ready, and never one that began too early."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from shim_hooks.errors import StoreFailed
from shim_hooks.store.group_sync import GroupSync, sync_file_system

DEADLINE_S = 20


class Disk:
    """Counts its syncs; each waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = Event(), Event()
        self.syncs = 0

    def sync(self) -> None:
        self.syncs += 1
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)


def test_syncs_for_each_caller_in_turn() -> None:
    disk = Disk()
    disk.go_on.set()
    sync = GroupSync(disk.sync)
    sync()
    sync()
    assert disk.syncs == 2


def test_who_comes_while_one_runs_shares_the_next() -> None:
    disk = Disk()
    sync = GroupSync(disk.sync)
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(sync)
        assert disk.begun.wait(DEADLINE_S)
        called = [Event() for _ in range(10)]
        later = [threads.submit(_call, event, sync) for event in called]
        for event in called:
            assert event.wait(DEADLINE_S)
        assert not any(each.done() for each in later)  # what runs began before they called
        disk.go_on.set()
        for each in (first, *later):
            each.result(DEADLINE_S)
    assert 2 <= disk.syncs <= 11


def _call(event: Event, sync: Callable[[], None]) -> None:
    event.set()
    sync()


def test_a_failure_is_everyones_who_waited_for_it_and_nobodys_after() -> None:
    failures = [StoreFailed("full"), None]

    def fail_once() -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure

    sync = GroupSync(fail_once)
    with pytest.raises(StoreFailed, match="full"):
        sync()
    sync()


def test_syncs_a_real_file_system(tmp_path: Path) -> None:
    sync_file_system(tmp_path)
    with pytest.raises(StoreFailed, match="making store paths durable"):
        sync_file_system(tmp_path / "none")
