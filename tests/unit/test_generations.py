import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.environment import MAX_GENERATION
from flox_formats.generations import (
    MAX_BYTES,
    Generation,
    Generations,
    GenerationsInvalid,
    MetadataVersionUnsupported,
    SwitchImpossible,
)
from flox_formats.history import LAST_SECOND, Change
from tests.unit.mutations import mutated

DAY = 1772438400  # 2026-03-02 08:00:00 UTC
HOUR = 3600
BOB = Change("bob", "laptop", ("/usr/bin/floxbridge", "hub", "push"), DAY + 100 * HOUR)


def entry(kind: str, current: object, previous: object, *, at: object = DAY, **more: object) -> dict[str, object]:
    who = {"author": "alice", "hostname": "build-01", "command": ["flox", kind]}
    when = {"timestamp": at, "current_generation": current, "previous_generation": previous}
    return {"kind": kind, **who, **when, **more}


def v2(*history: object, total: object = None, **more: object) -> bytes:
    return json.dumps(
        {"version": 2, "history": history, "total_generations": len(history) if total is None else total, **more}
    ).encode()


def v1(live: object, *generations: tuple[str, int | None], **more: object) -> bytes:
    table = {
        number: {"created": DAY + int(number) * HOUR, "lastActive": active, "description": f"made {number}"}
        for number, active in generations
    }
    return json.dumps({"currentGen": live, "generations": table, **more}).encode()


ROLLED_BACK = v2(
    entry("import", "1", None, at=DAY),
    entry("install", "2", "1", at=DAY + HOUR, targets=["ripgrep (ripgrep)"]),
    entry("upgrade", "3", "2", at=DAY + 25 * HOUR, targets=[]),
    entry("switch_generation", "2", "3", at=DAY + 26 * HOUR),
    total=3,
)


def test_the_live_generation_is_the_last_entrys_and_not_the_highest() -> None:
    generations = Generations.parse(ROLLED_BACK)
    assert generations.live == 2
    assert dict(generations.generations) == {
        1: Generation(1, None, DAY, DAY + HOUR, "imported environment"),
        2: Generation(2, 1, DAY + HOUR, None, "installed package 'ripgrep (ripgrep)'"),
        3: Generation(3, 2, DAY + 25 * HOUR, DAY + 26 * HOUR, "upgraded all packages"),
    }


def test_the_next_generation_takes_a_new_number_and_follows_the_live_one() -> None:
    generations = Generations.parse(ROLLED_BACK).with_generation(BOB, kind="edit")
    assert generations.live == 4
    assert generations.generations[4] == Generation(4, 2, BOB.timestamp, None, "manually edited the manifest")
    assert generations.generations[2].last_live == BOB.timestamp
    assert json.loads(generations.to_bytes())["history"][-1] == {
        "kind": "edit",
        "author": "bob",
        "hostname": "laptop",
        "command": ["flox", "hub", "push"],
        "timestamp": BOB.timestamp,
        "current_generation": "4",
        "previous_generation": "2",
    }
    assert json.loads(generations.to_bytes())["total_generations"] == 4


def test_a_switch_makes_no_generation() -> None:
    generations = Generations.parse(ROLLED_BACK).with_switch(BOB, 1)
    assert (generations.live, generations.total) == (1, 3)
    assert generations.history[-1].summary == "changed current generation 2 -> 1"
    assert Generations.parse(generations.to_bytes()) == generations


def test_an_environment_begins_empty() -> None:
    empty = Generations.empty()
    assert empty.live is None
    assert empty.to_bytes() == b'{"version":2,"history":[],"total_generations":0}'
    first = empty.with_generation(BOB, kind="import")
    assert first.generations == {1: Generation(1, None, BOB.timestamp, None, "imported environment")}
    assert b'"previous_generation":null' in first.to_bytes()


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        pytest.param(4, "generation 4 does not exist; there are: 1, 2, 3", id="missing"),
        pytest.param(2, "live", id="live"),
    ],
)
def test_refuses_a_switch(number: int, problem: str) -> None:
    with pytest.raises(SwitchImpossible, match=problem):
        Generations.parse(ROLLED_BACK).with_switch(BOB, number)


def test_a_hub_that_is_full_says_so() -> None:
    full = Generations.parse(v2(entry("edit", str(MAX_GENERATION), None), total=MAX_GENERATION))
    with pytest.raises(GenerationsInvalid, match="no more"):
        full.with_generation(BOB, kind="edit")


