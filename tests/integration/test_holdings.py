"""What repositories hold: in memory as far as there is room, and on disk all of it."""

from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from registry_proxy.content.holdings import Holding, Holdings, NarSource


def environment(number: int) -> EnvironmentName:
    return EnvironmentName("acme", f"web-{number}")


def closure(number: int, size: int) -> list[Holding]:
    digests = (Digest.of(f"{number} {nar}".encode()) for nar in range(size))
    return [Holding(digest, "application/vnd.nix.nar", 1) for digest in digests]


def test_memory_is_bounded_by_what_is_held_and_not_by_who_holds_it(tmp_path: Path) -> None:
    """Environments with a thousand paths each: the least recently used are let go of, and found again on disk."""
    holdings = Holdings(tmp_path)
    for number in range(60):
        held = closure(number, 1_000)
        holdings.add(environment(number), held[0].digest, held)
    remembered = [number for number in range(60) if holdings.at_hand(environment(number)) is not None]
    assert remembered == list(range(10, 60))
    assert {*holdings.of(environment(0))} == {holding.digest for holding in closure(0, 1_000)}
    assert holdings.at_hand(environment(0)) is not None
    assert holdings.at_hand(environment(10)) is None


def test_what_was_just_used_stays_in_memory(tmp_path: Path) -> None:
    holdings = Holdings(tmp_path)
    for number in range(55):
        held = closure(number, 1_000)
        holdings.add(environment(number), held[0].digest, held)
        holdings.at_hand(environment(0))
    assert holdings.at_hand(environment(0)) is not None
    assert holdings.at_hand(environment(1)) is None


def test_one_that_is_larger_than_all_memory_is_served(tmp_path: Path) -> None:
    holdings, held = Holdings(tmp_path), closure(0, 50_001)
    holdings.add(environment(0), held[0].digest, held)
    assert held[-1].digest in holdings.of(environment(0))


def test_a_password_that_an_earlier_version_recorded_goes_no_further(tmp_path: Path) -> None:
    nar = Digest.of(b"nar")
    source = NarSource("https://me:p@ss@cache.example/x?key=1", "nar/1.nar", "a path")
    Holdings(tmp_path).add(environment(0), nar, [Holding(nar, "application/vnd.nix.nar", 1, source=source)])
    found = Holdings(tmp_path).of(environment(0))[nar].source
    assert found == NarSource("https://cache.example/x", "nar/1.nar", "a path")
