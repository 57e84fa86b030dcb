"""A real registry on a real port, with a hub of real git repositories and a real signed cache beside it."""

import asyncio
import io
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from flox_formats.environment import EnvironmentName
from flox_formats.history import Change
from flox_formats.json_document import canonical_json
from flox_formats.store_path import StorePath
from flox_formats.system import System
from floxbridge_demo.nix_cache import NixCache
from registry_proxy.hub import local
from registry_proxy.log import Log
from registry_proxy.server import serve
from registry_proxy.settings import Settings

CHANGE = Change(author="alice", hostname="build-01", command=("flox", "push"), timestamp=1772438400)
_START_S = 20


class _Events(io.TextIOBase):
    """The log's stream: lines become events that a test can wait for."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()

    def write(self, lines: str) -> int:
        for line in lines.splitlines():
            self.events.put(json.loads(line))
        return len(lines)

    def wait_for(self, name: str) -> dict[str, Any]:
        while True:
            event = self.events.get(timeout=_START_S)
            if event["event"] == name:
                return event


@contextmanager
def running_registry(settings: Settings) -> Iterator[httpx2.Client]:
    """A client of a registry that runs in a thread of its own, with an event loop of its own."""
    stream = _Events()
    loop = asyncio.new_event_loop()
    own = replace(settings, listen=("127.0.0.1", 0))
    task = loop.create_task(serve(own, Log(stream), asyncio.Event()))  # type: ignore[arg-type]

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="registry")
    thread.start()
    try:
        url = stream.wait_for("listening")["url"]
        with httpx2.Client(base_url=url, timeout=30) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(_START_S)
    assert not thread.is_alive()


@dataclass(frozen=True)
class World:
    """A hub, a cache, and the settings of a registry between them."""

    root: Path
    cache: NixCache

    @classmethod
    def make(cls, root: Path) -> "World":
        local.init(root / "hub")
        return cls(root, NixCache.make(root / "cache"))

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def settings(self, state: str = "state", **more: Any) -> Settings:
        return replace(
            Settings(
                state_dir=self.root / state,
                hub_dir=self.hub,
                nix_cache=(self.cache.url,),
                trusted_key=(str(self.cache.public_key),),
                resolve_ttl_s=0,
                missing_ttl_s=0,
            ),
            **more,
        )

    def package(self, name: str, text: str, *references: StorePath) -> StorePath:
        """A package in the cache: one program that says `text`."""
        tree = self.root / "trees" / name
        (tree / "bin").mkdir(parents=True, exist_ok=True)
        program = tree / "bin" / name
        program.write_text(f"#!/bin/sh\necho {text}\n" + "".join(f"# {path}\n" for path in references))
        program.chmod(0o755)
        return self.cache.add(name, tree, references)

    def push(self, environment: str, *packages: StorePath, lock: bytes | None = None) -> int:
        data = lock if lock is not None else lock_of(*packages)
        return local.push(self.hub, EnvironmentName.parse(environment), None, data, change=CHANGE)

    def switch(self, environment: str, number: int) -> None:
        local.switch(self.hub, EnvironmentName.parse(environment), number, change=CHANGE)


def lock_of(*packages: StorePath, systems: tuple[str, ...] = tuple(System), manifest: object = None) -> bytes:
    """A lockfile with these packages for each of `systems`."""
    entries = [
        {
            "install_id": package.name,
            "system": system,
            "attr_path": package.name,
            "locked_url": "https://floxbridge.invalid/packages?rev=" + "0" * 40,
            "priority": 5,
            "outputs": {"out": str(package)},
            "outputs_to_install": ["out"],
        }
        for package in packages
        for system in systems
    ]
    install = {package.name: {"pkg-path": package.name} for package in packages}
    return canonical_json(
        {
            "lockfile-version": 1,
            "manifest": {"schema-version": "1.10.0", "install": install, **(manifest or {})},  # type: ignore[dict-item]
            "packages": entries,
        }
    )
