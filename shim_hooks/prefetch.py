"""An environment image that comes to the node has its environment fetched at once, before a container asks for it.

Belongs here: which images are meant, and how many at a time. Does not: how containerd is listened to
(`containerd/pulled_images.py`), and that containers that wait come first (`environment/turns.py`).

The agent has no pod's token here, and asks without one: the registry shows what is public, and what its own token
opens. What it does not show is left to the containers, whose pods bring theirs.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from flox_formats.environment import EnvironmentName
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.errors import NodeError, RegistryDenied
from shim_hooks.log import Log
from shim_hooks.metrics import OK, Metrics, outcome_of
from shim_hooks.registry.documents import EnvironmentIndex, RegistryDocumentInvalid

_IMAGE = re.compile(r"(?:[^/@]+/)?flox/empty/[^/:@]+/[^/:@]+[:@][^/@]+")
_AT_ONCE = 2
_MOST_WAITING = 256
_MOST_TOLD = 1024
_DEADLINE_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


def is_environment_image(name: str) -> bool:
    """By the name that it was pulled by, of whatever registry. What it is of, its index says."""
    return _IMAGE.fullmatch(name) is not None


def generation_of(index: bytes) -> PinnedGeneration | None:
    """Exactly the generation that the pulled image is of, its name spelt as FloxHub does; None for no such image."""
    with suppress(RegistryDocumentInvalid):
        found = EnvironmentIndex.parse(index)
        return PinnedGeneration(found.environment, found.generation, found.lockfile)
    return None


class Realiser(Protocol):
    def holding(self, wanted: Wanted, *, deadline_s: float) -> AbstractAsyncContextManager[Realised]: ...


class Prefetch:
    """`indexes` gives those of images that come, until it raises NodeError; then it is called again, after a pause
    that grows."""

    def __init__(
        self, indexes: Callable[[], AsyncIterator[bytes]], realiser: Realiser, log: Log, metrics: Metrics
    ) -> None:
        self._indexes, self._realiser, self._log, self._metrics = indexes, realiser, log, metrics
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._under_way = dict[PinnedGeneration, asyncio.Task[None]]()
        self._told = OrderedDict[EnvironmentName, None]()

    async def run(self, *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Until cancelled."""
        pause_s, said = first_pause_s, ""
        try:
            while True:
                try:
                    async for index in self._indexes():
                        pause_s, said = first_pause_s, ""
                        self._begin(generation_of(index))
                except NodeError as problem:
                    if str(problem) != said:
                        said = str(problem)
                        self._log.event("prefetch_unavailable", message=said)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    def _begin(self, pinned: PinnedGeneration | None) -> None:
        """An image comes by several names: each generation is fetched once. What is too much is left to containers."""
        if pinned is None or pinned in self._under_way or len(self._under_way) >= _MOST_WAITING:
            return
        task = self._under_way[pinned] = asyncio.create_task(self._fetch(pinned), name=f"prefetch {pinned.to_mark()}")
        task.add_done_callback(lambda task: self._ended(pinned, task))

    async def _fetch(self, pinned: PinnedGeneration) -> None:
        wanted = Wanted(pinned.environment, pinned.generation, pinned.lockfile, Mode.RUN, ahead=True)
        try:
            async with self._slots, self._realiser.holding(wanted, deadline_s=_DEADLINE_S) as realised:
                self._metrics.prefetched(OK)
                if realised.fetched_bytes:
                    self._log.event("prefetched", asked=str(wanted.ref), fetched_bytes=realised.fetched_bytes)
        except RegistryDenied as problem:
            self._metrics.prefetched(outcome_of(problem))
            self._tell_denied(wanted)
        except NodeError as problem:
            self._metrics.prefetched(outcome_of(problem))
            self._log.event("prefetch_failed", asked=str(wanted.ref), message=str(problem))

    def _tell_denied(self, wanted: Wanted) -> None:
        """Once for an environment: a private one is nothing to worry about."""
        if wanted.environment in self._told:
            return
        self._told[wanted.environment] = None
        if len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        self._log.event(
            "prefetch_skipped",
            asked=str(wanted.ref),
            message="the registry does not show it without a token; its pods bring theirs",
        )

    def _ended(self, pinned: PinnedGeneration, task: asyncio.Task[None]) -> None:
        del self._under_way[pinned]
        if not task.cancelled():
            task.result()
