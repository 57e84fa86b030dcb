"""The command line as people and scripts use it: a process, its output, its exit code."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from flox_formats.closure import ARTIFACT_TYPE
from flox_formats.digest import Digest
from flox_formats.store_path import StorePath
from registry_proxy.hub import local
from tests.conftest import needs
from tests.integration.registry_rig import World, lock_of, running_registry

BIN = Path(__file__).resolve().parents[2] / ".venv" / "bin"
WEB = "/v2/flox/empty/acme/web"
BASE_URL = "http://floxhub.localhost"
COMMANDS = ("serve", "resolve", "explain", "config", "hub", "completion")
_DEADLINE_S = 60


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def run(*arguments: str, program: str = "floxbridge", variables: Mapping[str, str] | None = None) -> Said:
    """With nothing of ours in the environment but `variables`."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("FLOXBRIDGE_")}
    done = subprocess.run(
        [BIN / program, *arguments],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        env={**theirs, **(variables or {})},
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def versions(lock: bytes, **by_install_id: str) -> bytes:
    """The same lockfile, with versions."""
    document = json.loads(lock)
    for entry in document["packages"]:
        entry["version"] = by_install_id[entry["install_id"]]
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> World:
    """acme/web: hello 1.0; hello 2.0 and more; hello 2.0 alone, which was found wanting: generation 2 is live again."""
    needs("git")
    world = World.make(tmp_path_factory.mktemp("history"))
    old, new, more = world.package("hello", "hi"), world.package("hello", "hello"), world.package("more", "there")
    world.push("acme/web", lock=versions(lock_of(old), hello="1.0"))
    world.push("acme/web", lock=versions(lock_of(new, more), hello="2.0", more="7"))
    world.push("acme/web", lock=versions(lock_of(new), hello="2.0"))
    world.switch("acme/web", 2)
    return world


@pytest.fixture(scope="module")
def registry(history: World) -> Iterator[httpx2.Client]:
    with running_registry(history.settings()) as client:
        yield client


def digests(client: httpx2.Client, generation: int) -> dict[str, str]:
    """Whatever a pod, a node or a person may hold of a generation's image."""
    index = client.get(f"{WEB}/manifests/{generation}")
    platform = index.json()["manifests"][0]["digest"]
    manifest = client.get(f"{WEB}/manifests/{platform}").json()
    return {
        "image index": index.headers["docker-content-digest"],
        "image manifest": platform,
        "image config": manifest["config"]["digest"],
        "lockfile": index.json()["annotations"]["dev.flox.lockfile"],
    }


def floxhub_of(client: httpx2.Client) -> tuple[str, ...]:
    """The flags that ask the embedded FloxHub as the registry does: the base URL is in every image."""
    return "--floxhub-url", BASE_URL, "--floxhub-git-url", f"{str(client.base_url).rstrip('/')}/git"


def source(name: str, world: World, client: httpx2.Client) -> tuple[str, ...]:
    match name:
        case "registry":
            return "--registry-url", str(client.base_url)
        case "state":
            return "--state-dir", str(world.root / "state")
        case _:
            return floxhub_of(client)


SOURCES = ("floxhub", "registry", "state")


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("what", ["image index", "image manifest", "image config", "lockfile"])
def test_every_digest_leads_back_to_its_generation(
    history: World, registry: httpx2.Client, name: str, what: str
) -> None:
    digest = digests(registry, 2)[what]
    asked = f"docker.io/flox/empty/acme/web@{digest}"
    found = run("explain", asked, "--json", *source(name, history, registry)).json
    assert found["what"].startswith(what)
    assert found["image"] == f"flox/empty/acme/web@{digests(registry, 2)['image index']}"
    facts = ("environment", "generation", "live", "author", "command", "created", "missing", "others")
    assert {key: found[key] for key in facts} == {
        "environment": "acme/web",
        "generation": 2,
        "live": True,
        "author": "alice",
        "command": ["flox", "push"],
        "created": "2026-03-02T08:00:00Z",
        "missing": [],
        "others": [],
    }
    assert [(it["install_id"], it["version"]) for it in found["packages"]] == [("hello", "2.0"), ("more", "7")]
    assert found["changes"]["since"] == 1
    assert [it["install_id"] for it in found["changes"]["added"]] == ["more"]
    assert found["changes"]["changed"] == [{"install_id": "hello", "from": "1.0", "to": "2.0"}]


@pytest.mark.parametrize(
    ("name", "image", "generation"),
    [
        ("floxhub", "acme/web", 2),
        ("registry", "flox/empty/acme/web:latest", 2),
        ("state", "registry:5000/flox/empty/acme/web:3", 3),
        ("state", "acme/web:live", 2),
    ],
)
def test_every_image_is_explained(
    history: World, registry: httpx2.Client, name: str, image: str, generation: int
) -> None:
    digests(registry, generation)  # a pull, or the state would not have it
    found = run("explain", image, "--json", *source(name, history, registry)).json
    assert (found["environment"], found["generation"]) == ("acme/web", generation)
    assert found["live"] is (generation == 2)


def test_an_explanation_for_people(registry: httpx2.Client) -> None:
    said = run("explain", "acme/web:2", "--registry-url", str(registry.base_url))
    lines = said.out.splitlines()
    assert lines[0] == "acme/web generation 2 (live)"
    for line in (
        "  made      2026-03-02T08:00:00Z by alice on build-01",
        "  hello  hello 2.0",
        "against generation 1, which was live before",
        "  + more  more 7",
        "  ~ hello  1.0 -> 2.0",
    ):
        assert line in lines, said.out


def test_a_digest_alone_is_found_in_the_state_of_a_registry(history: World, registry: httpx2.Client) -> None:
    state = str(history.root / "state")
    for generation in (1, 3):
        digest = digests(registry, generation)["image index"]
        assert run("explain", digest, "--json", "--state-dir", state).json["generation"] == generation
        assert (
            run("explain", digest, "--json", variables={"FLOXBRIDGE_STATE_DIR": state}).json["generation"] == generation
        )


def test_a_digest_alone_with_its_environment(registry: httpx2.Client) -> None:
    digest = digests(registry, 3)["image index"]
    flags = ("--environment", "acme/web", "--registry-url", str(registry.base_url))
    assert run("explain", digest, "--json", *flags).json["generation"] == 3


def test_closures_and_packages_are_found_in_the_state(history: World, registry: httpx2.Client) -> None:
    platform = digests(registry, 2)["image manifest"]
    (closure,) = registry.get(f"{WEB}/referrers/{platform}?artifactType={ARTIFACT_TYPE}").json()["manifests"]
    artifact = registry.get(f"{WEB}/manifests/{closure['digest']}").json()
    state = ("--state-dir", str(history.root / "state"))
    found = run("explain", closure["digest"], "--json", *state).json
    assert (found["what"], found["generation"]) == (f"artifact of type {ARTIFACT_TYPE}", 2)
    nars = {run("explain", layer["digest"], "--json", *state).json["what"] for layer in artifact["layers"][1:]}
    assert {what.rpartition(" ")[2] for what in nars} == {"'hello'", "'more'"}


def test_looking_into_the_state_changes_nothing(history: World, registry: httpx2.Client) -> None:
    """A registry runs on it: what it is about to finish must stay."""
    staged = history.root / "state" / "content" / ".staging" / "half"
    staged.write_bytes(b"half")
    before = sorted((history.root / "state").rglob("*"))
    assert run("explain", "acme/web", "--state-dir", str(history.root / "state")).code == 0
    assert sorted((history.root / "state").rglob("*")) == before
    staged.unlink()


def test_a_generation_that_was_rewritten_is_still_known_to_who_served_it(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        digest = client.get(f"{WEB}/manifests/live").headers["docker-content-digest"]
    (world.root / "hub").rename(world.root / "old hub")
    local.init(world.hub)
    world.push("acme/web", world.package("more", "there"))
    with running_registry(world.settings()) as client:
        client.get(f"{WEB}/manifests/live")
        by_floxhub = run("explain", f"acme/web@{digest}", *floxhub_of(client))
    by_state = run("explain", f"acme/web@{digest}", "--json", "--state-dir", str(world.root / "state")).json
    assert by_floxhub.code == 1
    assert "rewritten" in by_floxhub.err
    assert [it["install_id"] for it in by_state["packages"]] == ["hello"]
    assert (by_state["author"], by_state["live"]) == (None, None)
    assert any("rewritten since" in sentence for sentence in by_state["missing"])


def test_one_lockfile_of_two_generations_names_both(world: World) -> None:
    hello: StorePath = world.package("hello", "hi")
    world.push("acme/web", hello)
    world.push("acme/web", world.package("more", "there"))
    world.push("acme/web", hello)
    with running_registry(world.settings()) as client:
        lockfiles = [digests(client, generation)["lockfile"] for generation in (1, 2, 3)]
    found = run("explain", lockfiles[0], "--json", "--state-dir", str(world.root / "state")).json
    assert (found["generation"], found["others"]) == (3, ["flox/empty/acme/web:1"])


def test_the_generic_image_is_explained_without_asking_anyone() -> None:
    said = run("explain", "docker.io/flox/empty:1.0.0", "--floxhub-url", "http://127.0.0.1:9")
    assert (said.code, "annotation flox.dev/environment" in said.out) == (0, True)


@pytest.mark.parametrize("tag", ["live", "latest"])
def test_resolve_takes_the_tags_of_images(history: World, registry: httpx2.Client, tag: str) -> None:
    assert run("resolve", f"acme/web:{tag}", "--json", *source("floxhub", history, registry)).json["generation"] == 2


def test_the_generic_image_by_its_digest(registry: httpx2.Client) -> None:
    digest = registry.get("/v2/flox/empty/manifests/1.0.0").headers["docker-content-digest"]
    assert "annotation flox.dev/environment" in run("explain", f"flox/empty@{digest}").out


@pytest.mark.parametrize("flags", ["floxhub", "registry"])
def test_resolve_says_what_since_when_and_from_whom(history: World, registry: httpx2.Client, flags: str) -> None:
    found = run("resolve", "acme/web", "--json", *source(flags, history, registry)).json
    expected = digests(registry, 2)
    assert (found["generation"], found["digest"], found["lockfile"]) == (
        2,
        expected["image index"],
        expected["lockfile"],
    )
    assert found["platforms"]["linux/amd64"] == expected["image manifest"]
    assert (found["author"], found["live"], found["live_since"]) == ("alice", True, "2026-03-02T08:00:00Z")
    assert (found["outcome"], found["age_s"], found["missing"]) == ("fresh", 0, [])
    assert found["source"] == f"{BASE_URL}/acme/web"


def test_resolve_through_a_registry_tells_a_stale_answer(world: World) -> None:
    world.push("acme/web", world.package("hello", "hi"))
    with running_registry(world.settings()) as client:
        client.get(f"{WEB}/manifests/live")
    for pointer in (world.root / "state" / "floxhub").rglob("current.*"):
        os.utime(pointer, (1e9, pointer.stat().st_mtime - 3600))
    with running_registry(world.settings(hub_dir=None, floxhub_url=BASE_URL, offline=True)) as client:
        said = run("resolve", "acme/web", "--json", "--registry-url", str(client.base_url))
    assert (said.json["outcome"], said.json["age_s"] >= 3600, said.json["generation"]) == ("stale", True, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param((), 2, "required: COMMAND", id="nothing"),
        pytest.param(("serve", "--nonsense"), 2, "unrecognized arguments", id="unknown-flag"),
        pytest.param(("serve", "--resolve-ttl-s", "soon"), 2, "--resolve-ttl-s: want a number", id="wrong-value"),
        pytest.param(("config", "--config", "/nowhere.yaml"), 2, "/nowhere.yaml", id="no-file"),
        pytest.param(("resolve", "web"), 2, "owner/name", id="not-an-environment"),
        pytest.param(("explain", "sha256:abc"), 2, "sha256", id="not-a-digest"),
        pytest.param(("resolve", "a/b", "--floxhub-url", "http://127.0.0.1:9"), 1, "cannot be reached", id="away"),
        pytest.param(
            ("resolve", "a/b", "--registry-url", "http://127.0.0.1:9"), 1, "cannot be reached", id="no-registry"
        ),
        pytest.param(("explain", "a/b", "--registry-url", "ftp://x"), 2, "--registry-url: want http", id="not-a-url"),
        pytest.param(("explain", "a/b", "--state-dir", "/nowhere"), 1, "no registry keeps its state", id="no-state"),
        pytest.param(
            ("explain", str(Digest.of(b"x")), "--registry-url", "http://127.0.0.1:9"), 1, "--environment", id="which"
        ),
        pytest.param(
            ("resolve", "a/b", "--registry-url", "http://[::1"), 2, "--registry-url: want http", id="half-a-url"
        ),
        pytest.param(
            ("resolve", "a/b", "--floxhub-url", "http://[::1"), 2, "--floxhub-url: want http", id="half-a-hub"
        ),
        pytest.param(("explain", "quay.io/a/b:latest"), 2, "no image of ours", id="another-registrys-image"),
        pytest.param(("explain", "a/b", "--environment", "c/d"), 2, "for a digest alone", id="two-environments"),
        pytest.param(("explain", "flox/empty", "--environment", "c/d"), 2, "for a digest alone", id="generic-and-more"),
        pytest.param(
            ("explain", "a/b", "--registry-url", "http://h", "--state-dir", "/x"), 2, "give one", id="two-sources"
        ),
        pytest.param(("explain", f"flox/empty@{Digest.of(b'x')}"), 1, "it has one image", id="not-the-generic-image"),
        pytest.param(("resolve", "a/b:lives"), 2, "generation number after the colon", id="no-tag"),
        pytest.param(("serve", "--hub-dir", "/nowhere", "--listen", "127.0.0.1:0"), 2, "hub init", id="no-hub"),
        pytest.param(("serve", "--listen", "192.0.2.1:1"), 1, "cannot listen on 192.0.2.1:1", id="no-such-address"),
        pytest.param(("completion", "tcsh"), 2, "invalid choice", id="unknown-shell"),
    ],
)
def test_mistakes_end_with_a_sentence_and_a_code(arguments: tuple[str, ...], code: int, said: str) -> None:
    ended = run(*arguments)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", ["serve", "config"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(("--max-questions", "inf"), "--max-questions: want a whole number", id="endless"),
        pytest.param(("--nix-cache", "http://[::1"), "--nix-cache: binary cache: want http", id="half-a-cache"),
        pytest.param(("--nix-cache", "ftp://me:s3cret@x"), "--nix-cache: binary cache: want http", id="ftp"),
        pytest.param(("--trusted-key", "foo"), "--trusted-key", id="no-key"),
        pytest.param(("--floxhub-url", "http://me:s3cret@h"), "--floxhub-url: http://h: no credentials", id="password"),
        pytest.param(("--tls-cert-file", "/c"), "--tls-key-file", id="certificate-alone"),
        pytest.param(("--hub-dir", "/", "--floxhub-git-url", "http://h"), "give one of them", id="two-hubs"),
    ],
)
def test_config_refuses_what_serve_refuses(command: str, flags: tuple[str, ...], said: str) -> None:
    ended = run(command, "--listen", "127.0.0.1:0", *flags)
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert "s3cret" not in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("flags", "url", "git"),
    [
        pytest.param((), "https://hub.flox.dev", "https://api.flox.dev/git", id="floxs-own"),
        pytest.param(("--hub-dir", "/nowhere"), "http://floxhub.localhost", None, id="embedded"),
    ],
)
def test_the_floxhub_in_force_is_shown(flags: tuple[str, ...], url: str, git: str | None) -> None:
    found = run("config", "--json", *flags).json
    assert [(found[key]["value"], found[key]["source"]) for key in ("floxhub_url", "floxhub_git_url")] == [
        (url, "default"),
        (git, "default"),
    ]


