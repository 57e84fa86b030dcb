"""Explaining from the state directory of a registry: what it made or served, without asking anyone.

Belongs here: searching records, and reading what they name. Nothing is written, so that a registry may run meanwhile;
all of it blocks. The layout is that of `content/store.py`, `content/holdings.py` and `floxhub/snapshot.py`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flox_formats.digest import Digest, DigestInvalid
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.lockfile import Lockfile
from registry_proxy.content.holdings import Holding, read_record
from registry_proxy.content.store import place
from registry_proxy.errors import EnvironmentUnusable, ManifestUnknown, StorageFailed
from registry_proxy.explain.asked_image import AskedImage
from registry_proxy.explain.evidence import Event, Evidence, NotExplained, Previous
from registry_proxy.explain.labels import Labels
from registry_proxy.floxhub.snapshot import Snapshot
from registry_proxy.floxhub.snapshots import newest_kept
from registry_proxy.images.artifact import EMPTY_CONFIG
from registry_proxy.images.content import INDEX, LAYER, LOCKFILE
from registry_proxy.images.reference import PREFIX, GenerationTag, parse_tag

_SHARED = (LAYER, EMPTY_CONFIG.media_type)


@dataclass(frozen=True, slots=True)
class _Record:
    """What a registry once made: an image, or something that refers to one. `labels` are of its manifest."""

    digest: Digest
    environment: EnvironmentName
    holdings: tuple[Holding, ...]
    labels: Labels

    def holding(self, digest: Digest) -> Holding | None:
        return next((it for it in self.holdings if it.digest == digest), None)

    @property
    def is_image(self) -> bool:
        return any(holding.digest == self.digest and holding.media_type == INDEX for holding in self.holdings)


class FromState:
    def __init__(self, state_dir: Path) -> None:
        """Raises StorageFailed where no registry ever ran."""
        self._content, self._floxhub = state_dir / "content", state_dir / "floxhub"
        self._records, self._name = state_dir / "repositories", f"the registry's state in {state_dir}"
        if not self._floxhub.is_dir():
            raise StorageFailed(f"no registry keeps its state in {state_dir}: --state-dir names another folder")

    def explain(self, asked: AskedImage) -> Evidence:
        """Raises NotExplained, ManifestUnknown, StorageFailed."""
        try:
            return self._with_tag(asked) if asked.digest is None else self._with_digest(asked, asked.digest)
        except OSError as problem:
            raise StorageFailed(f"{self._name} cannot be read: {problem}") from problem

    def _with_digest(self, asked: AskedImage, digest: Digest) -> Evidence:
        found = [it for it in self._all_records(str(digest)) if _is_asked(asked, it) and it.holding(digest)]
        if not found:
            where = "" if asked.environment is None else f" for {asked.environment}"
            raise NotExplained(f"{self._name} has nothing with {digest}{where}: another registry may have served it")
        holding = found[0].holding(digest)
        assert holding is not None
        if holding.media_type in _SHARED:
            raise NotExplained(f"{digest} is a part that all environment images share: it belongs to none of them")
        images = {(it.environment, it.labels.generation, it.labels.lockfile): it for it in found}
        first, *others = sorted(images, key=lambda key: (key[0], -key[1]))
        evidence = self._evidence(images[first], self._what(holding, images[first]))
        return replace(evidence, others=tuple(f"{PREFIX}/{environment}:{number}" for environment, number, _ in others))

    def _with_tag(self, asked: AskedImage) -> Evidence:
        assert asked.environment is not None
        tag, snapshot = parse_tag(asked.tag), newest_kept(self._floxhub, asked.environment)
        if snapshot is None:
            raise NotExplained(f"{self._name} has never asked for {asked.environment}")
        generation = snapshot.generation(tag.number) if isinstance(tag, GenerationTag) else snapshot.live()
        for record in self._records_of(snapshot.environment):
            if record.is_image and record.labels.generation == generation.number:
                return self._evidence(record, "image index")
        raise NotExplained(f"{self._name} never made an image of generation {generation.number} of {asked.environment}")

    def _evidence(self, record: _Record, what: str) -> Evidence:
        snapshot, missing = newest_kept(self._floxhub, record.environment), list[str]()
        if snapshot is not None and not _has(snapshot, record.labels):
            missing.append("its place in the history: the environment was rewritten since")
            snapshot = None
        number = record.labels.generation
        return Evidence(
            source=self._name,
            what=what,
            environment=record.environment,
            generation=number,
            created=record.labels.created,
            index=self._index(record),
            lockfile=self._lockfile(record.labels, missing),
            is_live=None if snapshot is None else snapshot.generations.live == number,
            history=() if snapshot is None else tuple(map(Event.of, snapshot.generations.history)),
            previous=None if snapshot is None else _previous(snapshot, number, missing),
            missing=tuple(missing),
        )

    def _index(self, record: _Record) -> Digest | None:
        """Of the image that the record is, or is about."""
        if record.is_image:
            return record.digest
        same = (record.labels.generation, record.labels.lockfile)
        images = (it for it in self._records_of(record.environment) if it.is_image)
        return next((it.digest for it in images if (it.labels.generation, it.labels.lockfile) == same), None)

    def _lockfile(self, labels: Labels, missing: list[str]) -> Lockfile | None:
        data = self._read(labels.lockfile)
        if data is None:
            missing.append(f"packages: the lockfile {labels.lockfile} is gone from the content store")
            return None
        return Lockfile.parse(data)

    def _what(self, holding: Holding, record: _Record) -> str:
        if holding.source is not None:
            return f"package file: {holding.source.what}"
        labels = Labels.read(self._read(holding.digest) or b"")
        if labels is not None:
            return labels.what
        return "lockfile" if holding.media_type == LOCKFILE else f"{holding.media_type} of {record.labels.what}"

    def _all_records(self, text: str) -> Iterator[_Record]:
        """Those with `text` in them."""
        for path in sorted(self._records.glob("*/*/*.json")):
            yield from self._record(path, text)

    def _records_of(self, environment: EnvironmentName) -> Iterator[_Record]:
        for path in sorted((self._records / environment.owner / environment.name).glob("*.json")):
            yield from self._record(path, "")

    def _record(self, path: Path, text: str) -> Iterator[_Record]:
        """None for a record without `text`, or one that this version did not write: it can be made again."""
        with suppress(FormatError, DigestInvalid):
            if text.encode() not in path.read_bytes():
                return
            digest = Digest.parse(f"sha256:{path.stem}")
            labels = Labels.read(self._read(digest) or b"")
            if labels is not None:
                environment = EnvironmentName(path.parent.parent.name, path.parent.name)
                yield _Record(digest, environment, tuple(read_record(path)), labels)

    def _read(self, digest: Digest) -> bytes | None:
        with suppress(FileNotFoundError):
            return place(self._content, digest).read_bytes()
        return None


def _is_asked(asked: AskedImage, record: _Record) -> bool:
    """OCI names are lower case, FloxHub's are not."""
    return asked.environment is None or str(asked.environment).lower() == str(record.environment).lower()


def _has(snapshot: Snapshot, labels: Labels) -> bool:
    """Whether the generation is still what it was when the image was made."""
    try:
        return snapshot.lockfile(labels.generation).digest == labels.lockfile
    except (EnvironmentUnusable, ManifestUnknown):
        return False


def _previous(snapshot: Snapshot, number: int, missing: list[str]) -> Previous | None:
    parent = snapshot.generation(number).parent
    if parent is None:
        return None
    try:
        return Previous(parent, snapshot.lockfile(parent))
    except EnvironmentUnusable as problem:
        missing.append(f"what changed: {problem}")
        return None