def test_what_is_not_understood_is_kept() -> None:
    strange = entry("reticulate", "1", None, splines=[1, 2.5, {"a": None}])
    data = v2(strange, future={"x": "é"}, total=1)
    generations = Generations.parse(data).with_generation(BOB, kind="edit")
    written = json.loads(generations.to_bytes())
    assert written["future"] == {"x": "é"}
    assert written["history"][0] == strange
    assert b"\n" not in generations.to_bytes()


@pytest.mark.parametrize(
    ("kind", "more", "summary"),
    [
        pytest.param("import", {}, "imported environment", id="import"),
        pytest.param("initialize", {}, "initialized new environment", id="initialize"),
        pytest.param("migrate_v1", {"description": "first"}, "first [metadata migrated]", id="migrated"),
        pytest.param("install", {"targets": ["a", "b"]}, "installed packages 'a', 'b'", id="install-two"),
        pytest.param("uninstall", {"targets": ["a"]}, "uninstalled package 'a'", id="uninstall"),
        pytest.param("upgrade", {"targets": ["a"]}, "upgraded package 'a'", id="upgrade-one"),
        pytest.param("include_upgrade", {"targets": []}, "upgraded all included environments", id="include-all"),
        pytest.param("include_upgrade", {"targets": ["a"]}, "upgraded included environment 'a'", id="include-one"),
        pytest.param("edit", {}, "manually edited the manifest", id="edit"),
        pytest.param("other", {"summary": "did a thing"}, "did a thing", id="other"),
        pytest.param("reticulate", {}, "performed unknown reticulate operation", id="future-kind"),
        pytest.param("install", {}, "performed unknown install operation", id="no-targets"),
        pytest.param("install", {"targets": "x"}, "performed unknown install operation", id="targets-not-a-list"),
        pytest.param("upgrade", {"targets": [1]}, "performed unknown upgrade operation", id="targets-not-texts"),
        pytest.param("other", {"summary": 1}, "performed unknown other operation", id="summary-not-a-text"),
        pytest.param("migrate_v1", {}, "performed unknown migrate_v1 operation", id="no-description"),
    ],
)
def test_every_kind_makes_a_generation(kind: str, more: dict[str, Any], summary: str) -> None:
    generations = Generations.parse(v2(entry(kind, "1", None, **more)))
    assert generations.live == 1
    assert generations.generations[1].description == summary


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(v2(entry("edit", "1", None, command=None)), id="null-command"),
        pytest.param(v2({k: v for k, v in entry("edit", "1", None).items() if k != "command"}), id="no-command"),
        pytest.param(v2({k: v for k, v in entry("edit", "1", None).items() if "prev" not in k}), id="no-previous"),
        pytest.param(v2(entry("edit", "+01", None)), id="number-with-plus-and-zeros"),
        pytest.param(v2(entry("edit", "1", "7")), id="previous-never-made"),
        pytest.param(v2(entry("edit", "1", None), total=0), id="total-behind"),
        pytest.param(v2(entry("edit", "1", None), entry("edit", "1", "1")), id="made-again"),
    ],
)
def test_reads_what_flox_reads(data: bytes) -> None:
    generations = Generations.parse(data)
    assert generations.live == 1
    assert Generations.parse(generations.to_bytes()) == generations
    assert generations.with_generation(BOB, kind="edit").live not in generations.generations


def test_no_history_has_no_live_generation() -> None:
    assert Generations.parse(v2()).live is None


@pytest.mark.parametrize("version", [{}, {"version": 1}], ids=["no-version", "version-1"])
def test_version_1_is_migrated(version: dict[str, int]) -> None:
    generations = Generations.parse(v1("2", ("1", DAY), ("2", DAY + 9 * HOUR), ("3", None), **version))
    assert generations.live == 2
    assert [(e.kind, e.author, e.command, e.current_generation) for e in generations.history] == [
        ("migrate_v1", "unknown", None, 1),
        ("migrate_v1", "unknown", None, 2),
        ("migrate_v1", "unknown", None, 3),
        ("switch_generation", "unknown", None, 2),
    ]
    assert generations.history[-1].timestamp == DAY + 9 * HOUR
    assert generations.generations[3] == Generation(3, 2, DAY + 3 * HOUR, DAY + 9 * HOUR, "made 3 [metadata migrated]")
    assert json.loads(generations.to_bytes())["version"] == 2
    assert Generations.parse(generations.to_bytes()) == generations


