"""A FloxHub that sends far more than an environment can be: it is refused in a sentence, at a bounded cost of memory
and disk, it leaves nothing behind, and the next request is right."""

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx2
import pytest

from floxbridge_demo.program import Program
from registry_proxy.floxhub.git import MAX_HELD_BYTES
from registry_proxy.hub.server import serve_hub_app
from tests.conftest import needs, needs_root
from tests.integration import hostile_hub
from tests.integration.faulty_upstream import serving
from tests.integration.hostile_hub import MEBIBYTE, HostileHub, Lie, Question
from tests.integration.hub_rig import git
from tests.integration.registry_rig import World
from tests.integration.test_crash import leftovers
from tests.integration.test_disk_faults import Disk
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import message

DISK_BYTES = 80 * MEBIBYTE
"""Room for one pack of the size that is read, and little more."""
MEMORY_BYTES = 96 * MEBIBYTE


class Registry:
    """One that asks a hostile hub, with little room on its disk."""

    def __init__(self, world: World, hub: HostileHub, client: httpx2.Client, program: Program) -> None:
        self.world, self.program, self._hub, self._client = world, program, hub, client

    def asked(self, name: str) -> httpx2.Response:
        return self._client.get(f"/v2/flox/empty/acme/{name}/manifests/live")

    def lied_to(self, name: str, lie: Lie) -> tuple[httpx2.Response, int]:
        """What it answers, and how many bytes of memory it took more than before."""
        before = self._memory("VmRSS")
        Path(f"/proc/{self.program.pid}/clear_refs").write_text("5")  # begins VmHWM, the most there was, anew
        self._hub.lie = lie
        answer = self.asked(name)
        self._hub.lie = None
        return answer, self._memory("VmHWM") - before

    def _memory(self, which: str) -> int:
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        found = re.search(rf"{which}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    needs("git", "mount", "umount")
    needs_root()
    world = World.make(tmp_path_factory.mktemp("world"))
    disk = Disk(world.root / "state", DISK_BYTES)
    hub = HostileHub(serve_hub_app(world.hub))
    patient = ("--lookup-timeout-s", "60", "--missing-ttl-s", "0", "--resolve-ttl-s", "0")
    try:
        with serving(hub) as url, registry_process(world, "--floxhub-url", url, *patient) as (client, program):
            client.timeout = httpx2.Timeout(90)
            yield Registry(world, hub, client, program)
    finally:
        disk.unmount()


def delta_bomb() -> Iterable[bytes]:
    base = hostile_hub.blob(b"base")
    return hostile_hub.pack(base, hostile_hub.delta(4, 2**40, back=len(base)))


PACKS: list[tuple[str, Callable[[], Iterable[bytes]], str]] = [
    ("endless", hostile_hub.endless_pack, "sent more than is read"),
    ("large-object", lambda: hostile_hub.pack(hostile_hub.bomb(64 * MEBIBYTE)), "larger than the 16777216 bytes"),
    ("object-that-lies", lambda: hostile_hub.pack(hostile_hub.bomb(256 * MEBIBYTE, declared=9)), "than it declares"),
    ("delta", delta_bomb, "larger than the 16777216 bytes"),
    ("many-objects", lambda: hostile_hub.pack(declared=2**32 - 1), "4294967295 objects"),
    ("fewer-objects-than-declared", lambda: hostile_hub.pack(hostile_hub.blob(b"a"), declared=9), "not a git repo"),
    ("objects-of-something-else", lambda: hostile_hub.pack(hostile_hub.blob(b"a")), "does not hold the commit"),
]
LIES: list[tuple[str, Callable[[], Lie], str]] = [
    *(
        (f"pack-{name}", lambda pack=pack: Lie(Question.PACK, hostile_hub.answer(pack())), said)
        for name, pack, said in PACKS
    ),
    ("progress-without-end", lambda: Lie(Question.PACK, hostile_hub.endless_progress()), "sent more than is read"),
    ("pack-elsewhere", lambda: Lie(Question.PACK, hostile_hub.pack_elsewhere("https://127.0.0.1:9/p")), "only itself"),
    ("branches-without-end", lambda: Lie(Question.BRANCHES, hostile_hub.endless_branches()), "sent more than is read"),
    (
        "branches-compressed",
        lambda: Lie(Question.BRANCHES, [gzip.compress(bytes(64 * MEBIBYTE))], "gzip"),
        "compressed",
    ),
    (
        "words-without-end",
        lambda: Lie(Question.CAPABILITIES, hostile_hub.endless_capabilities()),
        "sent more than is read",
    ),
]


@pytest.mark.parametrize(("name", "lie", "said"), [pytest.param(*one, id=one[0]) for one in LIES])
def test_too_much_is_refused(registry: Registry, name: str, lie: Callable[[], Lie], said: str) -> None:
    registry.world.push(f"acme/{name}", registry.world.package("hello", "hi"))
    refused, memory = registry.lied_to(name, lie())
    assert (refused.status_code, said in message(refused)) == (502, True), refused.text
    assert memory < MEMORY_BYTES
    assert leftovers(registry.world.root / "state") == []
    assert registry.asked(name).status_code == 200


def test_deltas_that_wait_for_each_other_are_bounded(registry: Registry) -> None:
    """Of each one the next is made, and another waits while that is done: a gigabyte, if all of them are held."""
    size = 16 * MEBIBYTE
    objects = [hostile_hub.bomb(size)]
    back = len(objects[0])
    for _ in range(60):
        waiting = hostile_hub.delta(size, size, back=back, copies=256)
        again = hostile_hub.delta(size, size, back=back + len(waiting), copies=256)
        objects += [waiting, again]
        back = len(again)
    registry.world.push("acme/tree", registry.world.package("hello", "hi"))
    refused, memory = registry.lied_to("tree", Lie(Question.PACK, hostile_hub.answer(hostile_hub.pack(*objects))))
    assert (refused.status_code, "cannot be made without" in message(refused)) == (502, True), refused.text
    assert memory < MAX_HELD_BYTES + MEMORY_BYTES
    assert registry.asked("tree").status_code == 200


def test_words_that_nobody_knows_do_not_fill_the_log(registry: Registry) -> None:
    registry.world.push("acme/riddles", registry.world.package("hello", "hi"))
    commit = git("rev-parse", "riddles", cwd=registry.world.hub / "acme" / "floxmeta").strip()
    answer, _ = registry.lied_to("riddles", Lie(Question.BRANCHES, hostile_hub.riddles("riddles", commit, 8000)))
    assert answer.status_code == 200
    assert list(registry.program.events("warning")) == []
