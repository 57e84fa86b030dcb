"""What `floxbridge-node realise` does and prints.

Belongs here: one environment by hand. Does not: flags and exit codes (`cli.py`), the terminal (`progress_line.py`).
"""

import asyncio
import io
import json
import sys

from flox_formats.environment import EnvironmentRef
from shim_hooks.commands.progress_line import Way, shown
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.progress import Progress
from shim_hooks.environment.realise import Realiser
from shim_hooks.environment.realised import Realised, Wanted
from shim_hooks.errors import RegistryUnavailable, StillFetching
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.log import Log
from shim_hooks.settings import Settings
from shim_hooks.wiring import open_node


def realise(
    settings: Settings,
    ref: EnvironmentRef,
    token: FloxHubToken | None,
    *,
    deadline_s: float,
    progress: Way,
    as_json: bool,
) -> int:
    """Without a lease: what is put there by hand stays until the garbage collection wants it.

    `progress` is how stderr is told how far it is.
    """
    wanted = Wanted(ref.environment, ref.generation, None, Mode.RUN, token)
    try:
        realised = asyncio.run(_realise(settings, wanted, deadline_s, progress))
    except StillFetching as late:
        raise RegistryUnavailable(
            f"{late.what}: {late.progress} after {deadline_s:g} s (--deadline-s). "
            "The store paths that are complete stay: the next try goes on from there"
        ) from late
    print(_as_json(realised) if as_json else _as_text(realised))
    return 0


async def _realise(settings: Settings, wanted: Wanted, deadline_s: float, progress: Way) -> Realised:
    quiet = Log(io.StringIO())  # what it has to say, its error says too
    async with (
        open_node(settings, quiet) as node,
        shown(str(wanted.ref), lambda: _how_far(node.realiser), sys.stderr, progress),
    ):
        return await node.realiser.realise(wanted, deadline_s=deadline_s)


def _how_far(realiser: Realiser) -> Progress | str:
    for fetch in realiser.under_way():
        return fetch.progress or str(fetch)
    return "asking the registry"


def _as_json(realised: Realised) -> str:
    return json.dumps(
        {
            "environment": str(realised.environment),
            "generation": realised.generation,
            "lockfile": str(realised.lockfile.digest),
            "store_path": str(realised.env_path),
            "path": str(realised.folders.path_of(realised.env_path)),
            "fetched_bytes": realised.fetched_bytes,
            "paths": len(realised.paths),
        }
    )


def _as_text(realised: Realised) -> str:
    fetched = f"{realised.fetched_bytes} bytes" if realised.fetched_bytes else "nothing"
    return (
        f"{realised.environment}:{realised.generation} is in the node's store, {len(realised.paths)} paths\n"
        f"  in a container  {realised.env_path}\n"
        f"  on this node    {realised.folders.path_of(realised.env_path)}\n"
        f"  fetched         {fetched}"
    )
