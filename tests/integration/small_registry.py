"""A small honest registry on a real port, in the test's own event loop, that can also cut, lie, hold and refuse.

It knows the four routes that a node uses, and serves bytes by their path. What it serves is made by `Generation`.
"""

import asyncio
import bz2
import gzip
import json
import lzma
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from flox_formats.closure import ARTIFACT_TYPE, MEDIA_TYPE, ClosureDocument, ClosurePath, ClosureRoot
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.json_document import canonical_json
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import Compression, path_fingerprint
from flox_formats.signature import SecretKey
from flox_formats.store_path import StorePath
from flox_formats.system import System
from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.registry_rig import lock_of
from tests.unit.nar_trees import File, Tree, nar

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LOCKFILE = "application/vnd.flox.lockfile.v1+json"
SYSTEM = System.X86_64_LINUX
KEY = SecretKey.generate("test-1")
_RANGE = re.compile(rb"\r\nrange: bytes=([0-9]+)-\r\n", re.IGNORECASE)

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.NONE: bytes,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: zstd.compress,
    Compression.BZIP2: bz2.compress,
    Compression.GZIP: gzip.compress,
}


@dataclass(frozen=True)
class Package:
    """A store path and the blob it comes by."""

    path: ClosurePath
    blob: bytes

    @property
    def store_path(self) -> StorePath:
        return self.path.store_path

    @classmethod
    def make(
        cls,
        name: str,
        tree: Tree | bytes,
        references: Iterable[StorePath] = (),
        *,
        compression: Compression = Compression.XZ,
        key: SecretKey | None = KEY,
        content_addressed: bool = False,
    ) -> "Package":
        """Of a tree, or of the bytes that stand for a NAR."""
        data = tree if isinstance(tree, bytes) else nar(tree)
        nar_hash, sorted_references = Digest.of(data), tuple(sorted(references))
        store_path = StorePath.content_addressed(name, nar_hash, sorted_references)
        fingerprint = path_fingerprint(store_path, nar_hash, len(data), sorted_references)
        blob = COMPRESS[compression](data)
        path = ClosurePath(
            store_path=store_path,
            nar_hash=nar_hash,
            nar_size=len(data),
            references=sorted_references,
            signatures=() if key is None else (key.sign(fingerprint),),
            content_address=f"fixed:r:{nar_hash.to_nix()}" if content_addressed else None,
            blob=Digest.of(blob),
            blob_size=len(blob),
            compression=compression,
        )
        return cls(path, blob)

    def promising(self, **other: object) -> "Package":
        """The same blob, with something else said of it; signed anew, so that only the content gives it away."""
        path = replace(self.path, **other)  # type: ignore[arg-type]
        fingerprint = path_fingerprint(path.store_path, path.nar_hash, path.nar_size, path.references)
        return replace(self, path=replace(path, signatures=(KEY.sign(fingerprint),)))


def program(name: str, text: str = "", size: int = 0) -> Tree:
    """A package with one program; `size` bytes of it do not compress to nothing."""
    filling = b"".join(bytes.fromhex(Digest.of(f"{name} {n}".encode()).hex) for n in range(size // 32))
    return {b"bin": {name.encode(): File(f"#!/bin/sh\necho {name} {text}\n".encode() + filling, executable=True)}}


@dataclass(frozen=True)
class Generation:
    """One generation, as documents. Everything that could be wrong can be replaced."""

    environment: EnvironmentName
    number: int
    packages: Sequence[Package]
    roots: Sequence[Package] = ()
    lock: bytes = b""
    members: dict[str, object] = field(default_factory=dict)
    """Of the closure artifact's manifest, in place of the right ones."""

    @property
    def lockfile(self) -> Lockfile:
        roots = self.roots or self.packages
        return Lockfile.parse(self.lock or lock_of(*(package.store_path for package in roots)))

    @property
    def document(self) -> ClosureDocument:
        """Of the paths that were pushed, whatever the lockfile says."""
        paths = tuple(sorted((package.path for package in self.packages), key=lambda path: path.store_path))
        listed, served = {path.store_path for path in paths}, SYSTEM in self.lockfile.linux_systems()
        outputs = [
            each for each in (self.lockfile.selected_outputs(SYSTEM) if served else ()) if each.store_path in listed
        ]
        roots = (ClosureRoot(each.install_id, each.output, each.store_path, each.priority) for each in outputs)
        return ClosureDocument(SYSTEM, tuple(roots), paths)

    @property
    def platform_manifest(self) -> bytes:
        members = {"schemaVersion": 2, "mediaType": MANIFEST, "annotations": self._annotations}
        return canonical_json(members)

    @property
    def index(self) -> bytes:
        manifest = descriptor(MANIFEST, self.platform_manifest)
        platform = {"architecture": "amd64", "os": "linux"}
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "annotations": self._annotations,
                "manifests": [{**manifest, "platform": platform}],
            }
        )

    @property
    def artifact(self) -> bytes:
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": ARTIFACT_TYPE,
                "subject": descriptor(MANIFEST, self.platform_manifest),
                "config": descriptor(MEDIA_TYPE, self.document.to_bytes()),
                "layers": [descriptor(LOCKFILE, self.lockfile.data)],
                **self.members,
            }
        )

    @property
    def blobs(self) -> list[bytes]:
        return [self.document.to_bytes(), self.lockfile.data, *(package.blob for package in self.packages)]

    @property
    def _annotations(self) -> dict[str, str]:
        return {
            "dev.flox.environment": str(self.environment),
            "dev.flox.generation": str(self.number),
            "dev.flox.lockfile": str(self.lockfile.digest),
        }


def descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


@dataclass
class Fault:
    """What is done to an answer, for the next `times` requests of a path; a Fault that does nothing is an answer.

    `hold` is waited for after `cut` bytes, or before anything is sent; without it the connection breaks there. With
    `chunked` the length is not told ahead, and a `cut` is where the chunk ends.
    """

    times: int = 1_000_000
    status: int | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    hold: asyncio.Event | None = None
    ranges: bool = True
    chunked: bool = False


class SmallRegistry:
    """`requests` are the paths asked, `held` is set when an answer waits, `holds` is how often one did."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.private: dict[str, FloxHubToken] = {}
        """The one token that is shown an environment, by the environment's name."""
        self.requests: list[str] = []
        self.heads: list[bytes] = []
        self.held = asyncio.Event()
        self.holds = 0
        self._changed = asyncio.Condition()
        self.url = ""

    def push(self, environment: str, number: int, *packages: Package, **more: object) -> Generation:
        """Makes it the live one."""
        generation = Generation(EnvironmentName.parse(environment), number, packages, **more)  # type: ignore[arg-type]
        repository = f"/v2/flox/empty/{environment}"
        manifest = Digest.of(generation.platform_manifest)
        self.contents[f"{repository}/manifests/live"] = generation.index
        self.contents[f"{repository}/manifests/{number}"] = generation.index
        self.contents[f"{repository}/manifests/{Digest.of(generation.artifact)}"] = generation.artifact
        referrer = {**descriptor(MANIFEST, generation.artifact), "artifactType": ARTIFACT_TYPE}
        self.contents[f"{repository}/referrers/{manifest}"] = canonical_json(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer]}
        )
        for blob in generation.blobs:
            self.contents[f"{repository}/blobs/{Digest.of(blob)}"] = blob
        return generation

    def fail(self, what: str | Package, fault: Fault) -> None:
        """For the path that ends so, or for the blob of a package."""
        self.faults[what if isinstance(what, str) else f"/blobs/{what.path.blob}"] = fault

    def blob_requests(self, *packages: Package) -> Counter[str]:
        """How often each of these was asked for."""
        blobs = {str(package.path.blob) for package in packages}
        return Counter(path.rpartition("/")[2] for path in self.requests if path.rpartition("/")[2] in blobs)

    async def until_held(self, times: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.holds >= times)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode().partition("?")[0]
                self.requests.append(path)
                self.heads.append(head)
                await self._answer(path, head, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the client, or the test, is done
        finally:
            writer.close()

    async def _answer(self, path: str, head: bytes, writer: asyncio.StreamWriter) -> None:
        fault = self._fault(path)
        is_shown = path in self.contents and self._may_see(path, head)
        data, status = self.contents[path] if is_shown else b"", 200 if is_shown else 404
        if status == 404:
            data = json.dumps({"errors": [{"code": "UNKNOWN", "message": f"nobody knows {path}"}]}).encode()
        headers = {"Docker-Content-Digest": str(Digest.of(data))} if is_shown else {}
        match = _RANGE.search(head)
        if status == 200 and match is not None and fault.ranges:
            start = int(match.group(1))
            if start < len(data):
                status, headers["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
            else:
                status, headers["Content-Range"] = 416, f"bytes */{len(data)}"
            data = data[start:]
        data = data if fault.body is None else fault.body
        headers |= {"Content-Length": str(len(data)), **fault.headers}
        if fault.chunked:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {fault.status or status} X", *(f"{name}: {value}" for name, value in headers.items())]
        head_bytes = "\r\n".join([*lines, "\r\n"]).encode()
        if head.startswith(b"HEAD "):
            data = b""
        if fault.hold is None and fault.cut is None:
            writer.write(head_bytes + data)
            return await writer.drain()
        if fault.cut is None and fault.hold is not None:
            await self._hold(fault.hold)
            writer.write(head_bytes + data)
            return await writer.drain()
        begun = data[: fault.cut]
        writer.write(head_bytes + (b"%x\r\n%b\r\n" % (len(begun), begun) if fault.chunked else begun))
        await writer.drain()
        if fault.hold is None:
            raise ConnectionAbortedError
        await self._hold(fault.hold)
        writer.write(data[fault.cut :])
        return await writer.drain()

    async def _hold(self, until: asyncio.Event) -> None:
        self.held.set()
        self.holds += 1
        async with self._changed:
            self._changed.notify_all()
        await until.wait()

    def _may_see(self, path: str, head: bytes) -> bool:
        for environment, token in self.private.items():
            if path.startswith(f"/v2/flox/empty/{environment}/"):
                return f"\r\nauthorization: {token.authorization}\r\n".lower().encode() in head.lower()
        return True

    def _fault(self, path: str) -> Fault:
        for suffix, fault in self.faults.items():
            if path.endswith(suffix) and fault.times:
                fault.times -= 1
                return fault
        return Fault()
