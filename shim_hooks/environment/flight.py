"""An environment on its way onto the node, as one piece of work for all who wait for it.

Belongs here: whose it is, and how long what it brought is held. Does not: what is done (`realise.py`).
"""

import asyncio

from shim_hooks.environment.closure_fetch import ClosureFetch
from shim_hooks.environment.progress import in_words
from shim_hooks.environment.realised import Realised
from shim_hooks.environment.turns import Line
from shim_hooks.store.pins import Pin


class Flight:
    """One environment on its way, for all who wait for it. It belongs to none of them.

    `pin` keeps its paths until the last of its `users` has left: the task itself, and all who hold what it brought.
    What is fetched for it waits in `line`.
    """

    def __init__(self, what: str, pin: Pin, line: Line) -> None:
        self.what, self.pin, self.line = what, pin, line
        self.fetch: ClosureFetch | None = None
        self.task: asyncio.Task[Realised]
        self.users = 1

    @property
    def progress(self) -> str:
        """In words, for who cannot wait any longer."""
        if self.fetch is None:
            return "still being linked"
        return f"still fetching: {in_words(self.fetch.progress)}"

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            self.pin.release()  # removing one small file takes less than a thread would
