"""What the registry last said, and what of it survives."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentRef
from shim_hooks.registry.environment import RegistryEnvironment, RegistryEnvironmentInvalid
from shim_hooks.store.known_generations import KnownGenerations

LIVE, PINNED = EnvironmentRef.parse("Acme/web"), EnvironmentRef.parse("Acme/web:2")


def answer(generation: int) -> RegistryEnvironment:
    return RegistryEnvironment(
        LIVE.environment, generation, Digest("a" * 64), "flox/empty/Acme/web", Digest(f"{generation:064x}")
    )


def test_remembers_each_reference_by_itself(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(3))
    known.remember(PINNED, answer(2))
    known.remember(LIVE, answer(4))
    assert KnownGenerations(tmp_path).recall(LIVE) == answer(4)
    assert known.recall(PINNED) == answer(2)
    assert known.recall(EnvironmentRef.parse("acme/web")) is None


def test_forgets_what_it_cannot_read(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(3))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"{}")
    assert known.recall(LIVE) is None
    file.write_bytes(answer(3).to_bytes().replace(b"Acme/web", b"acme/web"))
    assert known.recall(LIVE) is None


def test_the_same_answer_is_not_written_again(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(3))
    (file,) = tmp_path.iterdir()
    before = file.stat().st_ino
    known.remember(LIVE, answer(3))
    assert file.stat().st_ino == before


def test_what_was_said_again_is_as_young_as_what_was_said_first(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(3))
    (file,) = tmp_path.iterdir()
    os.utime(file, (1000, 1000))
    known.remember(LIVE, answer(3))
    assert file.stat().st_mtime > 1000


def test_old_answers_are_forgotten_unless_their_closure_is_here(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(4))
    known.remember(PINNED, replace(answer(2), lockfile=Digest("b" * 64)))
    (tmp_path / "public.json").write_bytes(b"{}")
    for file in tmp_path.iterdir():
        os.utime(file, (1000, 1000))
    known.forget(all_but={answer(4).lockfile}, before=1000)
    assert known.recall(PINNED) is not None, "its closure may be on its way"
    known.forget(all_but={answer(4).lockfile}, before=1001)
    assert known.recall(LIVE) == answer(4)
    assert known.recall(PINNED) is None
    assert (tmp_path / "public.json").exists()
    known.forget(all_but=(), before=1001)
    assert known.recall(LIVE) is None


def test_what_cannot_be_read_is_forgotten_when_it_is_old(tmp_path: Path) -> None:
    known = KnownGenerations(tmp_path)
    known.remember(LIVE, answer(3))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"{}")
    known.forget(all_but={answer(3).lockfile}, before=file.stat().st_mtime)
    assert file.exists()
    known.forget(all_but={answer(3).lockfile}, before=file.stat().st_mtime + 1)
    assert not file.exists()


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_an_answer_or_say_why_not(data: bytes) -> None:
    with suppress(RegistryEnvironmentInvalid):
        RegistryEnvironment.parse(data)


def test_round_trip() -> None:
    assert RegistryEnvironment.parse(answer(7).to_bytes()) == answer(7)


@pytest.mark.parametrize("key", ["environment", "generation", "lockfile", "repository", "manifest"])
def test_every_member_is_needed(key: str) -> None:
    with pytest.raises(RegistryEnvironmentInvalid):
        RegistryEnvironment.parse(answer(1).to_bytes().replace(f'"{key}"'.encode(), b'"other"'))
