"""An environment image that comes to the node has its environment fetched at once, before a container asks for it.

Belongs here: which images are meant, and how many at a time. Does not: how containerd is listened to
(`containerd/image_events.py`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from flox_formats.environment import EnvironmentRef, EnvironmentRefInvalid
from shim_hooks.agent import Realiser
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realise import Wanted
from shim_hooks.errors import NodeError
from shim_hooks.log import Log

_IMAGE = re.compile(r"(?:docker\.io/)?flox/empty/([^/:@]+/[^/:@]+):([^/:@]+)")
_LIVE = ("live", "latest")
_AT_ONCE = 2  # containers that wait come first
_DEADLINE_S = 600.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


def environment_of(image: str) -> EnvironmentRef | None:
    """What an image's name stands for; None for any other image, and for one named by its digest.

    The names of images are lower-case, those of environments need not be: such are not found, and fetched by their
    containers.
    """
    match = _IMAGE.fullmatch(image)
    if match is None:
        return None
    name, tag = match.groups()
    with suppress(EnvironmentRefInvalid):
        return EnvironmentRef.parse(name if tag in _LIVE else f"{name}:{tag}")
    return None


class Prefetch:
    """`image_names` gives them, until it raises NodeError; then it is called again, after a pause that grows."""

    def __init__(self, image_names: Callable[[], AsyncIterator[str]], realiser: Realiser, log: Log) -> None:
        self._image_names, self._realiser, self._log = image_names, realiser, log
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._under_way = dict[EnvironmentRef, asyncio.Task[None]]()
        self._again = set[EnvironmentRef]()

    async def run(self, *, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Until cancelled."""
        pause_s, said = first_pause_s, ""
        try:
            while True:
                try:
                    async for name in self._image_names():
                        pause_s, said = first_pause_s, ""
                        ref = environment_of(name)
                        if ref is not None:
                            self._begin(ref)
                except NodeError as problem:
                    if str(problem) != said:
                        said = str(problem)
                        self._log.event("prefetch_unavailable", message=said)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    def _begin(self, ref: EnvironmentRef) -> None:
        if ref in self._under_way:
            self._again.add(ref)  # its tag may have moved since it was asked for
            return
        task = self._under_way[ref] = asyncio.create_task(self._fetch(ref), name=f"prefetch {ref}")
        task.add_done_callback(lambda task: self._ended(ref, task))

    async def _fetch(self, ref: EnvironmentRef) -> None:
        wanted = Wanted(ref.environment, ref.generation, None, Mode.RUN)
        try:
            async with self._slots, self._realiser.holding(wanted, deadline_s=_DEADLINE_S) as realised:
                self._log.event("prefetched", asked=str(ref), generation=realised.generation)
        except NodeError as problem:  # a private environment is one: only a pod's token opens it
            self._log.event("prefetch_failed", asked=str(ref), message=str(problem))

    def _ended(self, ref: EnvironmentRef, task: asyncio.Task[None]) -> None:
        del self._under_way[ref]
        if task.cancelled():
            return
        task.result()
        if ref in self._again:
            self._again.discard(ref)
            self._begin(ref)
