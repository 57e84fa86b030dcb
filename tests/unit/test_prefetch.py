"""Which images are environments, and that what containerd says of them begins a download; by a containerd of values."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.json_document import canonical_json
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.errors import RegistryDenied, RegistryRefused, RegistryUnavailable
from shim_hooks.log import Log
from shim_hooks.metrics import Metrics
from shim_hooks.prefetch import Prefetch, generation_of, is_environment_image
from shim_hooks.registry.documents import INDEX_TYPE

pytestmark = pytest.mark.anyio
LOCKFILE = Digest.of(b"lockfile")


def index(environment: str, generation: int = 1, **members: object) -> bytes:
    annotations = {
        "dev.flox.environment": environment,
        "dev.flox.generation": str(generation),
        "dev.flox.lockfile": str(LOCKFILE),
    }
    return canonical_json({"mediaType": INDEX_TYPE, "annotations": annotations, "manifests": [], **members})


@pytest.mark.parametrize(
    ("image", "is_one"),
    [
        pytest.param("docker.io/flox/empty/acme/web:live", True, id="live"),
        pytest.param("flox/empty/acme/web:12", True, id="number"),
        pytest.param("docker.io/flox/empty/acme/web:edge", True, id="any-tag"),
        pytest.param("docker.io/flox/empty/acme/web@sha256:" + "0" * 64, True, id="digest"),
        pytest.param("registry.example:5000/flox/empty/acme/web:live", True, id="another-registry"),
        pytest.param("docker.io/flox/empty:1.0.0", False, id="the-empty-image"),
        pytest.param("sha256:" + "0" * 64, False, id="config"),
        pytest.param("docker.io/library/nginx:latest", False, id="other-image"),
        pytest.param("docker.io/evil/flox/empty/acme/web:live", False, id="deeper"),
    ],
)
def test_names_of_environment_images(image: str, is_one: bool) -> None:
    assert is_environment_image(image) == is_one


@given(st.text() | st.text().map("flox/empty/{}".format))
def test_any_text_is_such_a_name_or_none(image: str) -> None:
    is_environment_image(image)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        pytest.param(index("acme/web", 12), "acme/web 12", id="lower-case"),
        pytest.param(index("Acme/Web"), "Acme/Web 1", id="capitals"),
        pytest.param(index("acme/../web"), None, id="no-name"),
        pytest.param(index("acme/web", annotations={}), None, id="another-image"),
        pytest.param(index("acme/web", mediaType="text/plain"), None, id="no-index"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"[" * 100_000, None, id="deep"),
    ],
)
def test_what_an_index_is_of(document: bytes, found: str | None) -> None:
    pinned = generation_of(document)
    assert pinned == (None if found is None else _pinned(*found.split(" ")))


def _pinned(environment: str, generation: str) -> PinnedGeneration:
    return PinnedGeneration(EnvironmentName.parse(environment), int(generation), LOCKFILE)


class Refusal(AbstractAsyncContextManager[Realised]):
    def __init__(self, let_go: asyncio.Event, kind: type[RegistryRefused]) -> None:
        self._let_go, self._kind = let_go, kind

    async def __aenter__(self) -> Realised:
        await self._let_go.wait()
        raise self._kind("not for everyone")

    async def __aexit__(self, *_: object) -> None: ...


class Asked:
    """Refuses everything, when it may, and notes it."""

    def __init__(self, kind: type[RegistryRefused] = RegistryRefused) -> None:
        self.wanted, self.let_go, self._kind = list[str](), asyncio.Event(), kind
        self.let_go.set()

    def holding(self, wanted: Wanted, *, deadline_s: float) -> Refusal:
        assert wanted.token is None
        self.wanted.append(str(wanted.ref))
        return Refusal(self.let_go, self._kind)


async def after(answers: list[list[bytes]], asked: Asked) -> tuple[list[str], dict[str, float]]:
    """The events that were logged and the outcomes that were counted; between the lists containerd was away."""
    over = asyncio.Event()

    async def indexes() -> AsyncIterator[bytes]:
        if not answers:
            asked.let_go.set()
            over.set()
            await asyncio.Event().wait()
        for one in answers.pop(0):
            yield one
            await asyncio.sleep(0)
        raise RegistryUnavailable("away")

    log, metrics = io.StringIO(), Metrics()
    running = asyncio.create_task(Prefetch(indexes, asked, Log(log), metrics).run(first_pause_s=0))
    async with asyncio.timeout(30):
        await over.wait()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("prefetch ")))
    running.cancel()
    await asyncio.wait([running])
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()], _counted(metrics)


def _counted(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.exposition("")[0].decode())
    samples = (sample for family in families for sample in family.samples)
    return {it.labels["outcome"]: it.value for it in samples if it.name == "floxbridge_node_prefetches_total"}


async def test_every_generation_is_fetched_also_after_containerd_was_away() -> None:
    asked = Asked()
    events, counted = await after([[index("acme/Web"), b"nothing of ours"], [], [index("acme/Web", 2)]], asked)
    assert asked.wanted == ["acme/Web:1", "acme/Web:2"]
    assert events.count("prefetch_failed") == 2
    assert events.count("prefetch_unavailable") == 2
    assert counted == {"registry_refused": 2}


async def test_an_image_of_several_names_is_fetched_once() -> None:
    asked = Asked()
    asked.let_go.clear()
    await after([[index("acme/web"), index("acme/web"), index("acme/web", 2), index("acme/web")]], asked)
    assert asked.wanted == ["acme/web:1", "acme/web:2"]


async def test_what_is_not_for_everyone_is_said_once_and_counted() -> None:
    asked = Asked(RegistryDenied)
    events, counted = await after([[index("acme/secret")], [index("acme/secret", 2)]], asked)
    assert asked.wanted == ["acme/secret:1", "acme/secret:2"]
    assert (events.count("prefetch_skipped"), events.count("prefetch_failed")) == (1, 0)
    assert counted == {"registry_denied": 2}
