"""Annotations: the keys that this registry writes, and how their values are written.

Keys of OCI: https://github.com/opencontainers/image-spec/blob/main/annotations.md
"""

from datetime import UTC, datetime

ENVIRONMENT, GENERATION, LOCKFILE_DIGEST = "dev.flox.environment", "dev.flox.generation", "dev.flox.lockfile"
PLATFORM = "dev.flox.platform"
"""`linux/amd64`: on an artifact that refers to the index and is about one of its platforms."""

CREATED, TITLE = "org.opencontainers.image.created", "org.opencontainers.image.title"
VERSION, SOURCE = "org.opencontainers.image.version", "org.opencontainers.image.source"


def rfc3339(seconds: int) -> str:
    """A time given in Unix seconds, up to the year 9999."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