def test_version_1_with_its_last_generation_live_needs_no_switch() -> None:
    generations = Generations.parse(v1("10", *((str(n), None) for n in range(1, 11))))
    assert (generations.live, len(generations.history)) == (10, 10)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"[]", "want a JSON object", id="array"),
        pytest.param(b"\xff", "not JSON", id="not-text"),
        pytest.param(b" " * (MAX_BYTES + 1), "more than", id="too-long"),
        pytest.param(b'{"version":2,"history":' + b"[" * 100_000, "nested|not JSON", id="deep"),
        pytest.param(b'{"x":1e999}', "too large a number", id="number-without-end"),
        pytest.param(b"{}", "generations' is missing", id="no-version-and-no-version-1"),
        pytest.param(b'{"version":2}', "'history' is not an array", id="v2-empty"),
        pytest.param(b'{"version":2,"history":{},"total_generations":0}', "not an array", id="v2-history-object"),
        pytest.param(b'{"version":2,"history":[]}', "'total_generations' is missing", id="v2-no-total"),
        pytest.param(v2(7), r"history\[0\] is not an object", id="v2-entry-number"),
        pytest.param(v2(total=-1), "zero or more", id="v2-total-negative"),
        pytest.param(v2(total=True), "zero or more", id="v2-total-true"),
        pytest.param(v2(total=10**30), "more than", id="v2-total-huge"),
        pytest.param(v2(entry("edit", 1, None)), "not a string", id="number-as-number"),
        pytest.param(v2(entry("edit", None, None)), "'current_generation' is missing", id="number-missing"),
        pytest.param(v2(entry("edit", "0", None)), "not a generation number", id="zero"),
        pytest.param(v2(entry("edit", "-1", None)), "not a generation number", id="negative"),
        pytest.param(v2(entry("edit", "9" * 5000, None)), "not a generation number", id="number-huge"),
        pytest.param(v2(entry("edit", "1", None, at=1.5)), "not an integer", id="time-float"),
        pytest.param(v2(entry("edit", "1", None, at="1")), "not an integer", id="time-text"),
        pytest.param(v2(entry("edit", "1", None, at=LAST_SECOND + 1)), "year 9999", id="time-huge"),
        pytest.param(v2({**entry("edit", "1", None), "kind": 7}), "'kind' is not a string", id="kind-number"),
        pytest.param(v2(entry("edit", "1", None, author=None)), "'author' is missing", id="no-author"),
        pytest.param(v2(entry("edit", "1", None, command="x")), "not an array", id="command-text"),
        pytest.param(v2(entry("switch_generation", "1", None)), "switches from generation None", id="switch-first"),
        pytest.param(
            v2(entry("edit", "1", None), entry("switch_generation", "2", "1")),
            r"history\[1\] switches to generation 2, not made yet",
            id="switch-to-nothing",
        ),
        pytest.param(
            v2(entry("edit", "1", None), entry("switch_generation", "1", "2")),
            "switches from generation 2",
            id="switch-from-nothing",
        ),
        pytest.param(v1(None, ("1", DAY)), "names no generation", id="v1-none-live"),
        pytest.param(v1("2", ("1", DAY)), "is 2, and there is no such", id="v1-live-missing"),
        pytest.param(v1("1", ("1", DAY), ("3", None)), "generation 2 is missing", id="v1-gap"),
        pytest.param(v1("1", ("1", None), ("2", None)), "'lastActive' is missing", id="v1-live-without-time"),
        pytest.param(v1("1"), "no such generation", id="v1-no-generations"),
        pytest.param(b'{"generations":{"x":{}}}', "holds 'x'", id="v1-number-no-number"),
        pytest.param(b'{"generations":{"1":7}}', "not an object", id="v1-entry-number"),
        pytest.param(b'{"currentGen":"1","generations":[]}', "not an object", id="v1-array"),
    ],
)
def test_refuses(data: bytes, problem: str) -> None:
    with pytest.raises(GenerationsInvalid, match=problem) as caught:
        Generations.parse(data)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", [0, 3, "2", "1", True, None, 2.0, 10**100, [], {"x": 1}], ids=repr)
def test_refuses_versions_that_nobody_here_has_seen(version: object) -> None:
    for shape in (json.loads(ROLLED_BACK), json.loads(v1("1", ("1", DAY)))):
        with pytest.raises(MetadataVersionUnsupported, match="newer Flox"):
            Generations.parse(json.dumps({**shape, "version": version}).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_generations_or_refused(data: bytes) -> None:
    _read_or_refuse(data)


@given(mutated([json.loads(ROLLED_BACK), json.loads(v1("1", ("1", DAY), ("2", None)))]))
def test_any_near_miss_is_generations_or_refused(document: object) -> None:
    _read_or_refuse(json.dumps(document).encode())


def _read_or_refuse(data: bytes) -> None:
    try:
        generations = Generations.parse(data)
    except GenerationsInvalid:
        return
    assert generations.live is None or generations.live in generations.generations
    assert Generations.parse(generations.to_bytes()) == generations
