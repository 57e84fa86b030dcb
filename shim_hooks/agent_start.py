"""The start of an agent: first its place, then all the rest.

Belongs here: the order. Does not: the wiring (`wiring.py`). Loading the house takes longer than everything else, and
who asks meanwhile waits in the socket's queue instead of finding nobody.
"""

import contextlib

from shim_hooks.agent_listener import is_served, listening
from shim_hooks.settings import Settings


def start_agent(settings: Settings, *, take_over: bool) -> int:
    """Until SIGTERM. From an agent that lives the place is taken when all the rest is ready, and can no more fail."""
    early = not (take_over and is_served(settings.socket))
    with listening(settings.socket, take_over=take_over) if early else contextlib.nullcontext() as listener:
        from shim_hooks.wiring import run_agent  # late: see above

        return run_agent(settings, listener)
