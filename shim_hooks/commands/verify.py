"""What `floxbridge-node verify` does and prints.

Belongs here: the store compared, and mended, by hand. Does not: flags and exit codes (`cli.py`).
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flox_formats.store_path import StorePath
from shim_hooks.commands.store import existing_store
from shim_hooks.environment.repair import Mended, Outcome, Repair
from shim_hooks.environment.verify_links import VerifiedLinks, verify_links
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.registry.client import RegistryClient
from shim_hooks.settings import Settings
from shim_hooks.sizes import shown_bytes
from shim_hooks.store.leases import Leases
from shim_hooks.store.node_store import NodeStore
from shim_hooks.store.verify import Verified, verify

_NAMED = 5
"""Of what was not compared: a download that was given up, or is under way, may have left hundreds."""

_STAYS_BROKEN = (None, Mended.IN_USE, Mended.LEFT)


@dataclass(frozen=True, slots=True)
class _Broken:
    """`closures` are those that need it, as their records are called; `outcome` is None where nothing was tried."""

    path: StorePath
    why: str
    closures: tuple[str, ...]
    outcome: Outcome | None

    @property
    def stays(self) -> bool:
        return (None if self.outcome is None else self.outcome.mended) in _STAYS_BROKEN

    @property
    def words(self) -> dict[str, str]:
        """What was done about it."""
        if self.outcome is None:
            return {}
        problem = {} if self.outcome.problem is None else {"problem": self.outcome.problem}
        return {"outcome": self.outcome.mended.value, **problem}


@dataclass(frozen=True, slots=True)
class _Result:
    verified: Verified
    links: VerifiedLinks
    outcomes: Mapping[Path, Outcome] = field(default_factory=dict)
    """By the place of what was broken."""

    @property
    def broken(self) -> list[_Broken]:
        paths = (
            _Broken(each.path.store_path, each.why, tuple(map(str, each.closures)), self.outcomes.get(each.place))
            for each in self.verified.broken
        )
        links = (
            _Broken(each.path, each.why, (str(each.linked.closure),), self.outcomes.get(each.place))
            for each in self.links.broken
        )
        return [*paths, *links]


def verify_store(settings: Settings, token: FloxHubToken | None, *, repair: bool, as_json: bool) -> int:
    """1 if something is broken and stays so."""
    store = NodeStore(existing_store(settings))
    try:
        verified = verify(store, compared=_progress if sys.stderr.isatty() else lambda done, total: None)
        if repair:
            result = asyncio.run(_repair(settings, token, store, verified))
        else:
            result = _Result(verified, verify_links(store, {each.path.store_path for each in verified.broken}))
    finally:
        store.close()
    print(_as_json(result) if as_json else _as_text(result, repair=repair))
    return int(any(each.stays for each in result.broken))


async def _repair(settings: Settings, token: FloxHubToken | None, store: NodeStore, verified: Verified) -> _Result:
    """First what was fetched, then what links to it: that can only be told when the first is whole."""
    registry = RegistryClient(
        settings.registry_url,
        connect_timeout_s=settings.connect_timeout_s,
        lookup_timeout_s=settings.lookup_timeout_s,
    )
    mending = Repair(registry.with_token(token), store, Leases(settings.state_dir / "leases"))
    outcomes: dict[Path, Outcome] = {}
    try:
        for broken in verified.broken:
            outcomes[broken.place] = await mending.mend(broken)
        left = {broken.path.store_path for broken in verified.broken if outcomes[broken.place].mended in _STAYS_BROKEN}
        links = await asyncio.to_thread(verify_links, store, left)
        for broken_links in links.broken:
            outcomes[broken_links.place] = await mending.mend_links(broken_links)
    finally:
        await registry.aclose()
    return _Result(verified, links, outcomes)


def _as_json(result: _Result) -> str:
    return json.dumps(
        {
            "paths": result.verified.paths,
            "bytes": result.verified.size,
            "environments": result.links.environments,
            "broken": [
                {"path": str(each.path), "why": each.why, "closures": list(each.closures), **each.words}
                for each in result.broken
            ],
            "not_compared": [{"path": str(each.path), "why": each.why} for each in result.links.not_compared],
        }
    )


def _as_text(result: _Result, *, repair: bool) -> str:
    lines = []
    for each in result.broken:
        lines += [f"{each.path} {each.why}", *(f"  {word}" for word in each.words.values())]
    unknown = result.links.not_compared
    lines += [f"{each.path} was not compared: {each.why}" for each in unknown[:_NAMED]]
    if len(unknown) > _NAMED:
        lines.append(f"{len(unknown) - _NAMED} more were not compared; --json names them")
    lines.append(
        f"{result.verified.paths} store paths, {shown_bytes(result.verified.size)}, and "
        f"{result.links.environments} linked environments: {len(result.broken)} broken"
    )
    if not repair and any(each.stays for each in result.broken):
        lines.append("floxbridge-node verify --repair makes them anew")
    return "\n".join(lines)


def _progress(done: int, total: int) -> None:
    end = "\n" if done == total else ""
    print(f"\r{shown_bytes(done)} of {shown_bytes(total)} compared \x1b[K", end=end, file=sys.stderr, flush=True)
