"""The registry as a node needs it: which generation, which closure, which bytes.

Belongs here: the requests and their order, and that every document and blob has the digest it was asked for by. Does
not: HTTP (`http.py`), believing what is said about store paths (`environment/closure_fetch.py`).
"""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self
from urllib.parse import quote

from flox_formats.closure import ARTIFACT_TYPE, ClosureDocument
from flox_formats.closure import MAX_BYTES as MAX_CLOSURE_BYTES
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.errors import FormatError
from flox_formats.lockfile import MAX_BYTES as MAX_LOCKFILE_BYTES
from flox_formats.system import System
from shim_hooks.errors import ContentRejected, Refused, RegistryRefused, RegistryUnavailable
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.registry.documents import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    MAX_BYTES,
    BlobDescriptor,
    ClosureArtifactManifest,
    EnvironmentIndex,
    find_closure_artifact,
)
from shim_hooks.registry.environment import RegistryEnvironment
from shim_hooks.registry.heads import RegistryHeads
from shim_hooks.registry.http import Interrupted, RegistryHttp
from shim_hooks.store.blob_file import BlobFile
from shim_hooks.threads import in_thread

_IN_VAIN = 5
"""Tries after each other that bring nothing new: then it is said, and the next container tries again."""

_MAX_REMEMBERED = 1024
_SLOWEST_BYTES_PER_S = 64 * 1024


@dataclass(frozen=True, slots=True)
class FetchedClosure:
    document: ClosureDocument
    lockfile: bytes


