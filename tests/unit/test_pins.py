"""Pins: what somebody is about to need stays, for as long as its process lives."""

import os
import subprocess
import sys
from pathlib import Path

from flox_formats.store_path import StorePath
from shim_hooks.store.node_store import NodeStore

A, B = StorePath("0" * 32, "a"), StorePath("1" * 32, "b")


def test_all_processes_see_what_is_pinned_until_it_is_released(tmp_path: Path) -> None:
    ours, theirs = NodeStore(tmp_path), NodeStore(tmp_path)
    pin = ours.pin()
    assert theirs.pinned() == frozenset()
    pin.add([A])
    pin.add([A, B])
    assert theirs.pinned() == {A.base_name, B.base_name}
    pin.release()
    pin.release()
    assert theirs.pinned() == frozenset()
    ours.close()


def test_pins_of_two_add_up(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    first, second = store.pin(), store.pin()
    first.add([A])
    second.add([A, B])
    first.release()
    assert store.pinned() == {A.base_name, B.base_name}


def test_a_pin_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom shim_hooks.store.node_store import NodeStore\n"
        "from tests.unit.test_pins import A\nNodeStore(Path(sys.argv[1])).pin().add([A])\nos._exit(9)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=place, timeout=60, check=False).returncode == 9
    assert NodeStore(tmp_path).pinned() == frozenset()


def test_released_after_the_store_was_closed(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    pin = store.pin()
    pin.add([A])
    store.close()
    pin.release()
    assert not any((tmp_path / "staging").iterdir())
