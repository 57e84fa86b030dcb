"""One request and its answer, as the log and the metrics see them.

Belongs here: what an endpoint has to tell about a request that its path and status do not. Telling is optional.
"""

from dataclasses import dataclass

from starlette.types import Scope

from flox_formats.environment import EnvironmentName

_KEY = "floxbridge.exchange"


@dataclass(slots=True)
class Exchange:
    """`route` is a word of ours, never the client's. `outcome` says how FloxHub's answer was come by."""

    request_id: str
    route: str = "other"
    environment: EnvironmentName | None = None
    generation: int | None = None
    outcome: str | None = None

    def enter(self, scope: Scope) -> None:
        """From here on `exchange_of` finds it."""
        scope[_KEY] = self


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that a request belongs to; where nobody observes, one that nobody reads."""
    found = scope.get(_KEY)
    return found if isinstance(found, Exchange) else Exchange("")
