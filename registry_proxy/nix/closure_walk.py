"""Walking a closure: from the outputs that a lockfile selects to every path that they refer to, with its NAR.

An environment whose activation needs a shell, and which has none, gets one: it is a path of the closure that no root
refers to, and the node knows it by its name (`flox_formats/scripted_activation.py`).

Belongs here: which paths, who vouches for them, which package wants them. Does not: transport (`binary_cache.py`).
The caches are asked in the order given; the first that has a path describes it.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from flox_formats.closure import MAX_PATHS, ClosureDocument, ClosurePath, ClosureRoot
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import NarInfo, PathUntrusted, most_compressed, verify_path
from flox_formats.scripted_activation import is_bash, needs_shell
from flox_formats.signature import TrustedKeys
from flox_formats.store_path import StorePath
from flox_formats.system import System
from registry_proxy.content.downloads import Downloads
from registry_proxy.content.holdings import NarSource
from registry_proxy.errors import ClosureUnavailable, EnvironmentUnusable, NixCacheUnavailable
from registry_proxy.nix.binary_cache import BinaryCache

T = TypeVar("T")
_FOR_ACTIVATION = "the bash for its activation, see --activation-bash"


@dataclass(frozen=True, slots=True)
class Closure:
    """A closure document, and for each of its paths where the NAR lies."""

    document: ClosureDocument
    sources: dict[StorePath, NarSource]


class ClosureWalk:
    """Finds closures. `max_questions` narinfo requests are under way at once.

    `activation_bash` has the shell of environments that need one and bring none. It decides over bytes.
    """

    def __init__(
        self,
        caches: Sequence[BinaryCache],
        trusted: TrustedKeys,
        downloads: Downloads,
        *,
        max_questions: int = 32,
        activation_bash: Mapping[System, StorePath] | None = None,
    ) -> None:
        self._caches, self._trusted, self._downloads = caches, trusted, downloads
        self._activation_bash = activation_bash or {}
        self._questions = anyio.CapacityLimiter(max_questions)

    async def closure(self, lockfile: Lockfile, system: System) -> Closure:
        """Raises ClosureUnavailable naming the path and its package, NixCacheUnavailable, EnvironmentUnusable."""
        try:
            outputs = lockfile.selected_outputs(system)
        except FormatError as error:
            raise EnvironmentUnusable(str(error)) from error
        roots = tuple(ClosureRoot(one.install_id, one.output, one.store_path, one.priority) for one in outputs)
        walk = _Walk(wanted_by={root.store_path: root.install_id for root in reversed(roots)})
        await self._visit(walk, list(walk.wanted_by))
        if needs_shell(lockfile.activation) is not None and not any(map(is_bash, walk.found)):
            await self._add_shell(walk, system)
        paths = tuple(walk.found[path] for path in sorted(walk.found))
        return Closure(ClosureDocument(system, roots, paths), walk.sources)

    async def _add_shell(self, walk: "_Walk", system: System) -> None:
        shell = self._activation_bash.get(system)
        if shell is not None and shell not in walk.found:
            walk.wanted_by[shell] = _FOR_ACTIVATION
            await self._visit(walk, [shell])

    async def _visit(self, walk: "_Walk", round_: list[StorePath]) -> None:
        """Breadth first: each round asks for all paths that the round before referred to."""
        while round_:
            answers = await _together(self._path(path, walk.wanted_by[path]) for path in round_)
            known = set(walk.wanted_by)
            for path, source in answers:
                walk.add(path, source)
            if len(walk.wanted_by) > MAX_PATHS:
                raise ClosureUnavailable(f"a closure of more than {MAX_PATHS} store paths")
            round_ = [path for path in walk.wanted_by if path not in known]

    async def _path(self, path: StorePath, package: str) -> tuple[ClosurePath, NarSource]:
        async with self._questions:
            narinfo, cache = await self._narinfo(path, package)
        blob, size = narinfo.file_hash, narinfo.file_size
        if blob is None or size is None:
            # The cache does not say what its file hashes to, so the file is fetched now, and kept.
            blob, stored = await self._downloads.measure(lambda: cache.nar(narinfo.url))
            size = stored.size
            if size > most_compressed(narinfo.nar_size):
                sizes = f"{size} bytes, for a NAR of {narinfo.nar_size}"
                raise ClosureUnavailable(f"{path} in binary cache {cache.url}: {narinfo.url} has {sizes}")
        described = ClosurePath(
            path,
            narinfo.nar_hash,
            narinfo.nar_size,
            narinfo.references,
            narinfo.signatures,
            narinfo.content_address,
            blob,
            size,
            narinfo.compression,
        )
        return described, NarSource(cache.url, narinfo.url, f"{path} of package {package!r}")

    async def _narinfo(self, path: StorePath, package: str) -> tuple[NarInfo, BinaryCache]:
        """From the first cache that has the path and is to be believed."""
        problems = list[NixCacheUnavailable | ClosureUnavailable]()
        for cache in self._caches:
            try:
                narinfo = await cache.narinfo(path)
                if narinfo is not None:
                    self._verify(narinfo, cache)
                    return narinfo, cache
            except (NixCacheUnavailable, ClosureUnavailable) as problem:
                problems.append(problem)
        if problems:
            raise type(problems[0])(f"package {package!r} needs {path}: {problems[0]}") from problems[0]
        asked = ", ".join(cache.url for cache in self._caches) or "none is configured: --nix-cache names one"
        raise ClosureUnavailable(
            f"package {package!r} needs {path}, which no binary cache has (asked: {asked}): it may be unfree, broken "
            "or built by yourselves; push it to a cache and name that with --nix-cache"
        )

    def _verify(self, narinfo: NarInfo, cache: BinaryCache) -> None:
        try:
            verify_path(
                narinfo.store_path,
                narinfo.nar_hash,
                narinfo.nar_size,
                narinfo.references,
                narinfo.signatures,
                narinfo.content_address,
                self._trusted,
            )
        except PathUntrusted as error:
            raise ClosureUnavailable(f"{error} (binary cache {cache.url})") from error


@dataclass(slots=True)
class _Walk:
    """`wanted_by` has every path that was ever mentioned, with the install id that led to it."""

    wanted_by: dict[StorePath, str]
    found: dict[StorePath, ClosurePath] = field(default_factory=dict)
    sources: dict[StorePath, NarSource] = field(default_factory=dict)

    def add(self, path: ClosurePath, source: NarSource) -> None:
        self.found[path.store_path], self.sources[path.store_path] = path, source
        for reference in path.references:
            self.wanted_by.setdefault(reference, self.wanted_by[path.store_path])


async def _together(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, or the first error, with the questions that are then still open withdrawn."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
