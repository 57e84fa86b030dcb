"""`python -m bench`: which benchmarks there are, one after the other. Exit code 0 unless called wrongly."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from bench.agent_memory import AGENT_MEMORY
from bench.benchmark import Benchmark, BenchmarkFailed, Stage
from bench.blob import BLOB
from bench.closure import CLOSURE
from bench.closure_cache import Closure, Shape, make_closure
from bench.create import CREATE
from bench.create_scripted import CREATE_SCRIPTED
from bench.fifty_nodes import FIFTY_NODES
from bench.figure import Figure
from bench.manifest_by_tag import MANIFEST_BY_TAG
from bench.memory import MEMORY
from bench.pass_through import PASS_THROUGH
from bench.report import Outcome, document, heading, table
from bench.restart import RESTART
from bench.versions import machine, versions
from floxbridge_demo.busybox import BusyboxMissing
from floxbridge_demo.cri import CriFailed
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.workplace import Workplace, WorkplaceRefused, own_workplace

BENCHMARKS = (
    MANIFEST_BY_TAG,
    BLOB,
    MEMORY,
    FIFTY_NODES,
    PASS_THROUGH,
    CREATE,
    CREATE_SCRIPTED,
    AGENT_MEMORY,
    CLOSURE,
    RESTART,
)

_LARGE = Shape(paths=300, nar_bytes=500_000_000)


class Run:
    """All that one call of the program measures. What benchmarks share is made in `workplace` by the first to ask."""

    def __init__(self, workplace: Workplace, scale: float) -> None:
        self._workplace, self._scale = workplace, scale

    def outcome(self, benchmark: Benchmark) -> Outcome:
        """Figures, or why there are none. Never raises what a benchmark may."""
        reason, began = benchmark.why_not(), time.monotonic()
        figures: Sequence[Figure] = ()
        if reason is None:
            print(f"{benchmark.name} …", end=" ", file=sys.stderr, flush=True)
            try:
                with own_workplace(self._workplace.folder.parent) as workplace:
                    figures = benchmark.measure(Stage(workplace, self._scale, lambda: self._closure))
            except (BenchmarkFailed, ProgramFailed, CriFailed, BusyboxMissing) as error:
                reason = str(error)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        return Outcome(benchmark.name, benchmark.title, tuple(figures), reason)

    @cached_property
    def _closure(self) -> Closure:
        shape = Shape(_LARGE.paths, round(_LARGE.nar_bytes * self._scale))
        return make_closure(self._workplace.path("closure"), shape)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    wanted = [it for it in BENCHMARKS if not options.names or it.name in options.names]
    about, peers = machine(), versions(program for it in wanted for program in it.programs)
    if not options.json:
        print(heading(about, peers), flush=True)
    outcomes = []
    try:
        with own_workplace(options.dir) as workplace:
            run = Run(workplace, options.scale)
            for benchmark in wanted:
                outcomes.append(run.outcome(benchmark))
                if not options.json:
                    print(f"\n{table(outcomes[-1])}", flush=True)
    except WorkplaceRefused as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        json.dump(document(about, peers, outcomes), sys.stdout, indent=2, ensure_ascii=False)
        print()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures floxbridge beside its peers; see docs/performance.md."
    )
    names = [it.name for it in BENCHMARKS]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*names, []], help=f"which (default: all): {', '.join(names)}"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--scale", type=_positive, default=1.0, metavar="S", help="times as many rounds and bytes (default: 1)"
    )
    folder = Path(tempfile.gettempdir()) / "floxbridge-bench"
    parser.add_argument("--dir", type=Path, default=folder, help=f"work in a folder below this one (default: {folder})")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number <= 100:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
