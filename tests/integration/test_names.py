"""What a path may name, as it arrives: written by hand, since HTTP libraries tidy what they are given."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from flox_formats.digest import Digest
from tests.integration.registry_rig import World, running_registry
from tests.integration.wire import Wire

UNKNOWN = Digest.of(b"nothing")
LONGEST = "a" * 100
OF_255 = f"flox/empty/{'a' * 122}/{'b' * 121}"
"""Well formed for OCI; FloxHub's names end at 100."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    world = World.make(tmp_path_factory.mktemp("names"))
    hello = world.package("hello", "hi")
    for name in ("acme/web", f"acme/{LONGEST}", "Acme/Web_-.X", "acme/manifests", "acme/blobs"):
        world.push(name, hello)
    with running_registry(world.settings(resolve_ttl_s=60)) as client:
        client.get("/v2/flox/empty/acme/web/manifests/live")  # from here on it is answered by the short road
        yield client


def answered(registry: httpx2.Client, path: str) -> tuple[int, str]:
    with Wire(registry.base_url) as wire:
        wire.get(path)
        answer = wire.answer()
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        pytest.param("/v2", 200, "{}", id="version-without-slash"),
        pytest.param("/v2/", 200, "{}", id="version"),
        pytest.param("//v2/", 404, "", id="slash-before"),
        pytest.param("/v2/flox/empty/acme/web/manifests/live", 200, "", id="plain"),
        pytest.param("/v2/flox/empty/acme/w%65b/manifests/l%69ve", 200, "", id="letters-in-percent"),
        pytest.param("/v2/flox/empty/acme%2Fweb/manifests/live", 400, "%2F", id="slash-in-percent"),
        pytest.param("/v2/flox%2fempty/manifests/live", 400, "%2F", id="slash-in-percent-small"),
        pytest.param("/v2/flox/empty/acme/web%2Fmanifests/live", 400, "%2F", id="slash-that-would-route"),
        pytest.param("/v2/flox/empty/acme/web/tags%2flist", 400, "%2F", id="slash-that-would-route-elsewhere"),
        pytest.param("/v2/flox/empty/acme%252Fweb/manifests/live", 400, "owner/name", id="twice-in-percent"),
        pytest.param("/v2/flox/empty/acme/..%2f..%2fetc/manifests/live", 400, "%2F", id="way-up-in-percent"),
        pytest.param("/v2/flox/empty/%2e%2e/%2e%2e/manifests/live", 400, "flox/empty/<owner>", id="dots-in-percent"),
        pytest.param("/v2/flox/empty/../../manifests/live", 400, "flox/empty/<owner>", id="way-up"),
        pytest.param("/v2/flox/empty/./web/manifests/live", 400, "flox/empty/<owner>", id="dot"),
        pytest.param("/v2/flox/empty/acme//web/manifests/live", 400, "flox/empty/<owner>", id="two-slashes"),
        pytest.param("/v2/flox/empty//manifests/live", 400, "flox/empty/<owner>", id="nothing-after-a-slash"),
        pytest.param("/v2//flox/empty/manifests/live", 404, "no repository", id="two-slashes-before"),
        pytest.param("/v2/flox/empty/acme/web/manifests/live/", 404, "", id="slash-behind"),
        pytest.param("/v2/flox/empty/acme/web/manifests/", 404, "", id="no-reference"),
        pytest.param("/v2/flox/empty/acme/web/tags/list/", 404, "", id="slash-behind-a-list"),
        pytest.param("/v2/flox/empty/acme/manifests/manifests/live", 200, "", id="called-manifests"),
        pytest.param(f"/v2/flox/empty/acme/blobs/blobs/{UNKNOWN}", 404, "no generation", id="called-blobs"),
        pytest.param("/v2/flox/empty/acme/we%00b/manifests/live", 400, "flox/empty/<owner>", id="nul"),
        pytest.param("/v2/flox/empty/acme/we%0ab/manifests/live", 404, "", id="newline"),
        pytest.param("/v2/flox/empty/acme/we%ffb/manifests/live", 400, "flox/empty/<owner>", id="not-utf-8"),
        pytest.param(f"/v2/flox/empty/acme/{quote('wéb')}/manifests/live", 400, "flox/empty/<owner>", id="accent"),
        pytest.param("/v2/flox/empty/acme/web/manifests/%6c%69ve%00", 404, "neither a tag nor", id="nul-in-the-tag"),
        pytest.param(f"/v2/flox/empty/acme/web/manifests/sha256%3A{UNKNOWN.hex}", 404, "no generation", id="colon"),
        pytest.param(f"/v2/flox/empty/acme/{LONGEST}/manifests/live", 200, "", id="longest"),
        pytest.param(f"/v2/{OF_255}/manifests/live", 400, "100", id="255-characters"),
        pytest.param(f"/v2/{OF_255}b/manifests/live", 400, "255", id="256-characters"),
        pytest.param("/v2/flox/empty/Acme/Web_-.X/manifests/live", 200, "", id="not-for-oci"),
        pytest.param("/v2/FLOX/empty/manifests/live", 404, "no repository", id="upper-case-before"),
        pytest.param("/v2/flox/empty/manifests/live?ns=docker.io&ns=docker.io", 200, "", id="ns-twice"),
        pytest.param("/v2/flox/empty/manifests/live?ns=docker.io&ns=quay.io", 404, "quay.io", id="ns-and-another"),
        pytest.param("/v2/flox/empty/manifests/live?ns=quay.io&ns=docker.io", 404, "quay.io", id="another-and-ns"),
        pytest.param("/v2/flox/empty/manifests/live?ns=", 404, "mirrors docker.io", id="ns-empty"),
        pytest.param("/v2/flox/empty/manifests/live?ns", 404, "mirrors docker.io", id="ns-without-value"),
        pytest.param("/v2/flox/empty/manifests/live?NS=quay.io&x=y&=&&", 200, "", id="queries-that-mean-nothing"),
        pytest.param("/v2/flox/empty/manifests/live?x=" + "y" * 30_000, 200, "", id="long-query"),
        pytest.param("/v2/flox/empty/acme/web/manifests/live?ns=%64ocker.io", 200, "", id="ns-in-percent"),
    ],
)
def test_paths(registry: httpx2.Client, path: str, status: int, said: str) -> None:
    found, body = answered(registry, path)
    assert (found, said in body) == (status, True), body[:300]


def test_a_name_that_oci_cannot_spell_is_reached_exactly(registry: httpx2.Client) -> None:
    index = registry.get("/v2/flox/empty/Acme/Web_-.X/manifests/live").json()
    assert index["annotations"]["dev.flox.environment"] == "Acme/Web_-.X"