@pytest.mark.parametrize(
    ("program", "variable", "name"),
    [
        ("floxbridge", "FLOXBRIDGE_NIX_CACHE", "nix_cache"),
        ("floxbridge-node", "FLOXBRIDGE_NODE_TRUSTED_KEY", "trusted_key"),
    ],
)
def test_an_empty_list_is_shown(program: str, variable: str, name: str) -> None:
    said = run("config", program=program, variables={variable: ""})
    assert said.code == 0, said.err
    assert [name, "variable", variable, "none"] in [line.split() for line in said.out.splitlines()]


def test_an_embedded_floxhub_is_the_registrys_alone(history: World) -> None:
    ended = run("resolve", "acme/web", variables={"FLOXBRIDGE_HUB_DIR": str(history.hub)})
    assert (ended.code, "--registry-url" in ended.err) == (2, True)


def test_the_configuration_in_force_and_who_said_so(tmp_path: Path) -> None:
    file = tmp_path / "floxbridge.yaml"
    file.write_text("resolve_ttl_s: 5\nlisten: 0.0.0.0:1\nnix_cache: [https://me:secret@cache.example/x]\n")
    flags = ("--config", str(file), "--listen", "0.0.0.0:2")
    variables = {"FLOXBRIDGE_RESOLVE_TTL_S": "6", "FLOXBRIDGE_SERVICE_HOST": "10.0.0.1", "FLOXBRIDGE_NODE_X": "1"}
    said = run("config", "--json", *flags, variables=variables)
    found = {key: (it["value"], it["source"]) for key, it in said.json.items()}
    assert found["listen"] == ("0.0.0.0:2", "flag")
    assert found["resolve_ttl_s"] == (6, "variable")
    assert found["nix_cache"] == (["https://***@cache.example/x"], "file")
    assert found["max_stale_s"] == (None, "default")
    text = run("config", *flags, variables=variables)
    assert f"file {file}" in text.out
    assert "secret" not in said.out + text.out


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--store-max-bytes", "1e400", "want a whole number"),
        ("--registry-url", "http://[::1", "want http"),
        ("--registry-url", "http://me:s3cret@h", "no credentials"),
    ],
)
def test_a_wrong_setting_of_the_node(flag: str, value: str, said: str) -> None:
    ended = run("config", flag, value, program="floxbridge-node")
    assert (ended.code, f"setting {flag}: " in ended.err, said in ended.err) == (2, True, True), ended.err
    assert "s3cret" not in ended.err


def test_the_nodes_configuration() -> None:
    said = run("config", "--json", program="floxbridge-node", variables={"FLOXBRIDGE_NODE_REGISTRY_URL": "http://r:1"})
    assert said.json["registry_url"]["value"] == "http://r:1"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str) -> None:
    said = run(command, "--help")
    assert (said.code, f"floxbridge {command}" in said.out) == (0, True)
    if command in ("resolve", "explain", "completion", "hub"):
        assert "examples:" in said.out


def test_a_reader_that_goes_away_is_no_mistake() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [BIN / "floxbridge", "completion", "bash"],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=_DEADLINE_S,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
