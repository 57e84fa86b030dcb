"""When a registry is asked who may use an environment, and how long its answer is good."""

import asyncio
import io
from pathlib import Path
from typing import Self

import pytest

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.environment.access import Access, AccessTimes
from shim_hooks.errors import RegistryRefused, RegistryUnavailable
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.log import Log
from shim_hooks.store.public_environments import PublicEnvironments

pytestmark = pytest.mark.anyio

WEB, LOCK = EnvironmentName.parse("acme/web"), Digest.of(b"lock")
TOKEN = FloxHubToken("flox_pat_1")
TIMES = AccessTimes(fresh_s=60, stale_s=300, patience_s=30, away_s=3600)


class Registry:
    """Shows what it is told to. `asked` are the tokens with which it was asked."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.asked: list[FloxHubToken | None] = []
        self._token: FloxHubToken | None = None

    def with_token(self, token: FloxHubToken | None) -> Self:
        self._token = token
        return self

    async def show(self, environment: EnvironmentName, lockfile: Digest) -> None:
        self.asked.append(self._token)
        if self.problem is not None:
            raise self.problem


class Rig:
    def __init__(self, folder: Path) -> None:
        self.registry, self.now, self._folder = Registry(), 1000.0, folder
        self.access = self.new_agent()

    def new_agent(self) -> Access:
        file = PublicEnvironments(self._folder / "public.json")
        return Access(self.registry, file, Log(io.StringIO()), times=TIMES, clock=lambda: self.now)

    async def check(self, token: FloxHubToken | None = None) -> int:
        """How often the registry was asked meanwhile, and soon after."""
        before = len(self.registry.asked)
        await self.access.check(WEB, LOCK, token)
        for _ in range(10):
            await asyncio.sleep(0)
        return len(self.registry.asked) - before


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize(
    ("age", "asked"),
    [
        pytest.param(0, 0, id="at-once"),
        pytest.param(59, 0, id="fresh"),
        pytest.param(61, 1, id="refreshed-behind"),
        pytest.param(301, 1, id="asked-first"),
    ],
)
async def test_how_often_a_public_environment_is_asked_about(rig: Rig, age: float, asked: int) -> None:
    assert await rig.check() == 1
    rig.now += age
    assert [await rig.check(), await rig.check()] == [asked, 0]


async def test_a_public_environment_that_becomes_private(rig: Rig) -> None:
    await rig.check()
    rig.registry.problem, rig.now = RegistryRefused("private"), rig.now + 61
    await rig.check()  # what was public a minute ago; and it is asked about behind
    with pytest.raises(RegistryRefused, match="private"):
        await rig.check()


async def test_it_is_found_to_be_private_at_first_sight(rig: Rig) -> None:
    await rig.check()
    rig.registry.problem, rig.now = RegistryRefused("private"), rig.now + 301
    with pytest.raises(RegistryRefused, match="private"):
        await rig.check()
    assert rig.registry.asked == [None, None, None]


@pytest.mark.parametrize(
    ("token", "later", "allowed"),
    [
        pytest.param(TOKEN, 0, True, id="at-once"),
        pytest.param(TOKEN, 3599, True, id="within-an-hour"),
        pytest.param(TOKEN, 3601, False, id="too-long-ago"),
        pytest.param(FloxHubToken("flox_pat_2"), 0, False, id="another-token"),
        pytest.param(None, 0, False, id="no-token"),
    ],
)
async def test_a_token_that_proved_itself(rig: Rig, token: FloxHubToken | None, later: float, allowed: bool) -> None:
    assert [await rig.check(TOKEN), await rig.check(TOKEN)] == [1, 1]
    rig.registry.problem, rig.now = RegistryUnavailable("away"), rig.now + later
    if allowed:
        await rig.check(token)
    else:
        with pytest.raises(RegistryUnavailable, match=r"away\. Nobody else can say whether this pod may use acme/web"):
            await rig.check(token)


async def test_many_at_once_ask_once(rig: Rig) -> None:
    await asyncio.gather(*(rig.access.check(WEB, LOCK, None) for _ in range(200)))
    assert rig.registry.asked == [None]


async def test_what_an_agent_before_has_seen_holds_while_the_registry_is_away(rig: Rig) -> None:
    await rig.check()
    rig.registry.problem, rig.access = RegistryUnavailable("away"), rig.new_agent()
    await rig.check()
    rig.registry.problem, rig.access = RegistryRefused("private"), rig.new_agent()
    with pytest.raises(RegistryRefused):
        await rig.check()


@pytest.mark.parametrize("content", [b"", b"no json", b'{"environments":[{"environment":"x","lockfile":"y"}]}', b"[]"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "public.json").write_bytes(content)
    assert PublicEnvironments(tmp_path / "public.json").read() == []


def test_the_latest_are_kept(tmp_path: Path) -> None:
    file = PublicEnvironments(tmp_path / "public.json")
    assert file.read() == []
    file.write((WEB, Digest.of(str(n).encode())) for n in range(5000))
    kept = file.read()
    assert (len(kept), kept[-1]) == (4096, (WEB, Digest.of(b"4999")))


@pytest.mark.parametrize(
    ("age", "here", "remembered"),
    [
        pytest.param(80_000, False, True, id="may-be-on-its-way"),
        pytest.param(90_000, False, False, id="gone"),
        pytest.param(90_000, True, True, id="here"),
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_was_public_is_forgotten_when_it_is_gone(
    rig: Rig, age: float, here: bool, remembered: bool, restarted: bool
) -> None:
    """What is remembered shows while the registry is away."""
    await rig.check()
    if restarted:
        rig.access = rig.new_agent()
    rig.now += age
    await rig.access.forget(all_but=[LOCK] if here else [])
    rig.registry.problem = RegistryUnavailable("away")
    for access in (rig.access, rig.new_agent()):
        rig.access = access
        if remembered:
            await rig.check()
        else:
            with pytest.raises(RegistryUnavailable, match="it is not known to be public"):
                await rig.check()
