import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from registry_proxy.errors import DigestRefused, ManifestUnknown, NameInvalid, RegistryError, RepositoryUnknown
from registry_proxy.images.reference import (
    EmptyRepository,
    EnvironmentRepository,
    GenerationTag,
    LiveTag,
    parse_reference,
    parse_repository,
    parse_tag,
)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        pytest.param("flox/empty", EmptyRepository(), id="generic"),
        pytest.param("flox/empty/acme/web", EnvironmentRepository(EnvironmentName("acme", "web")), id="environment"),
        pytest.param("flox/empty/a/b.c_d-e", EnvironmentRepository(EnvironmentName("a", "b.c_d-e")), id="separators"),
        pytest.param("flox/empty/Acme/Web", EnvironmentRepository(EnvironmentName("Acme", "Web")), id="the-node-asks"),
    ],
)
def test_reads_repositories(name: str, repository: object) -> None:
    assert parse_repository(name) == repository
    assert str(repository) == name


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("flox/empty/acme", NameInvalid, id="no-environment"),
        pytest.param("flox/empty/acme/web/more", NameInvalid, id="too-deep"),
        pytest.param("flox/empty/acme/..", NameInvalid, id="way-up"),
        pytest.param("flox/empty/", NameInvalid, id="nothing-after-the-slash"),
        pytest.param("flox/empty/acme/" + "a" * 300, NameInvalid, id="too-long"),
        pytest.param("evil/flox/empty/acme/web", RepositoryUnknown, id="unanchored-prefix"),
        pytest.param("library/busybox", RepositoryUnknown, id="somebody-elses"),
        pytest.param("flox/emptyish", RepositoryUnknown, id="prefix-is-not-a-folder"),
    ],
)
def test_refuses_repositories(name: str, error: type[RegistryError]) -> None:
    with pytest.raises(error):
        parse_repository(name)


@pytest.mark.parametrize(
    ("tag", "meaning"),
    [
        pytest.param("live", LiveTag(), id="live"),
        pytest.param("latest", LiveTag(), id="latest"),
        pytest.param("12", GenerationTag(12), id="number"),
    ],
)
def test_reads_tags(tag: str, meaning: object) -> None:
    assert parse_tag(tag) == meaning


@pytest.mark.parametrize("tag", ["0", "012", "-1", "1.0", "v1", "Live", "9" * 100])
def test_refuses_tags(tag: str) -> None:
    with pytest.raises(ManifestUnknown):
        parse_tag(tag)


def test_reads_a_digest_as_reference() -> None:
    digest = Digest.of(b"")
    assert parse_reference(str(digest)) == digest


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("sha256:abc", DigestRefused, id="short"),
        pytest.param("sha512:" + "0" * 128, ManifestUnknown, id="other-algorithm"),
        pytest.param("sha256:" + "A" * 64, DigestRefused, id="upper-case"),
        pytest.param("a b", ManifestUnknown, id="space"),
        pytest.param(".hidden", ManifestUnknown, id="leading-dot"),
        pytest.param("t" * 129, ManifestUnknown, id="too-long"),
    ],
)
def test_refuses_references(text: str, error: type[RegistryError]) -> None:
    with pytest.raises(error):
        parse_reference(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_repository, parse_reference, parse_tag):
        with contextlib.suppress(RegistryError):
            parse(text)
