"""The shell of an environment whose activation needs one: in its closure, whoever brings it."""

import httpx2
import pytest

from flox_formats.closure import ClosureDocument
from flox_formats.store_path import StorePath
from tests.integration.registry_rig import World, lock_of, running_registry

_REPOSITORY = "/v2/flox/empty/acme/web"
_HOOKED = {"hook": {"on-activate": "true"}}


def closure_of(client: httpx2.Client, tag: str = "live") -> ClosureDocument:
    """Of the first platform, which is linux/amd64."""
    index = client.get(f"{_REPOSITORY}/manifests/{tag}").json()
    listed = client.get(f"{_REPOSITORY}/referrers/{index['manifests'][0]['digest']}").json()
    closure = next(one for one in listed["manifests"] if one["artifactType"].startswith("application/vnd.floxbridge"))
    artifact = client.get(f"{_REPOSITORY}/manifests/{closure['digest']}").json()
    return ClosureDocument.parse(client.get(f"{_REPOSITORY}/blobs/{artifact['config']['digest']}").content)


@pytest.mark.parametrize(
    ("manifest", "own_bash", "expected"),
    [
        pytest.param({}, False, {"web"}, id="static"),
        pytest.param(_HOOKED, False, {"web", "bash-5.3", "libc"}, id="hook"),
        pytest.param({"vars": {"A": "$HOME"}}, False, {"web", "bash-5.3", "libc"}, id="expansion"),
        pytest.param(_HOOKED, True, {"web", "bash-5.2"}, id="hook-and-a-bash-of-its-own"),
    ],
)
def test_the_closure(world: World, manifest: dict[str, object], own_bash: bool, expected: set[str]) -> None:
    libc = world.package("libc", "libc")
    bash = world.package("bash-5.3", "bash", libc)
    packages: list[StorePath] = [world.package("web", "web", *([world.package("bash-5.2", "b")] if own_bash else []))]
    world.push("acme/web", lock=lock_of(*packages, manifest=manifest))
    settings = world.settings(activation_bash=(f"x86_64-linux={bash}",))
    with running_registry(settings) as client:
        document = closure_of(client)
    assert {path.store_path.name for path in document.paths} == expected
    assert [root.install_id for root in document.roots] == ["web"]


def test_a_shell_that_no_cache_has(world: World) -> None:
    world.push("acme/web", lock=lock_of(world.package("web", "web"), manifest=_HOOKED))
    with running_registry(world.settings()) as client:
        index = client.get(f"{_REPOSITORY}/manifests/live").json()
        answer = client.get(f"{_REPOSITORY}/referrers/{index['manifests'][0]['digest']}")
    assert answer.status_code == 502
    assert "the bash for its activation, see --activation-bash" in answer.json()["errors"][0]["message"]


def test_without_a_shell_the_closure_is_the_packages(world: World) -> None:
    world.push("acme/web", lock=lock_of(world.package("web", "web"), manifest=_HOOKED))
    with running_registry(world.settings(activation_bash=())) as client:
        assert [path.store_path.name for path in closure_of(client).paths] == ["web"]
