"""What the commands of `floxbridge-node` do: the wiring of the agent and of what can be done by hand.

Belongs here: which part gets which setting, and what is printed. Does not: flags and exit codes (`cli.py`).
"""

import asyncio
import contextlib
import io
import json
import platform
import signal
import traceback
from collections.abc import AsyncIterator, Mapping
from typing import Any

from flox_formats.environment import EnvironmentRef
from flox_formats.signature import PublicKey, TrustedKeys
from flox_formats.system import System
from shim_hooks.agent import Agent
from shim_hooks.agent_socket import AgentServer, is_served, listening
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realise import Realised, Realiser, Wanted
from shim_hooks.errors import NotSupported
from shim_hooks.log import Log
from shim_hooks.registry_client import RegistryClient
from shim_hooks.settings import Settings
from shim_hooks.store.leases import LeaseInvalid, Leases
from shim_hooks.store.node_store import NodeStore

_SYSTEMS = {"x86_64": System.X86_64_LINUX, "aarch64": System.AARCH64_LINUX}
_AFTER_DELETE_S = 2.0  # the runtime needs a moment to take the bundle away
_SWEEP_INTERVAL_S = 60.0


def run_agent(settings: Settings) -> int:
    asyncio.run(_run_agent(settings, Log()))
    return 0


async def _run_agent(settings: Settings, log: Log) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda _, context: _log_bug(log, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _realiser(settings, log) as realiser:
        agent = Agent(realiser, Leases(settings.state_dir / "leases"), log)
        sweeping = asyncio.create_task(agent.sweep_leases(after_delete_s=_AFTER_DELETE_S, interval_s=_SWEEP_INTERVAL_S))
        sweeping.add_done_callback(lambda task: task.cancelled() or task.result())  # its bug is not to be missed
        with listening(settings.socket) as listener:
            log.event("listening", socket=str(settings.socket), registry=settings.registry_url)
            await AgentServer(agent, log).serve(listener, stop, grace_s=settings.stop_grace_s)
        sweeping.cancel()
        log.event("stopped")


def _log_bug(log: Log, context: Mapping[str, Any]) -> None:
    """An error that nobody expected ends its request, or its task, and not the agent."""
    error = context.get("exception")
    trace = traceback.format_exception(error) if isinstance(error, BaseException) else []
    log.event("bug", message=context["message"], traceback="".join(trace))


def realise(settings: Settings, ref: EnvironmentRef, *, deadline_s: float, as_json: bool) -> int:
    """Without a lease: what is put there by hand stays until the garbage collection wants it."""
    realised = asyncio.run(_realise(settings, ref, deadline_s))
    on_node = realised.store_dir / realised.env_path.base_name
    if as_json:
        print(
            json.dumps(
                {
                    "environment": str(realised.environment),
                    "generation": realised.generation,
                    "lockfile": str(realised.lockfile.digest),
                    "store_path": str(realised.env_path),
                    "path": str(on_node),
                    "fetched_bytes": realised.fetched_bytes,
                    "paths": len(realised.paths),
                }
            )
        )
        return 0
    print(f"{realised.environment}:{realised.generation} is in the node's store, {len(realised.paths)} paths")
    print(f"  in a container  {realised.env_path}")
    print(f"  on this node    {on_node}")
    print(
        f"  fetched         {realised.fetched_bytes} bytes" if realised.fetched_bytes else "  fetched         nothing"
    )
    return 0


async def _realise(settings: Settings, ref: EnvironmentRef, deadline_s: float) -> Realised:
    wanted = Wanted(ref.environment, ref.generation, None, Mode.RUN)
    async with _realiser(settings, Log(io.StringIO())) as realiser:  # what it has to say, its error says too
        return await realiser.realise(wanted, deadline_s=deadline_s)


def show_status(settings: Settings, *, as_json: bool) -> int:
    status = _status(settings)
    if as_json:
        print(json.dumps(status))
        return 0
    print(f"agent   {'listens' if status['agent_listens'] else 'does not listen'} at {settings.socket}")
    print(f"store   {status['store_paths']} store paths in {status['store_dir']}")
    leases = status["leases"]
    assert isinstance(leases, list)
    print(f"leases  {len(leases)}")
    for lease in leases:
        print(f"  {lease['container']}  {lease['paths']} paths  {lease['bundle']}")
    return 0


def _status(settings: Settings) -> dict[str, object]:
    """Reads only: what is not there is not made, so that it can be asked by anyone who may look."""
    store_dir, leases_dir = settings.state_dir / "store", settings.state_dir / "leases"
    return {
        "agent_listens": is_served(settings.socket),
        "store_dir": str(store_dir),
        "store_paths": sum(1 for _ in store_dir.iterdir()) if store_dir.is_dir() else 0,
        "leases": _leases(Leases(leases_dir)) if leases_dir.is_dir() else [],
    }


def _leases(leases: Leases) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for container_id in leases.container_ids():
        try:
            lease = leases.find(container_id)
        except LeaseInvalid as problem:
            found.append({"container": container_id, "bundle": f"unreadable: {problem}", "paths": 0})
            continue
        if lease is not None:
            found.append({"container": container_id, "bundle": str(lease.bundle), "paths": len(lease.paths)})
    return found


@contextlib.asynccontextmanager
async def _realiser(settings: Settings, log: Log) -> AsyncIterator[Realiser]:
    registry = RegistryClient(
        settings.registry_url,
        connect_timeout_s=settings.connect_timeout_s,
        lookup_timeout_s=settings.lookup_timeout_s,
    )
    trusted = TrustedKeys(PublicKey.parse(key) for key in settings.trusted_key)
    store = await asyncio.to_thread(NodeStore, settings.state_dir)
    realiser = Realiser(registry, store, system=_system(), trusted=trusted, log=log)
    try:
        yield realiser
    finally:
        await realiser.aclose()
        await registry.aclose()
        store.close()


def _system() -> System:
    machine = platform.machine()
    if machine not in _SYSTEMS:
        raise NotSupported(f"no environment can be run on {machine}: floxbridge knows {', '.join(_SYSTEMS)}")
    return _SYSTEMS[machine]
