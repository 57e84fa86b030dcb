"""What the registry says a reference to an environment stands for.

Belongs here: the answer as a value, with its form on the node's disk. Asking is `client.py`'s.
"""

from dataclasses import dataclass
from typing import Self

from flox_formats.digest import Digest, DigestInvalid
from flox_formats.environment import EnvironmentName, EnvironmentRefInvalid
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object

_MAX_BYTES = 64 * 1024


class RegistryEnvironmentInvalid(FormatError):
    """A document that is no remembered answer."""


@dataclass(frozen=True, slots=True)
class RegistryEnvironment:
    """One generation for one system. `manifest` is the platform manifest whose referrer is the closure artifact."""

    environment: EnvironmentName
    generation: int
    lockfile: Digest
    repository: str
    manifest: Digest

    @classmethod
    def parse(cls, data: bytes) -> Self:
        error = RegistryEnvironmentInvalid
        document = read_object(data, what="remembered environment", max_bytes=_MAX_BYTES, error=error)
        fields = Fields(document, where="remembered environment", error=error)
        try:
            return cls(
                EnvironmentName.parse(fields.text("environment")),
                fields.integer("generation"),
                Digest.parse(fields.text("lockfile")),
                fields.text("repository"),
                Digest.parse(fields.text("manifest")),
            )
        except (EnvironmentRefInvalid, DigestInvalid) as problem:
            raise error(f"remembered environment: {problem}") from problem

    def to_bytes(self) -> bytes:
        return canonical_json(
            {
                "environment": str(self.environment),
                "generation": self.generation,
                "lockfile": str(self.lockfile),
                "repository": self.repository,
                "manifest": str(self.manifest),
            }
        )

    def __str__(self) -> str:
        return f"{self.environment}:{self.generation}"
