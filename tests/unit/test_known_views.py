"""What is remembered of FloxHub is bounded by what it takes, and not only in number."""

import asyncio
import json
from pathlib import Path

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generations
from registry_proxy.floxhub.asking import FloxHubAnswer
from registry_proxy.floxhub.credential import ANONYMOUS, View
from registry_proxy.floxhub.git import CommitFiles
from registry_proxy.floxhub.known import KnownViews
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import Snapshots

CHANGES = 1000
ROOM = 100
CHANGE = {"kind": "import", "author": "a", "hostname": "h", "timestamp": 1, "current_generation": "1"}


def history(changes: int) -> Generations:
    document = {"version": 2, "history": [CHANGE] * changes, "total_generations": 1}
    return Generations.parse(json.dumps(document).encode())


LONG, SHORT = history(CHANGES), history(1)


def view(number: int) -> View:
    return View(EnvironmentName("acme", f"web{number}"), ANONYMOUS)


def shown(number: int, generations: Generations) -> FloxHubAnswer:
    name = view(number).environment
    return FloxHubAnswer(Snapshot(name, "c1", generations, CommitFiles(Path("nowhere"), "c1")), view(number))


def remembered(known: KnownViews, numbers: range) -> list[int]:
    return [number for number in numbers if known.at_hand(view(number)) is not None]


def test_long_histories_push_out_what_was_asked_for_least_recently(tmp_path: Path) -> None:
    async def learn() -> None:
        known = KnownViews(Snapshots(tmp_path), old_s=60, clock=lambda: 0.0)
        for number in range(ROOM + 1):
            await known.learn(shown(number, LONG), view(number), 0.0)
        assert remembered(known, range(ROOM + 1)) == list(range(1, ROOM + 1))
        for number in range(1, ROOM // 2):  # what is told anew, and what is forgotten, makes room
            await known.learn(shown(number, SHORT), view(number), 0.0)
        for number in range(ROOM // 2, ROOM):
            await known.forget(view(number))
        others = range(ROOM + 1, 2 * ROOM - 2)
        for number in others:
            await known.learn(shown(number, LONG), view(number), 0.0)
        assert remembered(known, range(1, ROOM + 1)) == list(range(1, ROOM + 1))
        assert remembered(known, others) == list(others)

    asyncio.run(learn())


def test_one_that_is_longer_than_all_may_be_together_is_remembered_alone(tmp_path: Path) -> None:
    async def learn() -> None:
        known = KnownViews(Snapshots(tmp_path), old_s=60, clock=lambda: 0.0)
        for number, changes in ((0, LONG), (1, history(CHANGES * ROOM + 1)), (2, LONG)):
            await known.learn(shown(number, changes), view(number), 0.0)
            assert remembered(known, range(3)) == [number]

    asyncio.run(learn())
