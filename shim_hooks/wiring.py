"""The wiring of the agent, and of what a command by hand has in common with it.

Belongs here: which part gets which setting. Does not: flags and exit codes (`cli.py`).
"""

import asyncio
import contextlib
import gc
import importlib.util
import platform
import resource
import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from flox_formats.signature import PublicKey, TrustedKeys
from flox_formats.system import System
from shim_hooks.agent import Agent
from shim_hooks.agent_listener import AgentListener, listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.background import Work, in_background
from shim_hooks.commands.store import store_bound
from shim_hooks.environment.realise import Realiser
from shim_hooks.errors import NotSupported
from shim_hooks.log import Log
from shim_hooks.measured import MeasuredAnswers, MeasuredRealiser, MeasuredRegistry
from shim_hooks.memory import give_back
from shim_hooks.metrics import Metrics
from shim_hooks.metrics_endpoint import metrics_endpoint
from shim_hooks.prefetch import Prefetch, is_environment_image
from shim_hooks.registry.client import RegistryClient
from shim_hooks.settings import Settings
from shim_hooks.store.collector import Collector
from shim_hooks.store.container_stores import ContainerStores
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.room import Room
from shim_hooks.store_care import StoreCare

_SYSTEMS = {"x86_64": System.X86_64_LINUX, "aarch64": System.AARCH64_LINUX}
_AFTER_DELETE_S = 2.0  # the runtime needs a moment to take the bundle away
_SWEEP_INTERVAL_S = 60.0
_COLLECTION_INTERVAL_S = 300.0
_THREADS = 128
"""As many as may wait at once, for a resolver that does not answer or a disk that syncs. asyncio has six on two cores;
then a container whose environment is here would wait for those of others."""


def run_agent(settings: Settings, listener: AgentListener | None) -> int:
    """None: another agent lives, and its place is taken when this one is ready."""
    asyncio.run(_run_agent(settings, Log(), listener))
    return 0


async def _run_agent(settings: Settings, log: Log, early: AgentListener | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    _allow_many_files()
    threading.excepthook = lambda bug: _log_bug(log, {"message": "in a thread", "exception": bug.exc_value})
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="work"))
    loop.set_exception_handler(lambda _, context: _log_bug(log, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with open_node(settings, log, metrics) as node:
        leases = Leases(settings.state_dir / "leases", ended=node.store.note_use)
        care = StoreCare(
            Collector(node.store, leases),
            store_bound(settings),
            log,
            collected=metrics.collected,
            forget=node.realiser.forget_what_is_gone,
        )

        def landed() -> None:
            care.wake()
            loop.run_in_executor(None, give_back)

        node.landed = landed
        mutable = ContainerStores(settings.state_dir / "mutable")
        agent = Agent(MeasuredRealiser(node.realiser, metrics), leases, mutable, log)
        metrics.watch("leases", "Containers that use the store.", lambda: len(leases.container_ids()))
        metrics.watch("disk_free_bytes", "Free on the store's disk.", lambda: Room.look(settings.state_dir).free_bytes)
        metrics.watch(
            "disk_free_inodes", "Free on the store's disk.", lambda: Room.look(settings.state_dir).free_inodes
        )
        async with in_background(
            lambda: agent.sweep_leases(after_delete_s=_AFTER_DELETE_S, interval_s=_SWEEP_INTERVAL_S),
            lambda: care.run(interval_s=_COLLECTION_INTERVAL_S),
            *_prefetch(settings, node.realiser, log, metrics),
        ):
            with listening(settings.socket, take_over=True) if early is None else nullcontext(early) as listener:
                gc.freeze()  # what is there now stays; looking through it for cycles would stop a container's start
                log.event("listening", socket=str(settings.socket), registry=settings.registry_url)
                async with metrics_endpoint(settings.metrics_listen, metrics, log):
                    answers = MeasuredAnswers(agent, metrics)
                    server = AgentServer(answers, log, under_way=node.realiser.under_way)
                    await server.serve(listener, stop, grace_s=settings.stop_grace_s)
        log.event("stopped")


def _allow_many_files() -> None:
    """Each container that waits has a connection, and the usual limit of a service is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _prefetch(settings: Settings, realiser: Realiser, log: Log, metrics: Metrics) -> Iterator[Work]:
    """The work of fetching what is pulled, if it is wanted and can be done."""
    socket = settings.containerd_socket
    if socket is None:
        return
    if importlib.util.find_spec("grpc") is None:
        log.event("prefetch_unavailable", message="grpcio is not installed: pip install 'floxbridge[cri]'")
        return
    from shim_hooks.containerd.pulled_images import pulled_indexes  # late: it takes 20 MB

    yield Prefetch(lambda: pulled_indexes(socket, is_environment_image), realiser, log, metrics).run


def _log_bug(log: Log, context: Mapping[str, Any]) -> None:
    """An error that nobody expected ends its request, or its task, and not the agent."""
    error = context.get("exception")
    trace = traceback.format_exception(error) if isinstance(error, BaseException) else []
    log.event("bug", message=context["message"], traceback="".join(trace))


class Node:
    """What the agent and a command by hand have in common. `landed` hears that something was brought."""

    def __init__(
        self, registry: RegistryClient, store: NodeStore, settings: Settings, log: Log, metrics: Metrics | None
    ) -> None:
        self.store, self._metrics = store, metrics
        self.landed: Callable[[], None] = lambda: None
        self.realiser = Realiser(
            registry if metrics is None else MeasuredRegistry(registry, metrics),
            store,
            system=_system(),
            trusted=TrustedKeys(PublicKey.parse(key) for key in settings.trusted_key),
            public=TrustedKeys(PublicKey.parse(key) for key in settings.public_key),
            log=log,
            landed=self._landed,
        )

    def _landed(self, fetched_bytes: int) -> None:
        if self._metrics is not None:
            self._metrics.fetched(fetched_bytes)
        self.landed()


@contextlib.asynccontextmanager
async def open_node(settings: Settings, log: Log, metrics: Metrics | None = None) -> AsyncIterator[Node]:
    registry = RegistryClient(
        settings.registry_url,
        connect_timeout_s=settings.connect_timeout_s,
        lookup_timeout_s=settings.lookup_timeout_s,
    )
    store = await asyncio.to_thread(NodeStore, settings.state_dir)
    node = Node(registry, store, settings, log, metrics)
    try:
        yield node
    finally:
        await node.realiser.aclose()
        await registry.aclose()
        store.close()


def _system() -> System:
    machine = platform.machine()
    if machine not in _SYSTEMS:
        raise NotSupported(f"no environment can be run on {machine}: floxbridge knows {', '.join(_SYSTEMS)}")
    return _SYSTEMS[machine]
