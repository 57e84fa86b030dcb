"""Which images are environments, and that what containerd says of them begins a download; by a containerd of values."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim_hooks.environment.realise import Realised, Wanted
from shim_hooks.errors import RegistryRefused, RegistryUnavailable
from shim_hooks.log import Log
from shim_hooks.prefetch import Prefetch, environment_of


@pytest.mark.parametrize(
    ("image", "ref"),
    [
        pytest.param("docker.io/flox/empty/acme/web:live", "acme/web", id="live"),
        pytest.param("docker.io/flox/empty/acme/web:latest", "acme/web", id="latest"),
        pytest.param("flox/empty/acme/web:12", "acme/web:12", id="number"),
        pytest.param("docker.io/flox/empty:1.0.0", None, id="the-empty-image"),
        pytest.param("docker.io/flox/empty/acme/web@sha256:" + "0" * 64, None, id="digest"),
        pytest.param("sha256:" + "0" * 64, None, id="config"),
        pytest.param("docker.io/flox/empty/acme/web:edge", None, id="other-tag"),
        pytest.param("docker.io/flox/empty/acme/web:live\n", None, id="newline"),
        pytest.param("evil.example/flox/empty/acme/web:live", None, id="other-registry"),
        pytest.param("docker.io/library/nginx:latest", None, id="other-image"),
    ],
)
def test_images_that_are_environments(image: str, ref: str | None) -> None:
    found = environment_of(image)
    assert (None if found is None else str(found)) == ref


@given(st.text() | st.text().map("flox/empty/{}".format))
def test_any_text_is_an_environment_or_none(image: str) -> None:
    environment_of(image)


class Held:
    """Refuses after a while, and notes it."""

    def __init__(self) -> None:
        self.wanted = list[str]()
        self.begun, self.begun_again, self.let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def holding(self, wanted: Wanted, *, deadline_s: float) -> AsyncIterator[Realised]:
        self.wanted.append(str(wanted.ref))
        (self.begun_again if self.begun.is_set() else self.begun).set()
        await self.let_go.wait()
        async with Refusal() as realised:
            yield realised


class Refusal(AbstractAsyncContextManager[Realised]):
    async def __aenter__(self) -> Realised:
        raise RegistryRefused("not for everyone")

    async def __aexit__(self, *_: object) -> None: ...


class Asked:
    """Refuses everything, and notes it."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def holding(self, wanted: Wanted, *, deadline_s: float) -> Refusal:
        self.wanted.append(str(wanted.ref))
        return Refusal()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_name_is_fetched_also_after_containerd_was_away() -> None:
    answers = [["flox/empty/acme/web:1", "nginx:latest"], [], ["flox/empty/acme/web:2"]]
    over = asyncio.Event()

    async def names() -> AsyncIterator[str]:
        if not answers:
            over.set()
            await asyncio.Event().wait()
        for name in answers.pop(0):
            yield name
        raise RegistryUnavailable("away")

    asked, log = Asked(), io.StringIO()
    running = asyncio.create_task(Prefetch(names, asked, Log(log)).run(first_pause_s=0))
    await over.wait()
    running.cancel()
    await asyncio.wait([running])
    assert asked.wanted == ["acme/web:1", "acme/web:2"]
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events.count("prefetch_failed") == 2
    assert events.count("prefetch_unavailable") == 2


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_tag_that_moves_while_it_is_fetched_is_asked_for_again() -> None:
    held = Held()

    async def names() -> AsyncIterator[str]:
        yield "flox/empty/acme/web:live"
        await held.begun.wait()
        yield "flox/empty/acme/web:live"
        yield "flox/empty/acme/web:live"
        held.let_go.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(Prefetch(names, held, Log(io.StringIO())).run())
    async with asyncio.timeout(30):
        await held.begun_again.wait()
    running.cancel()
    await asyncio.wait([running])
    assert held.wanted == ["acme/web", "acme/web"]
