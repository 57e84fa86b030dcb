"""A binary cache behind a password and a key in its query: the cache gets them, and nobody else does."""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import httpx2
import pytest
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from flox_formats.closure import ARTIFACT_TYPE
from flox_formats.digest import Digest
from tests.integration.faulty_upstream import serving
from tests.integration.registry_rig import World
from tests.integration.test_closure_faults import nars, referrers
from tests.integration.test_observability import registry_process
from tests.integration.test_pull_api import WEB

PASSWORD, KEY = "s3cret@pw", "s3cretkey"
_WANTED = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()


class GuardedCache:
    """Says 401 to whoever does not bring both."""

    def __init__(self, folder: Path) -> None:
        self._files = Router([Mount("/", StaticFiles(directory=folder, check_dir=False))])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        query = parse_qs(scope["query_string"].decode())
        admitted = (headers.get(b"authorization", b"").decode(), query.get("key")) == (_WANTED, [KEY])
        answer = self._files if admitted else Response("who are you?", 401)
        await answer(scope, receive, send)


@pytest.fixture
def guarded(world: World) -> Iterator[str]:
    """Its URL, with what it wants."""
    with serving(GuardedCache(world.cache.folder)) as url:
        yield url.replace("//", "//me:s3cret%40pw@") + f"?key={KEY}"


def everything_kept(world: World) -> bytes:
    files = [path for path in (world.root / "state").rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in (*files, world.root / "serve.log"))


def everything_said(answer: httpx2.Response) -> bytes:
    return answer.content + b"\n".join(name + b": " + value for name, value in answer.headers.raw)


def test_a_cache_is_shown_its_password_and_its_key(world: World, guarded: str) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with registry_process(world, "--nix-cache", guarded) as (client, _):
        listed = referrers(client)
        (layer,) = nars(client)
        blob = client.get(f"{WEB}/blobs/{layer['digest']}")
    assert (listed.status_code, str(Digest.of(blob.content))) == (200, layer["digest"])
    assert b"s3cret" not in everything_said(listed) + everything_said(blob)
    assert b"s3cret" not in everything_kept(world)


@pytest.mark.parametrize("wanted", [pytest.param("", id="all"), pytest.param(ARTIFACT_TYPE, id="the-closure")])
@pytest.mark.parametrize("reference", ["live", "platform"])
def test_who_asks_for_what_such_a_cache_does_not_give_learns_neither(world: World, wanted: str, reference: str) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with registry_process(world, "--nix-cache", f"http://me:{PASSWORD}@127.0.0.1:9/x?key={KEY}") as (client, _):
        index = client.get(f"{WEB}/manifests/live")
        digest = index.headers["docker-content-digest"]
        if reference == "platform":
            digest = index.json()["manifests"][0]["digest"]
        answer = client.get(f"{WEB}/referrers/{digest}", params={"artifactType": wanted} if wanted else {})
        unknown = client.get(f"{WEB}/blobs/{Digest.of(b'unknown')}")
    if not wanted or reference == "platform":
        assert b"http://127.0.0.1:9/x" in everything_said(answer)
    for said in (everything_said(answer), everything_said(unknown), everything_kept(world)):
        assert b"s3cret" not in said
