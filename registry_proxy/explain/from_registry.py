"""Explaining by asking a registry that runs, over the API that every client has.

Belongs here: which questions, and what their answers add up to. One question is in `registry_api.py`.
"""

from contextlib import suppress

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.errors import FormatError
from flox_formats.history import SWITCH
from flox_formats.json_document import Fields, read_object
from flox_formats.lockfile import Lockfile
from registry_proxy.explain.asked_image import AskedImage
from registry_proxy.explain.evidence import Event, Evidence, NotExplained, Previous, made
from registry_proxy.explain.labels import Labels
from registry_proxy.explain.registry_api import RegistryApi, RegistryRefused
from registry_proxy.explain.resolved import Resolved
from registry_proxy.images import audit_trail
from registry_proxy.images.annotations import SOURCE

_MAX_BYTES = 4 * 1024 * 1024


class FromRegistry:
    """What a registry does not say is `missing`, with its reason."""

    def __init__(self, api: RegistryApi) -> None:
        self._api, self._name = api, f"the registry at {api.url}"

    def explain(self, asked: AskedImage) -> Evidence:
        """`asked` names an environment. Raises NotExplained, RegistryRefused, RegistryUnreachable."""
        assert asked.environment is not None
        labels, index = self._identify(asked, asked.environment)
        missing = list[str]()
        history = self.history(labels.environment, index, missing) if index is not None else ()
        return Evidence(
            source=self._name,
            what=labels.what,
            environment=labels.environment,
            generation=labels.generation,
            created=labels.created,
            index=index,
            lockfile=self._lockfile(labels, missing),
            is_live=self._is_live(labels, missing),
            history=history,
            previous=self._previous(labels, history, missing),
            missing=tuple(missing),
        )

    def resolve(self, ref: EnvironmentRef) -> Resolved:
        """What a tag means to the registry. Raises NotExplained, RegistryRefused, RegistryUnreachable."""
        answer = self._api.manifest(ref.environment, str(ref.generation or "live"))
        labels, missing = self._labels(answer.data, None), list[str]()
        index = _fields(answer.data)
        platforms = {
            f"{it.member('platform').text('os')}/{it.member('platform').text('architecture')}": it.text("digest")
            for it in index.objects("manifests")
        }
        age = answer.headers.get("age", "")
        return Resolved(
            environment=labels.environment,
            generation=labels.generation,
            is_live=True if ref.generation is None else self._is_live(labels, missing),
            created=labels.created,
            index=answer.digest,
            lockfile=labels.lockfile,
            platforms=platforms,
            source=index.text_members("annotations").get(SOURCE),
            commit=None,
            history=self.history(labels.environment, answer.digest, missing),
            answered_by=self._api.url,
            outcome=answer.headers.get("floxbridge-resolution"),
            age_s=int(age) if age.isdecimal() else None,
            missing=tuple(missing),
        )

    def history(self, environment: EnvironmentName, index: Digest, missing: list[str]) -> tuple[Event, ...]:
        """The audit trail of an image; empty where there is none, and then `missing` says why."""
        try:
            trails = self._api.referrers(environment, index, audit_trail.ARTIFACT_TYPE)
            if trails:
                trail = self._api.manifest(environment, trails[0])
                (file,) = _fields(trail.data).objects("layers")
                lines = self._api.blob(environment, Digest.parse(file.text("digest"))).splitlines()
                return tuple(_event(_fields(line)) for line in lines)
            missing.append(f"history: {self._name} has no audit trail for the image")
        except (RegistryRefused, FormatError) as problem:
            missing.append(f"history: {problem}")
        return ()

    def _identify(self, asked: AskedImage, environment: EnvironmentName) -> tuple[Labels, Digest | None]:
        """What the asked bytes say of themselves, and the digest of the image that they belong to."""
        if asked.digest is None:
            answer = self._api.manifest(environment, asked.tag)
            return self._labels(answer.data, asked), answer.digest
        try:
            data = self._api.manifest(environment, asked.digest).data
        except RegistryRefused:
            data = self._api.blob(environment, asked.digest)
        labels = Labels.read(data) or self._of_lockfile(environment, asked.digest)
        if labels is None:
            raise NotExplained(f"{asked}: {self._name} has it, and it does not say what it belongs to")
        return labels, asked.digest if labels.what == "image index" else self._index(labels)

    def _index(self, labels: Labels) -> Digest | None:
        """Of the generation's image, where the number still means what it did."""
        with suppress(RegistryRefused):
            answer = self._api.manifest(labels.environment, str(labels.generation))
            found = Labels.read(answer.data)
            if found is not None and found.lockfile == labels.lockfile:
                return answer.digest
        return None

    def _of_lockfile(self, environment: EnvironmentName, digest: Digest) -> Labels | None:
        """The newest generation with the lockfile `digest`: a lockfile does not say which it belongs to."""
        numbers = sorted((int(tag) for tag in self._api.tags(environment) if tag.isdecimal()), reverse=True)
        for number in numbers:
            with suppress(RegistryRefused):
                labels = Labels.read(self._api.manifest(environment, str(number)).data)
                if labels is not None and labels.lockfile == digest:
                    return Labels("lockfile", labels.environment, labels.generation, digest, labels.created)
        return None

    def _lockfile(self, labels: Labels, missing: list[str]) -> Lockfile | None:
        try:
            return Lockfile.parse(self._api.blob(labels.environment, labels.lockfile))
        except (RegistryRefused, FormatError) as problem:
            missing.append(f"packages: {problem}")
            return None

    def _is_live(self, labels: Labels, missing: list[str]) -> bool | None:
        try:
            live = Labels.read(self._api.manifest(labels.environment, "live").data)
        except RegistryRefused as problem:
            missing.append(f"whether it is live: {problem}")
            return None
        return live is not None and (live.generation, live.lockfile) == (labels.generation, labels.lockfile)

    def _previous(self, labels: Labels, history: tuple[Event, ...], missing: list[str]) -> Previous | None:
        event = made(history, labels.generation)
        if event is None or event.previous is None:
            return None
        try:
            before = self._labels(self._api.manifest(labels.environment, str(event.previous)).data, None)
            return Previous(event.previous, Lockfile.parse(self._api.blob(before.environment, before.lockfile)))
        except (RegistryRefused, FormatError) as problem:
            missing.append(f"what changed: {problem}")
            return None

    def _labels(self, data: bytes, asked: AskedImage | None) -> Labels:
        labels = Labels.read(data)
        if labels is None:
            raise NotExplained(f"{asked or 'the manifest'} of {self._name} is not an image of floxbridge")
        return labels


def _fields(data: bytes) -> Fields:
    document = read_object(data, what="the registry's answer", max_bytes=_MAX_BYTES, error=FormatError)
    return Fields(document, where="the registry's answer", error=FormatError)


def _event(fields: Fields) -> Event:
    """A line of `images/audit_trail.py`."""
    return Event(
        time=fields.text("time"),
        author=fields.text("author"),
        hostname=fields.text("hostname"),
        command=fields.texts("command") if fields.has("command") else None,
        summary=fields.text("summary"),
        generation=fields.integer("generation"),
        previous=fields.integer_or_none("previousGeneration"),
        makes_generation=fields.text("kind") != SWITCH,
    )
