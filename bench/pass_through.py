"""Verbs that the launcher only passes on: containerd calls several of them for each container."""

from statistics import median

from bench.benchmark import Benchmark, Stage, find_program
from bench.figure import Figure, OverThePeer, Unit
from bench.rounds import in_turn, scaled
from bench.stopwatch import timed
from floxbridge_demo.installation import install_launcher

_ROUNDS = 150
_AT_MOST_S = 0.001


def _measure(stage: Stage) -> list[Figure]:
    workplace = stage.workplace
    runc = find_program("runc") or "runc"
    launcher = str(install_launcher(workplace, workplace.path("no-agent.sock")))
    log = workplace.path("logs", "verb.log")

    def figure(what: str, *verb: str, exit_code: int = 0) -> Figure:
        ours, peer = in_turn(
            scaled(_ROUNDS, stage.scale),
            lambda: timed([launcher, *verb], log=log, exit_code=exit_code),
            lambda: timed([runc, *verb], log=log, exit_code=exit_code),
            warm_up=5,
        )
        return Figure(what, Unit.SECONDS, median(ours), median(peer), OverThePeer(_AT_MOST_S))

    root = str(workplace.path("runc"))
    return [
        figure("--version", "--version"),
        figure("state of nothing", "--root", root, "state", "nothing", exit_code=1),
    ]


PASS_THROUGH = Benchmark("pass-through", "launcher before runc against runc alone", _measure, ("runc", "cc"))
