"""The agent with real bundles, real leases and a real launcher."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from shim_hooks.agent_listener import listening
from shim_hooks.agent_socket import AgentServer
from shim_hooks.environment.realised import Shown
from shim_hooks.errors import (
    BundleInvalid,
    NodeError,
    NotSupported,
    Refused,
    RegistryRefused,
    RegistryUnavailable,
    StoreFailed,
)
from shim_hooks.floxhub_token import FloxHubToken
from shim_hooks.launcher.build import build_launcher
from shim_hooks.launcher_protocol import CreateRequest, DeleteRequest, ExecRequest
from shim_hooks.log import Log
from tests.conftest import needs, needs_root
from tests.integration.agent_rig import WEB, AgentRig, config, image, lockfile, variables
from tests.integration.launcher_rig import Outcome, Rig

pytestmark = pytest.mark.anyio

PLAIN = lockfile(vars={"GREETING": "hello"})
ANNOTATED = {"flox.dev/environment": "acme/web"}


@pytest.fixture
def rig(tmp_path: Path) -> AgentRig:
    return AgentRig(tmp_path)


def create(bundle: Path, *, deadline_s: float = 60) -> CreateRequest:
    return CreateRequest(bundle, "c1", deadline_s)


async def test_a_container_of_an_environment_image(rig: AgentRig) -> None:
    path = rig.environments.add(WEB, PLAIN)
    bundle = rig.bundle(env=image(PLAIN))
    await rig.agent.create(create(bundle))
    found = variables(bundle)
    assert (found["PATH"], found["FLOX_ENV"], found["GREETING"]) == (f"{path}/bin:/bin", str(path), "hello")
    assert not [name for name in found if name.startswith("FLOXBRIDGE_")]
    assert [mount["destination"] for mount in config(bundle)["mounts"]] == ["/tmp", "/nix/store"]  # type: ignore[attr-defined]
    assert config(bundle)["mounts"][1]["source"] == str(rig.environments.store_dir)  # type: ignore[index]
    lease = rig.leases.find("c1")
    assert lease is not None
    assert (lease.bundle, lease.paths) == (bundle, frozenset({path}))
    (event,) = rig.logged()
    assert (event["event"], event["environment"], event["generation"]) == ("created", "acme/web", 1)


async def test_the_live_generation_is_asked_for(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    second = rig.environments.add(WEB, lockfile(vars={"GREETING": "two"}))
    bundle = rig.bundle(annotations=ANNOTATED)
    await rig.agent.create(create(bundle))
    assert variables(bundle)["FLOX_ENV"] == str(second)


async def test_a_second_create_of_a_bundle_changes_nothing(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    bundle = rig.bundle(annotations=ANNOTATED)
    await rig.agent.create(create(bundle))
    before = (bundle / "config.json").read_bytes()
    rig.environments.add(WEB, lockfile())
    await rig.agent.create(create(bundle))
    assert (bundle / "config.json").read_bytes() == before
    assert rig.logged()[1]["generation"] == 1


async def test_certificates_are_found_behind_links(rig: AgentRig) -> None:
    path = rig.environments.add(WEB, PLAIN)
    cacert = rig.environments.add(WEB, PLAIN, {"etc/ssl/certs/ca-bundle.crt": "PEM"})
    (rig.environments.store_dir / path.base_name / "etc").symlink_to(f"{cacert}/etc")
    bundle = rig.bundle(annotations={"flox.dev/environment": "acme/web:1"})
    await rig.agent.create(create(bundle))
    assert variables(bundle)["SSL_CERT_FILE"] == f"{path}/etc/ssl/certs/ca-bundle.crt"


def _process(rig: AgentRig, env: list[str]) -> Path:
    path = rig.folder / "process.json"
    path.write_text(json.dumps({"args": ["sh"], "cwd": "/", "env": env, "user": {"uid": 7}}))
    return path


async def test_an_exec_gets_what_its_container_got(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    bundle = rig.bundle(annotations=ANNOTATED, env=image(PLAIN))
    await rig.agent.create(create(bundle))
    rig.environments.add(WEB, lockfile())
    path = _process(rig, [*image(PLAIN), "TERM=xterm"])
    await rig.restarted().agent.exec(ExecRequest(path, "c1", 60))
    edited = json.loads(path.read_text())
    assert dict(entry.split("=", 1) for entry in edited["env"]) == {**variables(bundle), "TERM": "xterm"}
    assert (edited["args"], edited["user"]) == (["sh"], {"uid": 7})


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({"flox.dev/skip-containers": "main"}, id="container-left-alone"),
        pytest.param({"flox.dev/skip-containers-exec": "side, main"}, id="exec-left-alone"),
    ],
)
async def test_an_exec_that_is_left_alone(rig: AgentRig, annotations: dict[str, str]) -> None:
    rig.environments.add(WEB, PLAIN)
    named = {"io.kubernetes.cri.container-name": "main", **ANNOTATED, **annotations}
    await rig.agent.create(create(rig.bundle(annotations=named)))
    path = _process(rig, ["PATH=/bin"])
    before = path.read_bytes()
    for container_id in ("c1", "unknown"):
        await rig.agent.exec(ExecRequest(path, container_id, 60))
    assert path.read_bytes() == before


async def test_an_exec_that_cannot_be_edited(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    await rig.agent.create(create(rig.bundle(annotations=ANNOTATED)))
    (rig.folder / "process.json").write_text("not json")
    with pytest.raises(BundleInvalid, match="process: not JSON"):
        await rig.agent.exec(ExecRequest(rig.folder / "process.json", "c1", 60))
    (rig.folder / "state" / "leases" / "c1.json").write_text("garbage")
    with pytest.raises(StoreFailed, match="container c1: lease: not JSON"):
        await rig.agent.exec(ExecRequest(rig.folder / "process.json", "c1", 60))


@pytest.mark.parametrize(
    ("annotations", "env"),
    [pytest.param({}, image(PLAIN), id="by-image"), pytest.param(ANNOTATED, ["PATH=/bin"], id="the-live-generation")],
)
async def test_what_was_here_before_is_not_waited_for(
    rig: AgentRig, annotations: dict[str, str], env: list[str]
) -> None:
    path = rig.environments.add(WEB, PLAIN)
    await rig.agent.create(create(rig.bundle("first", annotations=annotations, env=env)))
    rig.environments.held = asyncio.Event()
    second = rig.bundle("second", annotations=annotations, env=env)
    await rig.agent.create(CreateRequest(second, "c2", 60))
    assert variables(second)["FLOX_ENV"] == str(path)
    lease = rig.leases.find("c2")
    assert lease is not None
    assert lease.paths == frozenset({path})
    process = _process(rig, env)
    await rig.agent.exec(ExecRequest(process, "c2", 60))
    assert f"FLOX_ENV={path}" in json.loads(process.read_text())["env"]


async def test_what_was_here_before_and_is_gone_is_waited_for(rig: AgentRig) -> None:
    """And until it is there nothing has been done: the bundle is as it was, and nothing is leased."""
    path = rig.environments.add(WEB, PLAIN)
    await rig.agent.create(create(rig.bundle("first", env=image(PLAIN))))
    shutil.rmtree(rig.environments.store_dir / path.base_name)
    rig.environments.held = asyncio.Event()
    second = rig.bundle("second", env=image(PLAIN))
    before = (second / "config.json").read_bytes()
    with pytest.raises(RegistryUnavailable, match="is not on the node"):
        await rig.agent.create(CreateRequest(second, "c2", 0.01))
    assert (second / "config.json").read_bytes() == before
    assert rig.leases.find("c2") is None


async def test_the_sandbox_is_left_alone(rig: AgentRig) -> None:
    bundle = rig.bundle(annotations={**ANNOTATED, "io.kubernetes.cri.container-type": "sandbox"})
    before = (bundle / "config.json").stat()
    await rig.agent.create(create(bundle))
    after = (bundle / "config.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert rig.leases.container_ids() == ()
    assert (rig.logged()[0]["event"], rig.logged()[0]["reason"]) == ("untouched", "the pod's sandbox")


async def test_unknown_annotations_are_logged(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    await rig.agent.create(create(rig.bundle(annotations={**ANNOTATED, "flox.dev/trust": "x"})))
    assert rig.logged()[0]["warnings"] == ["annotation flox.dev/trust is not one that floxbridge knows"]


def _with_odd_store(bundle: Path) -> None:
    """In a root filesystem that no mount can name."""
    (bundle / "odd:rootfs" / "nix" / "store" / "x").mkdir(parents=True)
    document = json.loads((bundle / "config.json").read_text())
    (bundle / "config.json").write_text(json.dumps({**document, "root": {"path": "odd:rootfs"}}))


def _without_rootfs(bundle: Path) -> None:
    (bundle / "rootfs").rmdir()


async def test_a_state_directory_that_no_mount_can_name_has_public_environments_alone(tmp_path: Path) -> None:
    rig = AgentRig(tmp_path / "a,b")
    rig.environments.add(WEB, PLAIN)
    await rig.agent.create(create(rig.bundle("public", annotations=ANNOTATED)))
    rig.environments.own = rig.folder / "state" / "private" / "1"
    rig.environments.add(WEB, lockfile(vars={"A": "1"}))
    bundle = rig.bundle("private", annotations=ANNOTATED)
    with pytest.raises(NotSupported, match=r"a comma, colon or backslash: give floxbridge-node another state"):
        await rig.agent.create(CreateRequest(bundle, "c2", 30))
    assert rig.leases.container_ids() == ("c1",)


@pytest.mark.parametrize(
    ("annotation", "spoil", "kind", "words"),
    [
        pytest.param("acme/none", None, RegistryRefused, "acme/none has no generation", id="unknown-environment"),
        pytest.param("acme/web:9", None, RegistryRefused, "acme/web has no generation 9", id="unknown-generation"),
        pytest.param("acme/web:2", None, Refused, "its manifest has a hook", id="scripted-without-bash"),
        pytest.param("acme/web:3", None, Refused, "the value of A in its [vars] needs a shell", id="expansion"),
        pytest.param("acme/web:1", _with_odd_store, NotSupported, "a comma, colon or backslash", id="own-store"),
        pytest.param("acme/web:1", _without_rootfs, BundleInvalid, "root filesystem", id="no-rootfs"),
    ],
)
async def test_a_refusal_leaves_everything_as_it_was(
    rig: AgentRig, annotation: str, spoil: "object", kind: type[NodeError], words: str
) -> None:
    rig.environments.add(WEB, PLAIN)
    rig.environments.add(WEB, lockfile(hook={"on-activate": "echo hi"}))
    rig.environments.add(WEB, lockfile(vars={"A": "$HOME"}))
    bundle = rig.bundle(annotations={"flox.dev/environment": annotation})
    if callable(spoil):
        spoil(bundle)
    before = (bundle / "config.json").read_bytes()
    with pytest.raises(kind) as refused:
        await rig.agent.create(create(bundle))
    assert words in str(refused.value)
    assert (bundle / "config.json").read_bytes() == before
    assert rig.leases.container_ids() == ()


async def test_a_config_that_is_no_json(rig: AgentRig) -> None:
    bundle = rig.bundle()
    (bundle / "config.json").write_text("not json")
    with pytest.raises(BundleInvalid, match=r"config\.json: not JSON"):
        await rig.agent.create(create(bundle))


async def test_a_disk_that_takes_nothing_drops_the_lease(rig: AgentRig) -> None:
    needs_root()
    needs("mount")
    rig.environments.add(WEB, PLAIN)
    bundle = rig.bundle(annotations=ANNOTATED)
    mounted = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(bundle))
    if await mounted.wait() != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        document = f'{{"process":{{}},"root":{{"path":"{rig.folder}"}},"annotations":{json.dumps(ANNOTATED)}}}'.encode()
        (bundle / "config.json").write_bytes(document)
        with pytest.raises(StoreFailed, match="cannot be written: No space left on device"):
            await rig.agent.create(create(bundle))
        assert (bundle / "config.json").read_bytes() == document
    finally:
        await (await asyncio.create_subprocess_exec("umount", str(bundle))).wait()
    assert rig.leases.container_ids() == ()


async def test_the_launchers_deadline_is_kept(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    rig.environments.held = asyncio.Event()
    bundle = rig.bundle(annotations=ANNOTATED)
    with pytest.raises(RegistryUnavailable, match="acme/web is not on the node after 0 s; fetching goes on"):
        await rig.agent.create(create(bundle, deadline_s=0.01))


async def test_a_lease_lasts_as_long_as_the_bundle(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    for name in ("c1", "c2"):
        await rig.agent.create(CreateRequest(rig.bundle(name, annotations=ANNOTATED), name, 60))
    shutil.rmtree(rig.folder / "bundles" / "c1")
    sweeping = asyncio.create_task(rig.agent.sweep_leases(after_delete_s=0, interval_s=3600))
    try:
        assert (await rig.event("leases_dropped", 1))["containers"] == ["c1"]
        assert rig.leases.container_ids() == ("c2",)
        shutil.rmtree(rig.folder / "bundles" / "c2")
        rig.agent.delete(DeleteRequest("c2"))
        assert (await rig.event("leases_dropped", 2))["containers"] == ["c2"]
    finally:
        sweeping.cancel()


A, B = b"/run/containerd/runc/a", b"/run/containerd/runc/b"


async def test_containers_of_one_id_in_two_namespaces_are_two(rig: AgentRig) -> None:
    """`ctr -n a run … web` and `ctr -n b run … web`: neither gets what is the other's."""
    other = EnvironmentName.parse("acme/other")
    paths = {A: rig.environments.add(WEB, PLAIN), B: rig.environments.add(other, lockfile(vars={"SECRET": "1"}))}
    for root, name in ((A, "acme/web"), (B, "acme/other")):
        bundle = rig.bundle(name.replace("/", "-"), annotations={"flox.dev/environment": name})
        await rig.agent.create(CreateRequest(bundle, "web", 60, root))
    for root, path in paths.items():
        process = _process(rig, ["PATH=/bin"])
        await rig.restarted().agent.exec(ExecRequest(process, "web", 60, root))
        found = dict(entry.split("=", 1) for entry in json.loads(process.read_text())["env"])
        assert (found["FLOX_ENV"], "SECRET" in found) == (str(path), root == B)