class RegistryClient:
    """One for the whole process; `aclose` it. Raises RegistryUnavailable, RegistryRefused, ContentRejected.

    `lookup_timeout_s` is for the question which generation. `closure_timeout_s` is for each answer about a closure,
    which a registry may have to collect first, and for what a download takes beyond its size. `retry_pause_s` is the
    first pause after a download was cut off; each further one is twice as long.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        lookup_timeout_s: float,
        closure_timeout_s: float = 90.0,
        idle_timeout_s: float = 30.0,
        retry_pause_s: float = 0.2,
    ) -> None:
        self._http = RegistryHttp(base_url, connect_timeout_s=connect_timeout_s, idle_timeout_s=idle_timeout_s)
        self._heads = RegistryHeads(base_url, connect_timeout_s=connect_timeout_s)
        self._public: OrderedDict[tuple[EnvironmentRef, System], tuple[Digest, RegistryEnvironment]] = OrderedDict()
        self._has_token = False
        self._lookup_timeout_s, self._closure_timeout_s = lookup_timeout_s, closure_timeout_s
        self._retry_pause_s = retry_pause_s

    def with_token(self, token: FloxHubToken | None) -> Self:
        """The same client, asking as the pod whose token it is. `aclose` only the original."""
        other = copy.copy(self)
        other._http = self._http.with_token(token)
        other._has_token = token is not None
        return other

    async def show(self, environment: EnvironmentName, lockfile: Digest) -> None:
        """Whether the caller may see a generation of `environment` with this lockfile; else RegistryRefused."""
        asking = f"asking whether {environment} may be used here"
        path = f"/v2/{_repository(environment)}/blobs/{lockfile}"
        if not await self._http.is_there(path, asking=asking, deadline_s=self._lookup_timeout_s):
            # For the sentence that says why not.
            await self._http.read(
                path, asking=asking, accept="*/*", limit=MAX_LOCKFILE_BYTES, deadline_s=self._lookup_timeout_s
            )

    async def resolve(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment:
        """What `asked` stands for now. Raises Refused where that cannot run on `system`."""
        repository = _repository(asked.environment)
        answer = await self._http.read(
            _index_path(asked),
            asking=f"asking for {asked}",
            accept=INDEX_TYPE,
            limit=MAX_BYTES,
            deadline_s=self._lookup_timeout_s,
        )
        with _rejecting(asked):
            index = EnvironmentIndex.parse(answer)
        if index.environment != asked.environment or asked.generation not in (None, index.generation):
            raise ContentRejected(
                f"{asked}: the registry answers with {index.environment}:{index.generation}; "
                "names differ by case, so write it as FloxHub does"
            )
        manifest = index.manifests.get(system.oci_architecture)
        if manifest is None:
            raise Refused(_wrong_platform(index, system))
        found = RegistryEnvironment(index.environment, index.generation, index.lockfile, repository, manifest)
        if not self._has_token:
            await self._remember(asked, system, Digest.of(answer), found)
        return found

    async def _remember(self, asked: EnvironmentRef, system: System, index: Digest, found: RegistryEnvironment) -> None:
        """For `resolve_at_once`."""
        self._public[asked, system] = index, found
        if len(self._public) > _MAX_REMEMBERED:
            self._public.popitem(last=False)
        if self._heads.wants_address:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lookup_timeout_s):
                    await asyncio.to_thread(self._heads.look_up)

    def resolve_at_once(self, asked: EnvironmentRef, system: System) -> RegistryEnvironment | None:
        """As `resolve` without a token, where the registry would still send what it sent last. Blocks for a moment.

        None says nothing: something else is live now, the registry does not answer at once, or it was never asked.
        """
        known = self._public.get((asked, system))
        if known is None or self._heads.digest_of(_index_path(asked)) != known[0]:
            return None
        return known[1]

    async def closure(self, found: RegistryEnvironment) -> FetchedClosure:
        """The closure of a generation and its lockfile. Their digests are right; what they say is not believed yet."""
        asking = f"asking for the closure of {found}"
        referrers = await self._http.read(
            f"/v2/{found.repository}/referrers/{found.manifest}",
            asking=asking,
            accept=INDEX_TYPE,
            limit=MAX_BYTES,
            deadline_s=self._closure_timeout_s,
            parameters={"artifactType": ARTIFACT_TYPE},
        )
        with _rejecting(found):
            artifact = find_closure_artifact(referrers)
        if artifact is None:
            raise RegistryRefused(
                f"the registry has no closure of {found}: tell it which binary caches have the packages (--nix-cache), "
                "or copy the environment to it with its referrers"
            )
        data = await self._content(found, f"manifests/{artifact.digest}", artifact, MAX_BYTES, accept=MANIFEST_TYPE)
        with _rejecting(found):
            manifest = ClosureArtifactManifest.parse(data)
        if manifest.subject != found.manifest or manifest.lockfile.digest != found.lockfile:
            raise ContentRejected(f"{found}: what the registry gives as its closure belongs to another generation")
        closure = await self._content(
            found, f"blobs/{manifest.document.digest}", manifest.document, MAX_CLOSURE_BYTES, accept="*/*"
        )
        lockfile = await self._content(
            found, f"blobs/{manifest.lockfile.digest}", manifest.lockfile, MAX_LOCKFILE_BYTES, accept="*/*"
        )
        with _rejecting(found):
            return FetchedClosure(await asyncio.to_thread(ClosureDocument.parse, closure), lockfile)

    async def download(self, repository: str, blob: BlobFile, *, received: Callable[[int], None]) -> None:
        """All that `blob`, which is open, still lacks; tells `received` of the bytes as they come.

        What is cut off goes on where it was, as long as each few tries bring more of it. Raises StoreFailed, too.
        """
        asking = f"fetching blob {blob.digest}"
        async with self._http.deadline(asking, self._closure_timeout_s + blob.size / _SLOWEST_BYTES_PER_S):
            await self._complete(repository, blob, received)
            if blob.kept and not blob.is_right:
                # Not the registry's fault, perhaps: a power cut may have spoilt what an earlier try left.
                await in_thread(blob.restart)
                await self._complete(repository, blob, received)
        blob.check()

    async def aclose(self) -> None:
        self._heads.close()
        await self._http.aclose()

    async def _complete(self, repository: str, blob: BlobFile, received: Callable[[int], None]) -> None:
        """Until every byte is there, whatever they are; none may be missing after a cut behind the last one."""
        in_vain, furthest = 0, blob.position
        while not blob.is_complete:
            try:
                await self._go_on(repository, blob, received)
            except Interrupted as problem:
                in_vain = in_vain + 1 if blob.position <= furthest else 0
                furthest = max(furthest, blob.position)
                if in_vain == _IN_VAIN:
                    message = f"fetching blob {blob.digest}: {problem}, for the {_IN_VAIN}th time in vain"
                    raise RegistryUnavailable(message) from problem
                await asyncio.sleep(self._retry_pause_s * 2**in_vain)

    async def _go_on(self, repository: str, blob: BlobFile, received: Callable[[int], None]) -> None:
        """One attempt at what is lacking. A registry that does not go on begins again."""
        path, asking = f"/v2/{repository}/blobs/{blob.digest}", f"fetching blob {blob.digest}"
        async with self._http.blob(path, asking=asking, size=blob.size, position=blob.position, received=received) as (
            start,
            pieces,
        ):
            if start != blob.position:
                await in_thread(blob.restart)
            async for piece in pieces:
                await in_thread(partial(blob.write, piece))
        if not blob.is_complete:
            raise Interrupted("the registry ended too early")

    async def _content(
        self, found: RegistryEnvironment, place: str, expected: BlobDescriptor, limit: int, *, accept: str
    ) -> bytes:
        """Content of a digest and size that were told before."""
        asking = f"asking for the closure of {found}"
        if expected.size > limit:
            raise ContentRejected(f"{asking}: {place} has {expected.size} bytes, more than the {limit} that are read")
        data = await self._http.read(
            f"/v2/{found.repository}/{place}",
            asking=asking,
            accept=accept,
            limit=expected.size,
            deadline_s=self._closure_timeout_s,
        )
        if Digest.of(data) != expected.digest:
            raise ContentRejected(f"{asking}: the registry sent other bytes than those of {place}")
        return data


def _index_path(asked: EnvironmentRef) -> str:
    reference = "live" if asked.generation is None else asked.generation
    return f"/v2/{_repository(asked.environment)}/manifests/{reference}"


def _repository(environment: EnvironmentName) -> str:
    owner, name = (quote(part, safe="") for part in (environment.owner, environment.name))
    return f"flox/empty/{owner}/{name}"


@contextmanager
def _rejecting(asked: object) -> Iterator[None]:
    try:
        yield
    except FormatError as problem:
        raise ContentRejected(f"{asked}: the registry's answer is none: {problem}") from problem


def _wrong_platform(index: EnvironmentIndex, system: System) -> str:
    served = ", ".join(f"linux/{architecture}" for architecture in sorted(index.manifests)) or "no platform"
    return (
        f"{index.environment}:{index.generation} cannot run on linux/{system.oci_architecture}, it is for {served}: "
        f"add {system} to options.systems in its manifest and push it again, or run the pod on another node"
    )
