"""Artifacts of one file, and audit trails: their manifests, and which entries of a history are in which trail."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation, Generations
from flox_formats.history import Change
from flox_formats.json_document import canonical_json
from flox_formats.lockfile import Lockfile
from registry_proxy.images.artifact import EMPTY_CONFIG, lockfile_artifact
from registry_proxy.images.audit_trail import ARTIFACT_TYPE, MEDIA_TYPE, AuditTrails
from registry_proxy.images.content import LOCKFILE, MANIFEST
from registry_proxy.images.environment_image import EnvironmentImage

_BEGAN = 1772438400


def image(number: int = 1, created: int = _BEGAN) -> EnvironmentImage:
    lockfile = {"lockfile-version": 1, "manifest": {"schema-version": "1.10.0"}, "packages": []}
    return EnvironmentImage(
        EnvironmentName("acme", "web"),
        "https://hub.flox.dev/acme/web",
        Generation(number, None, created, None, ""),
        Lockfile.parse(canonical_json(lockfile)),
    )


def history(steps: Sequence[int | None]) -> Generations:
    """One step an hour: None makes a generation, a number switches to it."""
    made = Generations.empty()
    for n, step in enumerate(steps):
        change = Change("alice", "build-01", ("flox", "switch" if step else "install"), _BEGAN + 3600 * n)
        made = made.with_switch(change, step) if step else made.with_generation(change, kind="edit")
    return made


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def test_the_lockfile_refers_to_the_index() -> None:
    made = image()
    artifact = lockfile_artifact(made)
    annotations = {
        "dev.flox.environment": "acme/web",
        "dev.flox.generation": "1",
        "dev.flox.lockfile": str(made.lockfile.digest),
        "org.opencontainers.image.created": "2026-03-02T08:00:00Z",
        "org.opencontainers.image.title": "manifest.lock",
    }
    assert json.loads(artifact.manifest.data) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": LOCKFILE,
        "subject": made.index.descriptor(),
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {
                "mediaType": LOCKFILE,
                "digest": str(made.lockfile.digest),
                "size": len(made.lockfile.data),
                "annotations": {"org.opencontainers.image.title": "manifest.lock"},
            }
        ],
        "annotations": annotations,
    }
    assert EMPTY_CONFIG.data == b"{}"
    assert artifact.descriptor == artifact.manifest.descriptor(artifactType=LOCKFILE, annotations=annotations)


def test_a_lockfile_artifact_and_a_trail_keep_their_digests() -> None:
    lockfile, trail = lockfile_artifact(image()), AuditTrails(history([None]).history).artifact(image())
    assert str(lockfile.manifest.digest) == "sha256:511d1d66a0c91928411cb468f99565ec9c7c734c8bce1261d7429bf55493253b"
    assert str(trail.manifest.digest) == "sha256:c947430b969807af30312ccd6ff16ce9ea01e9a422cbd04a4e5ba28dd0de925e"


def test_an_entry_says_who_when_and_by_which_command() -> None:
    trail = AuditTrails(history([None, None, 1]).history).artifact(image())
    assert (trail.artifact_type, trail.file.media_type) == (ARTIFACT_TYPE, MEDIA_TYPE)
    assert lines(trail.file.data)[-1] == {
        "time": "2026-03-02T10:00:00Z",
        "author": "alice",
        "hostname": "build-01",
        "command": ["flox", "switch"],
        "kind": "switch_generation",
        "summary": "changed current generation 2 -> 1",
        "generation": 1,
        "previousGeneration": 2,
    }
    assert trail.annotations["org.opencontainers.image.created"] == "2026-03-02T10:00:00Z"


@pytest.mark.parametrize(
    ("steps", "number", "entries"),
    [
        pytest.param([None], 1, 1, id="made"),
        pytest.param([None, None], 1, 2, id="replaced"),
        pytest.param([None, None], 2, 2, id="with-what-led-to-it"),
        pytest.param([None, None, None], 1, 2, id="not-what-came-later"),
        pytest.param([None, None, None, 1], 1, 4, id="switched-to"),
        pytest.param([None, None, None, 1, 2], 1, 5, id="switched-away-from"),
        pytest.param([None, None, None, 1, 2], 3, 4, id="left-by-a-switch"),
    ],
)
def test_a_trail_ends_with_the_last_entry_about_its_generation(
    steps: list[int | None], number: int, entries: int
) -> None:
    trail = AuditTrails(history(steps).history).artifact(image(number))
    assert len(lines(trail.file.data)) == entries


def test_every_trail_that_ever_was_is_made_again_from_a_later_history() -> None:
    steps = [None, None, 1, 2, None, 1, 3, 2, 1]
    for number in (1, 2, 3):
        later = {it.manifest.digest for it in AuditTrails(history(steps).history).artifacts(image(number))}
        earlier = set[Digest]()
        for end in range(1, len(steps) + 1):
            known = history(steps[:end])
            if number in known.generations:
                earlier.add(AuditTrails(known.history).artifact(image(number)).manifest.digest)
        assert earlier == later


def test_old_trails_are_made_up_to_a_bound() -> None:
    trails = AuditTrails(history([None, None, 1, 2, 1, 2]).history)
    assert all(it.file.digest == Digest.of(it.file.data) for it in trails.artifacts(image(1)))
    assert all(it.file.descriptor()["size"] == len(it.file.data) for it in trails.artifacts(image(1)))
    assert len(list(trails.artifacts(image(1)))) == 6
    assert len(list(trails.artifacts(image(1), among_last=2))) == 2
