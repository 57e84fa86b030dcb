"""What `floxbridge-node status` and `gc` do and print.

Belongs here: the store by hand, beside an agent or without one. Does not: flags and exit codes (`cli.py`).
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from shim_hooks.agent_listener import is_served
from shim_hooks.commands.progress_line import line
from shim_hooks.container_key import shown_id
from shim_hooks.environment.progress import UnderWay
from shim_hooks.errors import StoreFailed
from shim_hooks.fetches_question import as_object, ask
from shim_hooks.settings import Settings
from shim_hooks.sizes import shown_bytes, shown_time
from shim_hooks.store.closures import ClosureRecords
from shim_hooks.store.collector import Bound, Collector
from shim_hooks.store.disk import disk_errors
from shim_hooks.store.inventory import InventoryReader
from shim_hooks.store.leases import LeaseInvalid, Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.store_folders import SHARED


def store_bound(settings: Settings) -> Bound:
    return Bound(settings.store_max_bytes, settings.store_min_free_percent)


def collect(settings: Settings, *, max_bytes: int | None, dry_run: bool, as_json: bool) -> int:
    """Down to `max_bytes`, or to what the settings allow. Works while the agent does, too."""
    bound = store_bound(settings) if max_bytes is None else Bound(max_bytes, 0)
    store = NodeStore(existing_store(settings))
    try:
        collector = Collector(store, Leases(settings.state_dir / "leases", ended=store.note_use))
        done = collector.plan(bound) if dry_run else collector.collect(bound)
    finally:
        store.close()
    if as_json:
        print(json.dumps({**dataclasses.asdict(done), "dry_run": dry_run}))
        return 0
    would = "would free" if dry_run else "freed"
    print(f"{would} {shown_bytes(done.freed)}: {done.closures} environments, {done.entries} store paths")
    print(f"then the store has {shown_bytes(done.size)}, of which {shown_bytes(done.kept)} are in use")
    if done.excess:
        print(f"that is {shown_bytes(done.excess)} more than the bound; all that is left is in use")
    if done.excess_inodes:
        print(f"{done.excess_inodes} more inodes shall be free on its disk; all that is left is in use")
    return 0


def existing_store(settings: Settings) -> Path:
    with disk_errors("looking for the node store", settings.state_dir):
        is_there = (settings.state_dir / SHARED).is_dir()
    if not is_there:
        raise StoreFailed(f"{settings.state_dir} has no store. Give the agent's --state-dir")
    return settings.state_dir


def show_status(settings: Settings, *, as_json: bool) -> int:
    status, fetches = _status(settings), ask(settings.socket)
    if as_json:
        shown = {} if fetches is None else {"fetches": [as_object(each) for each in fetches]}
        print(json.dumps({**status, **shown}))
        return 0
    print(f"agent   {'listens' if status['agent_listens'] else 'does not listen'} at {settings.socket}")
    print(f"store   {status['store_paths']} store paths, {_shown(status['store_bytes'])}, in {status['store_dir']}")
    if status["disk_bytes"]:
        print(f"disk    {_shown(status['disk_free_bytes'])} free of {_shown(status['disk_bytes'])}")
    _print_closures(status["closures"])
    _print_fetches(fetches)
    _print_leases(status["leases"])
    return 0


def _shown(size: object) -> str:
    assert isinstance(size, int)
    return shown_bytes(size)


def _print_closures(closures: object) -> None:
    assert isinstance(closures, list)
    print(f"environments  {len(closures)}")
    for closure in closures:
        use = "in use" if closure["in_use"] else f"last used {closure['last_used']}"
        print(f"  {closure['environment']}  {closure['paths']} paths  {shown_bytes(closure['bytes'])}  {use}")


def _print_fetches(fetches: Sequence[UnderWay] | None) -> None:
    """Nothing where no agent could be asked: then nobody knows."""
    if fetches is not None:
        print(f"fetching  {len(fetches)}")
        for each in fetches:
            print(f"  {line(str(each.environment), each.progress or str(each))}")


def _print_leases(leases: object) -> None:
    assert isinstance(leases, list)
    print(f"leases  {len(leases)}")
    for lease in leases:
        print(f"  {lease['container']}  {lease['paths']} paths  {lease['bundle']}")


def _status(settings: Settings) -> dict[str, object]:
    """Reads only: what is not there is not made, so that it can be asked by anyone who may look."""
    store_dir, leases_dir = settings.state_dir / SHARED, settings.state_dir / "leases"
    with disk_errors("looking for the node store", settings.state_dir):
        there = store_dir.is_dir() and (settings.state_dir / "closures").is_dir()
        disk = shutil.disk_usage(store_dir) if store_dir.is_dir() else None
        leases = Leases(leases_dir) if leases_dir.is_dir() else None
    store = _contents(settings, leases) if there else {"store_paths": 0, "store_bytes": 0, "closures": []}
    return {
        "agent_listens": is_served(settings.socket),
        "store_dir": str(store_dir),
        **store,
        "disk_bytes": 0 if disk is None else disk.total,
        "disk_free_bytes": 0 if disk is None else disk.free,
        "leases": [] if leases is None else _leases(leases),
    }


def _contents(settings: Settings, leases: Leases | None) -> dict[str, object]:
    records = ClosureRecords(settings.state_dir / "closures")
    inventory = InventoryReader(settings.state_dir, records).read()
    kept = _leased(leases)
    closures: list[dict[str, object]] = []
    for closure in sorted(inventory.closures, key=lambda each: each.last_used, reverse=True):
        origin = records.origin(closure.key)
        closures.append(
            {
                "lockfile": str(closure.key.lockfile),
                "environment": str(closure.key.lockfile) if origin is None else str(origin),
                "paths": len(closure.paths),
                "bytes": sum(inventory.entries[each].size for each in closure.places & inventory.entries.keys()),
                "last_used": shown_time(closure.last_used),
                "in_use": closure.is_in_use(kept),
            }
        )
    return {"store_paths": len(inventory.entries), "store_bytes": inventory.size, "closures": closures}


def _leased(leases: Leases | None) -> frozenset[str]:
    try:
        return frozenset() if leases is None else leases.leased()
    except StoreFailed:
        return frozenset()  # the list of leases says which of them cannot be read


def _leases(leases: Leases) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for key in leases.container_ids():
        container_id = shown_id(key)
        try:
            lease = leases.find(key)
        except LeaseInvalid as problem:
            found.append({"container": container_id, "bundle": f"unreadable: {problem}", "paths": 0})
            continue
        if lease is not None:
            found.append({"container": container_id, "bundle": str(lease.bundle), "paths": len(lease.paths)})
    return found
