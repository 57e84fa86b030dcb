"""A container whose environment has a hook, so that bash runs before its command: made, started, ended, deleted.

Against plain runc, twice: the bundle as the agent edited it, which is the same activation by hand, and the lines of the
hook alone in one bash, which is what somebody without Flox would put before the command. All three have the same store
mounted, the same variables and the same bash.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.benchmark import Benchmark, BenchmarkFailed, Stage, find_program
from bench.closure_cache import Closure, Shape, make_closure
from bench.containers import COMMAND, Bundle, mount_memory
from bench.figure import Figure, OverThePeer, Unit
from bench.our_node import running_runtimes
from bench.our_registry import push
from bench.rounds import in_turn, scaled
from flox_formats.store_path import StorePath
from floxbridge_demo.installation import Hub
from floxbridge_demo.workplace import Workplace
from shim_hooks.environment.activation_files import RECORD

_ROUNDS = 50
_AT_MOST_S = 0.015
_SHAPE = Shape(paths=300, nar_bytes=8_000_000)
_BASH = "bash-static"  # it needs no other path; what is measured starts it three times, the hook alone once
_HOOK = """\
export WEB_ROOT="${WEB_ROOT:-$FLOX_ENV/share/web}"
export WEB_CACHE="$FLOX_ENV_CACHE/web"
if [[ -z ${WEB_TOKEN-} ]]; then
  export WEB_ACCESS=anonymous
fi
"""


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    mount_memory(workplace)
    closure = make_closure(workplace.path("closure"), _SHAPE)
    bash = _add_bash(closure, workplace.path("bash"))
    hub = Hub(workplace)
    push(hub, workplace.path("pushed"), [*closure.roots, bash], hook=_HOOK)
    with running_runtimes(workplace, closure, hub) as node:
        ours = _bundle(workplace, "ours").asking(node.registry.image_variables())
        node.through.run(ours)
        edited = ours.written()
        by_hand = replace(_bundle(workplace, "by-hand"), config=edited)
        alone = replace(_bundle(workplace, "alone"), config=_hook_alone(edited, f"{bash}/bin/bash"))
        us, activation, script = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: node.through.run(ours),
            lambda: node.plain.run(by_hand),
            lambda: node.plain.run(alone),
            warm_up=5,
        )
    bound = OverThePeer(_AT_MOST_S)
    return [
        Figure("against the hook's lines alone", Unit.SECONDS, median(us), median(script), bound),
        Figure("against the activation by hand", Unit.SECONDS, median(us), median(activation), bound),
    ]


def _add_bash(closure: Closure, tree: Path) -> StorePath:
    program = tree / "bin" / "bash"
    program.parent.mkdir(parents=True)
    program.write_bytes(Path(find_program(_BASH) or _BASH).read_bytes())
    program.chmod(0o755)
    return closure.cache.add("bash-5.2", tree).store_path


def _bundle(workplace: Workplace, name: str) -> Bundle:
    return Bundle.make(workplace.path("run", "bundles", name))


def _hook_alone(edited: Mapping[str, Any], bash: str) -> dict[str, Any]:
    """Neither our scripts nor the place for what they note; all else as it is. Raises BenchmarkFailed."""
    process, arguments = edited["process"], edited["process"]["args"]
    if arguments[0] != bash or tuple(arguments[-len(COMMAND) :]) != COMMAND:
        raise BenchmarkFailed(f"the agent does not run the command by {bash}: {arguments}")
    script = [bash, "-p", "-c", f'{_HOOK}exec "$@"', bash, *COMMAND]
    mounts = [mount for mount in edited["mounts"] if not mount["destination"].endswith(f"/{RECORD}")]
    return {**edited, "process": {**process, "args": script}, "mounts": mounts}


CREATE_SCRIPTED = Benchmark(
    "create-scripted",
    "launcher, agent and our activation before the command against plain runc with a script",
    _measure,
    ("git", "runc", "cc", _BASH),
    root=True,
)
