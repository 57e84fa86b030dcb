"""What a reference means now: which generation and digest, since when, and who says so.

Belongs here: the value, and how it looks. Asking is in `from_registry.py`, or what the registry itself does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from registry_proxy.explain.evidence import Event, made
from registry_proxy.images.annotations import rfc3339
from registry_proxy.images.reference import PREFIX
from registry_proxy.repositories.environments import TaggedImage


@dataclass(frozen=True, slots=True)
class Resolved:
    """`source` is the environment's web page. `answered_by` gave the answer `age_s` seconds after FloxHub confirmed it.

    `history` is oldest first and ends with what made the generation live or not; it may be empty.
    """

    environment: EnvironmentName
    generation: int
    is_live: bool | None
    created: str | None
    index: Digest
    lockfile: Digest
    platforms: Mapping[str, str]
    source: str | None
    commit: str | None
    history: tuple[Event, ...]
    answered_by: str
    outcome: str | None
    age_s: int | None
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """What is not known is null, and `missing` says why."""
        event = made(self.history, self.generation)
        return {
            "environment": str(self.environment),
            "generation": self.generation,
            "live": self.is_live,
            "live_since": self._live_since,
            "created": self.created,
            "author": event.author if event else None,
            "digest": str(self.index),
            "image": self._image,
            "lockfile": str(self.lockfile),
            "platforms": dict(self.platforms),
            "source": self.source,
            "commit": self.commit,
            "answered_by": self.answered_by,
            "outcome": self.outcome,
            "age_s": self.age_s,
            "missing": list(self.missing),
        }

    def to_text(self) -> str:
        facts = self.to_json()
        lines = [f"{self.environment} generation {self.generation}{' (live)' if self.is_live else ''}"]
        keys = ("created", "author", "live_since", "image", "lockfile", "source")
        lines += [f"  {key.replace('_', ' '):<11} {facts[key]}" for key in keys if facts[key] is not None]
        asked = "" if self.outcome is None else f" ({self.outcome}, FloxHub confirmed it {self.age_s or 0} s ago)"
        lines.append(f"  {'answered by':<11} {self.answered_by}{asked}")
        lines += [f"  not known   {sentence}" for sentence in self.missing]
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)

    @property
    def _image(self) -> str:
        return f"{PREFIX}/{self.environment}@{self.index}"

    @property
    def _live_since(self) -> str | None:
        return self.history[-1].time if self.is_live and self.history else None


def from_tagged(tagged: TaggedImage, answered_by: str) -> Resolved:
    image, resolution = tagged.image, tagged.resolution
    generations = resolution.snapshot.generations
    return Resolved(
        environment=image.environment,
        generation=image.generation.number,
        is_live=generations.live == image.generation.number,
        created=rfc3339(image.generation.created),
        index=image.index.digest,
        lockfile=image.lockfile.digest,
        platforms={system.oci_platform: str(manifest.digest) for system, manifest in image.manifests.items()},
        source=image.page,
        commit=resolution.snapshot.commit,
        history=tuple(map(Event.of, generations.history)),
        answered_by=answered_by,
        outcome=resolution.outcome,
        age_s=int(resolution.age_s),
    )
