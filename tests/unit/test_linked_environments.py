"""What is noted of linked environments, and what of it survives."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.environment.mode import Mode
from shim_hooks.store.closures import RecordKey
from shim_hooks.store.linked_environments import Linked, LinkedEnvironments, LinkedInvalid

WEB = Linked(EnvironmentName.parse("Acme/web"), RecordKey(Digest("a" * 64), System.X86_64_LINUX), Mode.DEV)
PATH, OTHER = StorePath("1" * 32, "environment-web"), StorePath("2" * 32, "environment-" + "x" * 190)


def test_round_trip() -> None:
    assert Linked.parse(WEB.to_bytes()) == WEB


@pytest.mark.parametrize("key", ["environment", "lockfile", "system", "mode"])
def test_every_member_is_needed(key: str) -> None:
    with pytest.raises(LinkedInvalid):
        Linked.parse(WEB.to_bytes().replace(f'"{key}"'.encode(), b'"other"'))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_note_or_say_why_not(data: bytes) -> None:
    with suppress(LinkedInvalid):
        Linked.parse(data)


def test_the_last_word_counts(tmp_path: Path) -> None:
    notes = LinkedEnvironments(tmp_path)
    assert not notes.has(PATH)
    notes.keep(PATH, WEB)
    notes.keep(PATH, replace(WEB, mode=Mode.RUN))
    notes.keep(OTHER, WEB)
    assert notes.has(PATH)
    assert LinkedEnvironments(tmp_path).read() == {PATH: replace(WEB, mode=Mode.RUN), OTHER: WEB}


def test_what_cannot_be_read_is_made_again_when_it_is_needed(tmp_path: Path) -> None:
    notes = LinkedEnvironments(tmp_path)
    notes.keep(PATH, WEB)
    (tmp_path / f"{PATH.base_name}.json").write_bytes(b"{")
    (tmp_path / "something.json").write_bytes(WEB.to_bytes())
    (tmp_path / "~half.json").write_bytes(b"{")
    assert notes.read() == {}
    assert not notes.has(PATH)
    assert [entry.name for entry in tmp_path.iterdir()] == ["~half.json"], "somebody may be writing that"


def test_old_notes_of_what_is_gone_are_forgotten(tmp_path: Path) -> None:
    notes = LinkedEnvironments(tmp_path)
    for path in (PATH, OTHER):
        notes.keep(path, WEB)
        os.utime(tmp_path / f"{path.base_name}.json", (1000, 1000))
    notes.forget(all_but={PATH.base_name}, before=1000)
    assert set(notes.read()) == {PATH, OTHER}, "its environment may be about to come"
    notes.forget(all_but={PATH.base_name}, before=1001)
    assert set(notes.read()) == {PATH}
