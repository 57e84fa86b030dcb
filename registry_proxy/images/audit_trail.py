"""The audit trail of a generation: who made it, who made it live, when, and by which command.

Belongs here: which entries of an environment's history, and their bytes. A trail is the history up to the last entry
about the generation: the one that made it, or one that switched to it or away from it. So it says how the generation
came about as well, and so its digest changes when, and only when, something more happens to the generation. As a
history only grows, every trail that ever was can be made again from a later history: it is a beginning of it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from flox_formats.digest import Digest
from flox_formats.history import HistoryEntry
from flox_formats.json_document import canonical_json
from registry_proxy.images.annotations import rfc3339
from registry_proxy.images.artifact import Artifact
from registry_proxy.images.content import Descriptor
from registry_proxy.images.environment_image import EnvironmentImage

ARTIFACT_TYPE = "application/vnd.floxbridge.audit-trail.v1"
MEDIA_TYPE = "application/vnd.floxbridge.audit-trail.v1+jsonl"


class AuditTrails:
    """The trails of an environment's generations. `history` is oldest first."""

    def __init__(self, history: Sequence[HistoryEntry]) -> None:
        self._history = history

    def artifact(self, image: EnvironmentImage) -> Artifact:
        """The trail of the image's generation as it is now."""
        return next(self.artifacts(image))

    def artifacts(self, image: EnvironmentImage, *, among_last: int | None = None) -> Iterator[Artifact]:
        """Every trail that the image's generation ever had, newest first; with `among_last`, of those that ended with
        one of the history's last so many entries."""
        end = len(self._history)
        oldest = 0 if among_last is None else max(0, end - among_last)
        for position in range(end - 1, oldest - 1, -1):
            entry = self._history[position]
            if image.generation.number in (entry.current_generation, entry.previous_generation):
                file = _Beginning(self._lines, position + 1, *self._sums[position])
                yield Artifact.about(image, ARTIFACT_TYPE, file, title="audit-trail.jsonl", created=entry.timestamp)

    @cached_property
    def _lines(self) -> list[bytes]:
        return [_line(entry) for entry in self._history]

    @cached_property
    def _sums(self) -> list[tuple[Digest, int]]:
        """Digest and size of each beginning, by going through the history once: there may be many, and long ones."""
        hashed, size, sums = hashlib.sha256(), 0, []
        for line in self._lines:
            hashed.update(line)
            size += len(line)
            sums.append((Digest(hashed.copy().hexdigest()), size))
        return sums


@dataclass(frozen=True)
class _Beginning:
    """The file of a trail: the first `count` of a history's lines, which are put together when they are wanted."""

    lines: Sequence[bytes]
    count: int
    digest: Digest
    size: int
    media_type: str = MEDIA_TYPE

    @property
    def data(self) -> bytes:
        return b"".join(self.lines[: self.count])

    def descriptor(self, **more: object) -> Descriptor:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size, **more}


def _line(entry: HistoryEntry) -> bytes:
    """`generation` was live afterwards, `previousGeneration` before; `command` is an argv, or null."""
    members = {
        "time": rfc3339(entry.timestamp),
        "author": entry.author,
        "hostname": entry.hostname,
        "command": None if entry.command is None else list(entry.command),
        "kind": entry.kind,
        "summary": entry.summary,
        "generation": entry.current_generation,
        "previousGeneration": entry.previous_generation,
    }
    return canonical_json(members) + b"\n"
