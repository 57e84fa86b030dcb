"""The registry's documents as a node reads them: what ours serves is read, anything else says why not."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.json_document import canonical_json
from shim_hooks.registry.documents import (
    ClosureArtifactManifest,
    EnvironmentIndex,
    RegistryDocumentInvalid,
    find_closure_artifact,
)
from tests.integration.small_registry import MANIFEST, Generation, Package, descriptor

GENERATION = Generation(EnvironmentName.parse("Acme/web"), 12, [Package.make("a", {})])
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def test_an_environment_image() -> None:
    index = EnvironmentIndex.parse(GENERATION.index)
    assert (str(index.environment), index.generation, index.lockfile) == ("Acme/web", 12, GENERATION.lockfile.digest)
    assert index.manifests == {"amd64": Digest.of(GENERATION.platform_manifest)}


def test_a_closure_artifact() -> None:
    artifact = ClosureArtifactManifest.parse(GENERATION.artifact)
    assert artifact.subject == Digest.of(GENERATION.platform_manifest)
    assert artifact.document.digest == Digest.of(GENERATION.document.to_bytes())
    assert artifact.lockfile.digest == GENERATION.lockfile.digest


@pytest.mark.parametrize(
    ("referrers", "expected"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["application/vnd.other"], None, id="not-ours"),
        pytest.param(["application/vnd.other", "application/vnd.floxbridge.closure.v1"], 1, id="not-filtered"),
        pytest.param(["application/vnd.floxbridge.closure.v1"] * 2, 0, id="the-first"),
    ],
)
def test_finds_the_closure_among_the_referrers(referrers: list[str], expected: int | None) -> None:
    manifests = [
        {**descriptor(MANIFEST, str(number).encode()), "artifactType": kind} for number, kind in enumerate(referrers)
    ]
    found = find_closure_artifact(canonical_json({"mediaType": INDEX_TYPE, "manifests": manifests}))
    assert (found and found.digest) == (None if expected is None else Digest.of(str(expected).encode()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b'"12"', b'"12a"', "is no generation: '12a'", id="generation"),
        pytest.param(b'"12"', b'"9999999999"', "is no generation", id="huge-generation"),
        pytest.param(b'"12"', '"१२"'.encode(), "is no generation", id="other-digits"),
        pytest.param(b'"Acme/web"', b'"web"', "want an environment owner/name", id="name"),
        pytest.param(b'"dev.flox.lockfile":"sha256:', b'"dev.flox.lockfile":"md5:', "want a digest", id="lockfile"),
        pytest.param(b"image.index", b"image.other", "'mediaType' is", id="media-type"),
        pytest.param(b'"amd64"', b"64", "'architecture' is not a string", id="architecture"),
    ],
)
def test_an_index_that_is_none(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(RegistryDocumentInvalid, match=message):
        EnvironmentIndex.parse(GENERATION.index.replace(old, new))


@pytest.mark.parametrize("parse", [EnvironmentIndex.parse, ClosureArtifactManifest.parse, find_closure_artifact])
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_document_or_say_why_not(parse: Callable[[bytes], object], data: bytes) -> None:
    with suppress(RegistryDocumentInvalid):
        parse(data)


@given(st.data())
def test_damaged_documents_are_documents_or_say_why_not(data: st.DataObject) -> None:
    document = bytearray(data.draw(st.sampled_from([GENERATION.index, GENERATION.artifact])))
    for _ in range(data.draw(st.integers(1, 3))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    for parse in (EnvironmentIndex.parse, ClosureArtifactManifest.parse):
        with suppress(RegistryDocumentInvalid):
            parse(bytes(document))
