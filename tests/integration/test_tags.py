"""The list of tags, whole and in pages."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.conftest import needs
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_floxhub_faults import plain_git_repository
from tests.integration.test_pull_api import WEB

MANY = 10_005
PAGE = 10_000


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """With acme/web of three generations, and acme/many of more than are listed at once."""
    needs("git")
    world = World.make(tmp_path_factory.mktemp("tags"))
    for text in ("a", "b", "c"):
        world.push("acme/web", world.package(text, text))
    generations = {str(number): {"created": 1, "description": "made"} for number in range(1, MANY + 1)}
    metadata = json.dumps({"generations": generations, "currentGen": str(MANY)})
    plain_git_repository(world, "many", "web", {"metadata.json": metadata})
    with running_registry(world.settings()) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "tags", "after"),
    [
        pytest.param("", ["1", "2", "3", "latest", "live"], None, id="all"),
        pytest.param("?n=2", ["1", "2"], "n=2&last=2", id="first-page"),
        pytest.param("?n=2&last=2", ["3", "latest"], "n=2&last=latest", id="second-page"),
        pytest.param("?n=2&last=latest", ["live"], None, id="last-page"),
        pytest.param("?n=5", ["1", "2", "3", "latest", "live"], None, id="just-enough"),
        pytest.param("?n=0", [], None, id="none"),
        pytest.param("?n=00002", ["1", "2"], "n=2&last=2", id="zeros"),
        pytest.param("?n=20000", ["1", "2", "3", "latest", "live"], None, id="more-than-a-page"),
        pytest.param("?n=9999999", ["1", "2", "3", "latest", "live"], None, id="much-more-than-a-page"),
        pytest.param("?n=" + "9" * 5000, ["1", "2", "3", "latest", "live"], None, id="thousands-of-digits"),
        pytest.param("?last=3", ["latest", "live"], None, id="after-a-tag"),
        pytest.param("?last=2zz", ["3", "latest", "live"], None, id="after-a-tag-that-is-not"),
        pytest.param("?last=zzz", [], None, id="after-the-end"),
        pytest.param("?n=2&ns=docker.io", ["1", "2"], "n=2&last=2&ns=docker.io", id="mirror"),
    ],
)
def test_pages(registry: httpx2.Client, query: str, tags: list[str], after: str | None) -> None:
    answer = registry.get(f"{WEB}/tags/list{query}")
    assert answer.json() == {"name": "flox/empty/acme/web", "tags": tags}
    link = None if after is None else f'<{WEB}/tags/list?{after}>; rel="next"'
    assert answer.headers.get("link") == link


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "", "%D9%A3"])
def test_numbers_that_are_none(registry: httpx2.Client, number: str) -> None:
    answer = registry.get(f"{WEB}/tags/list?n={number}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "UNSUPPORTED")


@pytest.mark.parametrize("number", ["20000", "9999999"])
def test_a_page_has_an_end(registry: httpx2.Client, number: str) -> None:
    first = registry.get(f"/v2/flox/empty/many/web/tags/list?n={number}&ns=docker.io")
    tags = first.json()["tags"]
    assert len(tags) == PAGE
    tags += registry.get(first.links["next"]["url"]).json()["tags"]
    assert sorted(tags) == sorted([*map(str, range(1, MANY + 1)), "latest", "live"])


def test_the_generic_image_has_a_tag(registry: httpx2.Client) -> None:
    assert registry.get("/v2/flox/empty/tags/list").json() == {"name": "flox/empty", "tags": ["latest"]}
