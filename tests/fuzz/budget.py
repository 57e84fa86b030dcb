"""How long a fuzzer may go on: long enough to prove that it works, or as long as `make soak` says."""

import os
import random
import time
from collections.abc import Iterator

_SHORT_S = 3.0


def seconds(short_s: float) -> float:
    return float(os.environ.get("FLOXBRIDGE_SOAK_S", "0")) or short_s


def rounds(short_s: float = _SHORT_S) -> Iterator[random.Random]:
    """A source of chance for each round, until the time is up. Its seed is in `str`, for whoever has a failure."""
    first = random.SystemRandom().randrange(2**32) if "FLOXBRIDGE_SOAK_S" in os.environ else 0
    end, number = time.monotonic() + seconds(short_s), first
    while number == first or time.monotonic() < end:
        yield Seeded(number)
        number += 1


class Seeded(random.Random):
    """The same seed gives the same round."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def __str__(self) -> str:
        return f"seed {self._seed}"
