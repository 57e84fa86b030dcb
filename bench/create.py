"""`create` of a container whose environment is on the node: what floxbridge adds to every start.

Plain runc gets the same bundle without an environment. Bundles and runc's records lie in memory, as on a node.
"""

from statistics import median

from bench.benchmark import Benchmark, Stage
from bench.closure_cache import Shape, make_closure
from bench.containers import Bundle, mount_memory
from bench.figure import Figure, OverThePeer, Unit
from bench.our_node import running_runtimes
from bench.our_registry import ENVIRONMENT, push
from bench.rounds import in_turn, scaled
from floxbridge_demo.installation import Hub

_ROUNDS = 50
_AT_MOST_S = 0.005
_SHAPE = Shape(paths=300, nar_bytes=8_000_000)  # many paths to lease and to look for; their size does not matter here


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    mount_memory(workplace)
    closure = make_closure(workplace.path("closure"), _SHAPE)
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), closure.roots)
    with running_runtimes(workplace, closure, hub) as node:
        ours, alone = (Bundle.make(workplace.path("run", "bundles", name)) for name in ("ours", "alone"))
        from_image = ours.asking(node.registry.image_variables())
        annotated = ours.asking(annotations={"flox.dev/environment": ENVIRONMENT})
        by_image, by_annotation, without = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: node.through.create(from_image),
            lambda: node.through.create(annotated),
            lambda: node.plain.create(alone),
            warm_up=5,
        )
    bound, peer = OverThePeer(_AT_MOST_S), median(without)
    return [
        Figure("environment from the image", Unit.SECONDS, median(by_image), peer, bound),
        Figure("by annotation, live asked", Unit.SECONDS, median(by_annotation), peer, bound),
    ]


CREATE = Benchmark("create", "launcher and agent before runc against runc alone", _measure, ("git", "runc", "cc"), True)
