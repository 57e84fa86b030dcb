"""What each repository holds: which digests belong to which environment, and where a NAR can be fetched.

The content store knows bytes by digest and nothing else; here is who may ask for them. One record file for each image
and each closure of an environment, `<root>/<owner>/<name>/<hex digest>.json`; all of it blocks.
"""

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, read_object
from flox_formats.url import place_of
from registry_proxy.content.durable import storage_failed, write_whole

_MAX_RECORD_BYTES = 64 * 1024 * 1024
_MAX_REMEMBERED = 50_000
"""Digests, of all environments together: one with a closure has hundreds of them, and each takes most of a kilobyte."""


class RecordInvalid(FormatError):
    """A record file that this version did not write."""


@dataclass(frozen=True, slots=True)
class NarSource:
    """`cache` is a binary cache's URL without what may be a secret, `url` a path below it; `what` tells a person whose
    NAR it is."""

    cache: str
    url: str
    what: str


@dataclass(frozen=True, slots=True)
class Holding:
    """One digest of a repository. `subject` is set on a referrer, `source` on a NAR."""

    digest: Digest
    media_type: str
    size: int
    subject: Digest | None = None
    artifact_type: str | None = None
    source: NarSource | None = None

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {"digest": str(self.digest), "mediaType": self.media_type, "size": self.size}
        if self.subject is not None:
            members |= {"subject": str(self.subject), "artifactType": self.artifact_type}
        if self.source is not None:
            members |= {"cache": self.source.cache, "url": self.source.url, "what": self.source.what}
        return members

    @classmethod
    def read(cls, fields: Fields) -> "Holding":
        subject, cache = fields.text_or_none("subject"), fields.text_or_none("cache")
        return cls(
            digest=Digest.parse(fields.text("digest")),
            media_type=fields.text("mediaType"),
            size=fields.integer("size"),
            subject=Digest.parse(subject) if subject else None,
            artifact_type=fields.text_or_none("artifactType"),
            source=NarSource(place_of(cache), fields.text("url"), fields.text("what")) if cache else None,
        )


class Holdings:
    """Memory over disk. Safe for threads."""

    def __init__(self, root: Path) -> None:
        """Raises StorageFailed."""
        self._root, self._staging, self._lock = root, root / ".staging", Lock()
        try:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
        except OSError as error:
            raise storage_failed(root, error) from error
        self._known: OrderedDict[EnvironmentName, dict[Digest, Holding]] = OrderedDict()
        self._remembered = 0

    def at_hand(self, environment: EnvironmentName) -> Mapping[Digest, Holding] | None:
        """As `of`, where that is in memory and nobody is just reading another's from the disk: does not block."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            held = self._known.get(environment)
            if held is not None:
                self._known.move_to_end(environment)
            return held
        finally:
            self._lock.release()

    def of(self, environment: EnvironmentName) -> Mapping[Digest, Holding]:
        """Everything that the environment's repository holds, as far as it was ever made here."""
        with self._lock:
            held = self._known.get(environment)
            if held is None:
                held = self._load(environment)
                self._remember(environment, held)
            else:
                self._known.move_to_end(environment)
            return held

    def add(self, environment: EnvironmentName, record: Digest, holdings: Iterable[Holding]) -> None:
        """Writes a record, named by its main digest, and remembers it. Raises StorageFailed."""
        holdings = tuple(holdings)
        folder = self._folder(environment)
        text = json.dumps([holding.to_json() for holding in holdings]).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._staging.mkdir(exist_ok=True)  # an operator may have emptied everything
            write_whole(folder / f"{record.hex}.json", b'{"holdings":' + text + b"}", staging=self._staging)
        except OSError as error:
            raise storage_failed(folder, error) from error
        held = self.of(environment)
        with self._lock:
            self._remember(environment, {**held, **{holding.digest: holding for holding in holdings}})

    def _remember(self, environment: EnvironmentName, held: dict[Digest, Holding]) -> None:
        """With the lock. What was used least recently is let go of; it is on disk."""
        self._remembered += len(held) - len(self._known.get(environment, ()))
        self._known[environment] = held
        self._known.move_to_end(environment)
        while self._remembered > _MAX_REMEMBERED and len(self._known) > 1:
            self._remembered -= len(self._known.popitem(last=False)[1])

    def _load(self, environment: EnvironmentName) -> dict[Digest, Holding]:
        held: dict[Digest, Holding] = {}
        folder = self._folder(environment)
        if not folder.is_dir():
            return held
        for entry in os.scandir(folder):
            if entry.name.endswith(".json") and not entry.name.startswith("."):
                with suppress(OSError, FormatError):  # a record can be made again; a broken one is as good as none
                    held |= {holding.digest: holding for holding in read_record(Path(entry.path))}
        return held

    def _folder(self, environment: EnvironmentName) -> Path:
        return self._root / environment.owner / environment.name


def read_record(path: Path) -> list[Holding]:
    """Raises RecordInvalid and other FormatErrors, OSError."""
    members = read_object(path.read_bytes(), what=f"record {path}", max_bytes=_MAX_RECORD_BYTES, error=RecordInvalid)
    return [Holding.read(fields) for fields in Fields(members, where="record", error=RecordInvalid).objects("holdings")]
