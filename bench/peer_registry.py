"""The peer: Debian's docker-registry with its files in a folder, and what is pushed to it.

Belongs here: starting it as its package configures it, less the log, and pushing. What is asked of it is the
benchmarks' business. Source: https://distribution.github.io/distribution/about/configuration/
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench.benchmark import BenchmarkFailed, find_program
from bench.listening import free_address, wait_until_up
from flox_formats.digest import Digest
from floxbridge_demo.program import Program
from floxbridge_demo.workplace import Workplace

MANIFEST_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json")
ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}

_CHUNK_BYTES = 1024 * 1024
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class PeerRegistry:
    program: Program
    url: str

    def push_file(self, repository: str, file: Path) -> Digest:
        with file.open("rb") as data:
            digest = Digest(hashlib.file_digest(data, "sha256").hexdigest())
        with httpx2.Client(base_url=self.url, timeout=_TIMEOUT_S) as http, file.open("rb") as data:
            pieces = iter(lambda: data.read(_CHUNK_BYTES), b"")
            self._push_blob(http, repository, digest, pieces)
        return digest

    def push_bytes(self, repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        with httpx2.Client(base_url=self.url, timeout=_TIMEOUT_S) as http:
            self._push_blob(http, repository, digest, iter([data]))
        return digest

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        answer = httpx2.put(url, content=data, headers={"Content-Type": media_type}, timeout=_TIMEOUT_S)
        _require(answer, 201)

    def copy(self, source: str, repository: str, tag: str) -> None:
        """Copies an image with all of its platforms from the repository at the URL `source`, under the same tag."""
        with httpx2.Client(timeout=_TIMEOUT_S, headers=ACCEPT) as http:
            index = _got(http, f"{source}/manifests/{tag}")
            for descriptor in json.loads(index)["manifests"]:
                manifest = _got(http, f"{source}/manifests/{descriptor['digest']}")
                image = json.loads(manifest)
                for blob in (image["config"], *image["layers"]):
                    data = _got(http, f"{source}/blobs/{blob['digest']}")
                    self._push_blob(http, repository, Digest.parse(blob["digest"]), iter([data]))
                self.push_manifest(repository, descriptor["digest"], manifest, MANIFEST_TYPES[1])
            self.push_manifest(repository, tag, index, MANIFEST_TYPES[0])

    def _push_blob(self, http: httpx2.Client, repository: str, digest: Digest, pieces: Iterator[bytes]) -> None:
        if http.head(f"{self.url}/v2/{repository}/blobs/{digest}").status_code == 200:
            return
        begun = http.post(f"{self.url}/v2/{repository}/blobs/uploads/")
        _require(begun, 202)
        place = httpx2.URL(begun.headers["Location"]).copy_merge_params({"digest": str(digest)})
        _require(http.put(place, content=pieces, headers={"Content-Type": "application/octet-stream"}), 201)


@contextmanager
def running_peer_registry(workplace: Workplace) -> Iterator[PeerRegistry]:
    """docker-registry on a port that was free a moment ago. Raises ProgramFailed, BenchmarkFailed."""
    address = free_address()
    config = workplace.path("peer-registry.yml")
    config.write_text(_config(address, workplace.path("peer-registry")))
    command = [find_program("docker-registry") or "docker-registry", "serve", str(config)]
    log = workplace.path("logs", "docker-registry.log")
    with Program("docker-registry", command, log=log, environment=workplace.environment) as program:
        peer = PeerRegistry(program, f"http://{address}")
        wait_until_up(program, f"{peer.url}/v2/")
        yield peer


def _config(address: str, folder: Path) -> str:
    """JSON is YAML. As Debian's package has it, less authentication, deletion and a log line a request."""
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"cache": {"blobdescriptor": "inmemory"}, "filesystem": {"rootdirectory": str(folder)}},
            "http": {"addr": address, "headers": {"X-Content-Type-Options": ["nosniff"]}},
        }
    )


def _got(http: httpx2.Client, url: str) -> bytes:
    answer = http.get(url)
    _require(answer, 200)
    return bytes(answer.content)


def _require(answer: httpx2.Response, status: int) -> None:
    if answer.status_code != status:
        asked = f"{answer.request.method} {answer.request.url}"
        raise BenchmarkFailed(f"{asked} answered {answer.status_code}, not {status}: {answer.text[:300]}")
