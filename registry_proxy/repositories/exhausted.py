"""Commits of environments of which every closure was looked for, so that a digest not found then is not there.

Belongs here: the memory, bounded in size and time. Without it anyone could have an environment's every closure looked
for again, with each digest that they make up.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from flox_formats.environment import EnvironmentName
from registry_proxy.floxhub.snapshot import Snapshot

_MAX_REMEMBERED = 1_000


class Exhausted:
    """`for_s`: seconds after which what could not be made then may be tried again."""

    def __init__(self, for_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._for_s, self._clock = for_s, clock
        self._since: OrderedDict[tuple[EnvironmentName, str], float] = OrderedDict()

    def add(self, snapshot: Snapshot) -> None:
        self._since[snapshot.environment, snapshot.commit] = self._clock()
        while len(self._since) > _MAX_REMEMBERED:
            self._since.popitem(last=False)

    def __contains__(self, snapshot: Snapshot) -> bool:
        since = self._since.get((snapshot.environment, snapshot.commit))
        return since is not None and self._clock() - since < self._for_s

    def forget(self, environment: EnvironmentName) -> None:
        for key in [key for key in self._since if key[0] == environment]:
            del self._since[key]
