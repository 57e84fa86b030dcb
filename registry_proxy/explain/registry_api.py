"""One question to a registry that runs: an adapter over HTTP, and what its errors mean.

Belongs here: requests, bounds, digests that must match. Which questions are asked is in `from_registry.py`.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, read_object
from flox_formats.settings import SettingsInvalid
from flox_formats.url import HttpUrl
from registry_proxy.errors import RegistryError
from registry_proxy.images.content import INDEX, MANIFEST
from registry_proxy.images.reference import PREFIX

_MAX_BYTES = 16 * 1024 * 1024


class RegistryRefused(RegistryError):
    """The registry answered with an error; the message is its own."""


class RegistryUnreachable(RegistryError):
    """The registry did not answer, or what answered is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    data: bytes
    digest: Digest
    headers: Mapping[str, str]


class RegistryApi:
    """`http` brings the timeouts. `token` is a FloxHub token, for private environments."""

    def __init__(self, http: httpx2.Client, url: str, token: str | None) -> None:
        """Raises SettingsInvalid."""
        try:
            self.url = HttpUrl.parse_bare(url, instead="a token goes in a file, see --floxhub-token-file").place
        except SettingsInvalid as error:
            raise SettingsInvalid(f"--registry-url: {error}") from error
        self._http = http
        self._headers = {"Accept": f"{INDEX}, {MANIFEST}"}
        if token is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"oauth:{token}".encode()).decode()

    def manifest(self, environment: EnvironmentName, reference: str | Digest) -> Answer:
        """Raises RegistryRefused, RegistryUnreachable."""
        answer = self._get(f"/v2/{PREFIX}/{environment}/manifests/{reference}")
        if isinstance(reference, Digest) and answer.digest != reference:
            raise self._garbled(f"manifest {reference}")
        return answer

    def blob(self, environment: EnvironmentName, digest: Digest) -> bytes:
        """Raises RegistryRefused, RegistryUnreachable, also for what is too large to be a document."""
        answer = self._get(f"/v2/{PREFIX}/{environment}/blobs/{digest}")
        if answer.digest != digest:
            raise self._garbled(f"blob {digest}")
        return answer.data

    def tags(self, environment: EnvironmentName) -> tuple[str, ...]:
        """Raises RegistryRefused, RegistryUnreachable."""
        return self._document(f"/v2/{PREFIX}/{environment}/tags/list").texts("tags")

    def referrers(self, environment: EnvironmentName, digest: Digest, artifact_type: str) -> list[Digest]:
        """The digests of the artifacts of a type. Raises RegistryRefused, RegistryUnreachable."""
        path = f"/v2/{PREFIX}/{environment}/referrers/{digest}?artifactType={artifact_type}"
        listed = self._document(path).objects("manifests")
        return [Digest.parse(it.text("digest")) for it in listed if it.text_or_none("artifactType") == artifact_type]

    def _document(self, path: str) -> Fields:
        try:
            document = read_object(self._get(path).data, what=path, max_bytes=_MAX_BYTES, error=FormatError)
        except FormatError as problem:
            raise self._garbled(str(problem)) from problem
        return Fields(document, where=path, error=FormatError)

    def _get(self, path: str) -> Answer:
        try:
            with self._http.stream("GET", self.url + path, headers=self._headers) as response:
                data = b""
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > _MAX_BYTES:
                        raise RegistryRefused(f"{path} is over {_MAX_BYTES} bytes: a package file, and no document")
        except httpx2.HTTPError as error:
            slow = isinstance(error, httpx2.TimeoutException)
            problem = "did not answer in time" if slow else f"cannot be reached: {error or type(error).__name__}"
            raise RegistryUnreachable(f"registry {self.url} {problem}") from error
        if response.status_code != 200:
            raise RegistryRefused(f"registry {self.url}: {_sentence(response, data)}")
        return Answer(data, Digest.of(data), response.headers)

    def _garbled(self, what: str) -> RegistryUnreachable:
        return RegistryUnreachable(f"registry {self.url} sent something else for {what}: is it a registry?")


def _sentence(response: httpx2.Response, data: bytes) -> str:
    """The registry's own, and where its log says more."""
    try:
        message = str(json.loads(data)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        message = "it does not say why"
    request_id = response.headers.get("x-request-id")
    return f"HTTP {response.status_code}: {message}" + (f" (request {request_id})" if request_id else "")
