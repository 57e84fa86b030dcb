"""Images as pods, kubelet and people write them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from registry_proxy.explain.asked_image import AskedImage, AskedImageInvalid

DIGEST = Digest.of(b"x")
WEB = EnvironmentName("acme", "web")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        pytest.param("acme/web", AskedImage(WEB, "live", None), id="environment"),
        pytest.param("acme/web:12", AskedImage(WEB, "12", None), id="environment-and-generation"),
        pytest.param("acme.corp/web", AskedImage(EnvironmentName("acme.corp", "web"), "live", None), id="dotted-owner"),
        pytest.param("flox/empty/acme/web", AskedImage(WEB, "live", None), id="image"),
        pytest.param("flox/empty/acme/web:latest", AskedImage(WEB, "latest", None), id="image-and-tag"),
        pytest.param(f"flox/empty/acme/web@{DIGEST}", AskedImage(WEB, "live", DIGEST), id="image-and-digest"),
        pytest.param(f"flox/empty/acme/web:12@{DIGEST}", AskedImage(WEB, "12", DIGEST), id="tag-and-digest"),
        pytest.param(f"docker.io/flox/empty/acme/web@{DIGEST}", AskedImage(WEB, "live", DIGEST), id="image-id"),
        pytest.param(
            f"docker-pullable://docker.io/flox/empty/acme/web@{DIGEST}", AskedImage(WEB, "live", DIGEST), id="old-id"
        ),
        pytest.param("registry:5000/flox/empty/acme/web:3", AskedImage(WEB, "3", None), id="registry-with-port"),
        pytest.param("localhost/flox/empty/acme/web", AskedImage(WEB, "live", None), id="localhost"),
        pytest.param("cache.corp/dockerhub/flox/empty/acme/web:3", AskedImage(WEB, "3", None), id="mirror-with-path"),
        pytest.param(
            "flox/empty/flox/empty", AskedImage(EnvironmentName("flox", "empty"), "live", None), id="named-like-it"
        ),
        pytest.param(str(DIGEST), AskedImage(None, "live", DIGEST), id="digest-alone"),
        pytest.param("flox/empty:1.0.0", AskedImage(None, "1.0.0", None, is_empty=True), id="generic"),
        pytest.param(
            "docker.io/flox/empty:1.0.0", AskedImage(None, "1.0.0", None, is_empty=True), id="generic-of-docker-hub"
        ),
        pytest.param(f"flox/empty@{DIGEST}", AskedImage(None, "live", DIGEST, is_empty=True), id="generic-by-digest"),
    ],
)
def test_reads(text: str, asked: AskedImage) -> None:
    assert AskedImage.parse(text) == asked


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("web", id="no-owner"),
        pytest.param("sha256:abc", id="short-digest"),
        pytest.param("acme/web@sha512:abc", id="other-algorithm"),
        pytest.param("acme/web:a b", id="tag-with-space"),
        pytest.param("flox/empty/acme", id="no-name"),
        pytest.param("docker.io/library/busybox/x", id="another-image"),
        pytest.param("quay.io/acme/hello:latest", id="another-registrys"),
        pytest.param(f"docker.io/acme/hello@{DIGEST}", id="another-of-docker-hub"),
        pytest.param(f"docker-pullable://acme/hello@{DIGEST}", id="another-with-a-scheme"),
        pytest.param("registry:5000/acme/hello:3", id="another-with-a-port"),
        pytest.param("flox/emptyish/acme/hello", id="almost-ours"),
        pytest.param("acme/web" * 200, id="too-long"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(AskedImageInvalid):
        AskedImage.parse(text)


@given(st.text())
def test_any_text_is_an_image_or_refused(text: str) -> None:
    with suppress(AskedImageInvalid):
        AskedImage.parse(text)


@given(
    owner=st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True),
    name=st.from_regex(r"[a-zA-Z0-9]{1,9}", fullmatch=True),
    tag=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True),
    digest=st.none() | st.binary().map(Digest.of),
)
def test_what_it_prints_it_reads(owner: str, name: str, tag: str, digest: Digest | None) -> None:
    asked = AskedImage(EnvironmentName(owner, name), "live" if digest else tag, digest)
    assert AskedImage.parse(str(asked)) == asked
