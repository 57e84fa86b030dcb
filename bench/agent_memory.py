"""What the agent holds in memory: with nothing to do, and while it fetches a large closure that a container waits for.

Twice, each time onto an empty node: as it is by default, from a registry that has to fetch the closure itself; and with
everything on that costs memory, from a registry that has the closure and sends it as fast as the agent takes it.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.benchmark import Benchmark, BenchmarkFailed, Stage
from bench.containers import Bundle, Containers
from bench.figure import Figure, Limit, Unit
from bench.memory_use import resident_bytes, resident_peak_bytes
from bench.our_registry import OurRegistry, Upstream, push, running_our_registry
from flox_formats.signature import PublicKey
from floxbridge_demo.installation import Hub, install_launcher, running_agent
from floxbridge_demo.workplace import Workplace

_SETTLED_S = 2.0
_IDLE_BYTES = 80_000_000
_FETCHING_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class _Resident:
    """`idle` and `fetching` are peaks; `afterwards` is what was left of them when the container was there."""

    idle: int
    fetching: int
    afterwards: int


def _measure(stage: Stage) -> list[Figure]:
    workplace, closure = stage.workplace, stage.closure()
    hub, key = Hub(workplace), closure.cache.public_key
    push(hub, workplace.path("pushed"), closure.roots)
    bundle = Bundle.make(workplace.path("bundle"))
    # No containerd need be there: what is loaded to listen to one is what counts.
    everything = ("--containerd-socket", str(workplace.path("containerd.sock")), "--metrics-listen", "127.0.0.1:0")
    with running_our_registry(workplace, Upstream(hub, closure.cache.url, key)) as registry:
        asking = bundle.asking(registry.image_variables())
        first = _resident(workplace, registry, key, asking)
        second = _resident(workplace, registry, key, asking, more=everything)
    return [
        Figure("idle", Unit.BYTES, first.idle, bound=Limit(_IDLE_BYTES)),
        Figure("idle, listening to containerd", Unit.BYTES, second.idle, bound=Limit(_IDLE_BYTES)),
        Figure("fetching, at most", Unit.BYTES, max(first.fetching, second.fetching), bound=Limit(_FETCHING_BYTES)),
        Figure("idle again after it", Unit.BYTES, max(first.afterwards, second.afterwards)),
    ]


def _resident(
    workplace: Workplace, registry: OurRegistry, key: PublicKey, bundle: Bundle, *, more: Sequence[str] = ()
) -> _Resident:
    with running_agent(workplace, registry.url, key, more=more) as agent:
        through = Containers.of(str(install_launcher(workplace, agent.socket)), workplace)
        time.sleep(_SETTLED_S)
        idle = resident_peak_bytes(agent.program.pid)
        through.create(bundle)
        if not agent.fetched_bytes():
            raise BenchmarkFailed(f"the agent fetched nothing\n{agent.program.log_end()}")
        time.sleep(_SETTLED_S)
        fetching, afterwards = resident_peak_bytes(agent.program.pid), resident_bytes(agent.program.pid)
    shutil.rmtree(agent.state)
    return _Resident(idle, fetching, afterwards)


AGENT_MEMORY = Benchmark("agent-memory", "floxbridge-node agent alone", _measure, ("git", "runc", "cc"), True)
