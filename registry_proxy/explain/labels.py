"""What our own bytes say of themselves: a manifest by its annotations, an image's config by its variables.

Belongs here: reading either. Bytes that say nothing of the kind are none of ours, or the parts that all images share.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, read_object
from registry_proxy.images.annotations import CREATED, ENVIRONMENT, GENERATION, LOCKFILE_DIGEST

_MAX_BYTES = 16 * 1024 * 1024
_VARIABLES = {
    ENVIRONMENT: "FLOXBRIDGE_ENVIRONMENT",
    GENERATION: "FLOXBRIDGE_GENERATION",
    LOCKFILE_DIGEST: "FLOXBRIDGE_LOCKFILE",
}


@dataclass(frozen=True, slots=True)
class Labels:
    """`created` is RFC 3339. `what` is a person's word for the bytes."""

    what: str
    environment: EnvironmentName
    generation: int
    lockfile: Digest
    created: str | None

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """None for anything that has no labels of ours."""
        with suppress(FormatError, KeyError, ValueError):
            fields = Fields(
                read_object(data, what="content", max_bytes=_MAX_BYTES, error=FormatError),
                where="content",
                error=FormatError,
            )
            if fields.has("annotations"):
                return cls._of(_manifest_word(fields), fields.text_members("annotations"))
            variables = dict(text.split("=", 1) for text in fields.member("config").texts("Env"))
            word = f"image config for linux/{fields.text('architecture')}"
            labels = {key: variables[variable] for key, variable in _VARIABLES.items()}
            return cls._of(word, {**labels, CREATED: fields.text("created")})
        return None

    @classmethod
    def _of(cls, what: str, labels: Mapping[str, str]) -> Self:
        return cls(
            what,
            EnvironmentName.parse(labels[ENVIRONMENT]),
            int(labels[GENERATION]),
            Digest.parse(labels[LOCKFILE_DIGEST]),
            labels.get(CREATED),
        )


def _manifest_word(fields: Fields) -> str:
    if fields.has("manifests"):
        return "image index"
    kind = fields.text_or_none("artifactType")
    return "image manifest" if kind is None else f"artifact of type {kind}"