async def test_a_mutable_store_is_not_taken_by_a_container_of_the_same_id(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    mutable = {**ANNOTATED, "flox.dev/nix-mutable": "true"}
    await rig.agent.create(CreateRequest(rig.bundle("a", annotations=mutable), "web", 60, A))
    (store,) = (rig.folder / "state" / "mutable").iterdir()
    (store / "upper" / "database").touch()
    second = rig.bundle("b", annotations=mutable)
    await rig.agent.create(CreateRequest(second, "web", 60, B))
    assert (store / "upper" / "database").exists()
    shutil.rmtree(second)
    assert len(rig.leases.sweep()) == 1
    rig.mutable.sweep(rig.leases.container_ids)
    assert [each.name for each in (rig.folder / "state" / "mutable").iterdir()] == [store.name]


async def test_a_second_container_of_an_id_takes_nothing_from_the_first(rig: AgentRig) -> None:
    """runc refuses it, too, but only after us."""
    rig.environments.add(WEB, PLAIN)
    mutable = {**ANNOTATED, "flox.dev/nix-mutable": "true"}
    root = os.fsencode(rig.folder / "runc")
    first = CreateRequest(rig.bundle("a", annotations=mutable), "web", 60, root)
    await rig.agent.create(first)
    (rig.folder / "runc" / "web").mkdir(parents=True)  # as runc does
    (store,) = (rig.folder / "state" / "mutable").iterdir()
    (store / "upper" / "database").touch()
    second = rig.bundle("b", annotations=mutable)
    before = (second / "config.json").read_bytes()
    with pytest.raises(Refused, match="there is a container web already"):
        await rig.agent.create(CreateRequest(second, "web", 60, root))
    lease = rig.leases.find(first.key)
    assert lease is not None
    assert (lease.bundle, (store / "upper" / "database").exists()) == (first.bundle, True)
    assert (second / "config.json").read_bytes() == before


# ---- with the launcher ----


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("launcher") / "floxbridge-runc"
    build_launcher(output)
    return output


async def _through_the_launcher(rig: AgentRig, launcher: Path, bundle: Path) -> tuple[Rig, Outcome]:
    (rig.folder / "front").mkdir(mode=0o700)
    front = Rig(rig.folder / "front", launcher)
    stop = asyncio.Event()
    with listening(front.socket) as listener:
        serving = asyncio.create_task(AgentServer(rig.agent, Log()).serve(listener, stop, grace_s=20))
        arguments = ("--log", str(front.log), "--log-format", "json", "create", "--bundle", str(bundle), "c1")
        outcome = await asyncio.to_thread(front.run, *arguments)
        stop.set()
        await serving
    return front, outcome


async def test_a_create_through_the_launcher(rig: AgentRig, launcher: Path) -> None:
    path = rig.environments.add(WEB, PLAIN)
    bundle = rig.bundle(annotations=ANNOTATED)
    _, outcome = await _through_the_launcher(rig, launcher, bundle)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.runtime_argv is not None
    assert variables(bundle)["FLOX_ENV"] == str(path)


async def test_the_agents_sentence_is_the_launchers(rig: AgentRig, launcher: Path) -> None:
    bundle = rig.bundle(annotations={"flox.dev/environment": "acme/none:4"})
    front, outcome = await _through_the_launcher(rig, launcher, bundle)
    assert (outcome.code, outcome.stderr) == (1, "acme/none has no generation 4\n")
    assert front.logged()[-1]["msg"] == "acme/none has no generation 4"


async def test_the_token_of_the_pod_goes_along(rig: AgentRig) -> None:
    rig.environments.add(WEB, PLAIN)
    (rig.folder / "secret").mkdir()
    (rig.folder / "secret" / "floxhub-token").write_text("flox_pat_1\n")
    mount = {"destination": "/run/secrets/flox.dev", "type": "bind", "source": str(rig.folder / "secret")}
    bundle = rig.bundle(annotations=ANNOTATED, mounts=[mount])
    await rig.agent.create(create(bundle))
    rig.environments.given.clear()
    await rig.agent.exec(ExecRequest(_process(rig, ["PATH=/bin"]), "c1", 60))
    asked, created, joined = rig.environments.wishes
    assert (asked.shown, asked.token) == (None, FloxHubToken("flox_pat_1"))
    assert (created.shown, created.token) == (Shown.TO_ALL, FloxHubToken("flox_pat_1"))
    assert (joined.shown, joined.token) == (Shown.TO_ITS_PODS, None)
    assert "flox_pat_1" not in json.dumps(rig.logged()) + (bundle / "config.json").read_text()
