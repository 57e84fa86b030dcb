"""Pods of every shape that people write, through CRI: users, file systems, terminals, images, several containers."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from floxbridge_demo.cri import Container, ContainerSpec, CriFailed, read_log
from floxbridge_demo.packages import Package
from floxbridge_demo.pod import PodSpec, RunningPod
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from tests.echoip import EchoIp
from tests.node.conftest import Node
from tests.node.ordinary_image import ORDINARY_IMAGE, OWN_SHELL, OWN_STORE_IMAGE, ordinary_image_archive
from tests.node.pushed import bash_package, push

EMPTY = "flox/empty:1.0.0"
_BASH = Path("/bin/bash-static")
_HOOK = "export HOOKED=$V; cd /tmp; echo hook"


@dataclass(frozen=True, slots=True)
class Shapes:
    """Two environments, one activated by a script and one without, and an image to put them on."""

    node: Node
    scripted: str
    static: str

    def environment(self, kind: str) -> str:
        return self.scripted if kind == "scripted" else self.static


@pytest.fixture(scope="session")
def environments(echoip: EchoIp, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    scratch = tmp_path_factory.mktemp("shapes")
    bash = bash_package(echoip)
    busybox = echoip.packages.busybox
    manifest = {"vars": {"V": "$FLOX_ENV_CACHE/v"}, "hook": {"on-activate": _HOOK}}
    scripted = push(echoip, scratch / "scripted", "shapes/scripted", busybox, bash, **manifest)
    static = push(echoip, scratch / "static", "shapes/static", busybox, vars={"HOOKED": "/tmp/v"})
    return scripted, static


@pytest.fixture(scope="session")
def shapes(node: Node, environments: tuple[str, str]) -> Shapes:
    archive = node.workplace.path("ordinary.tar")
    for image in (ORDINARY_IMAGE, OWN_STORE_IMAGE):
        archive.write_bytes(ordinary_image_archive(image))
        node.containerd.ctr("images", "import", "--snapshotter", node.containerd.places.snapshotter, str(archive))
    return Shapes(node, *environments)


def pod(environment: str, **annotations: str) -> PodSpec:
    told = {f"flox.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return PodSpec("shapes", EMPTY, {"flox.dev/environment": environment, **told})


def started(shapes: Shapes, running: RunningPod, spec: ContainerSpec) -> Container:
    if spec.image not in (SANDBOX_IMAGE, ORDINARY_IMAGE, OWN_STORE_IMAGE):
        shapes.node.cri.pull(spec.image)
    container = shapes.node.cri.create(running.sandbox, spec)
    shapes.node.cri.start(container)
    return container


def output(shapes: Shapes, running: RunningPod, spec: ContainerSpec) -> str:
    container = started(shapes, running, spec)
    finished = shapes.node.cri.wait(container)
    assert finished.exit_code == 0, f"{finished.message} {read_log(container.log)}"
    # A terminal has one stream, which begins with what the hook says.
    return read_log(container.log, stream="stdout").replace("\r", "").removeprefix("hook\n")


LOOK = ("busybox", "sh", "-c", "echo $$ $HOOKED $(busybox id -u):$(busybox id -g) $(busybox pwd) $HOME")
MAIN = ContainerSpec("main", EMPTY, LOOK)


@pytest.fixture(scope="session")
def pods(shapes: Shapes) -> Iterator[dict[str, RunningPod]]:
    """One of each kind, for tests that only add a container."""
    with ExitStack() as running:
        yield {
            kind: running.enter_context(shapes.node.pod(pod(shapes.environment(kind))))
            for kind in ("scripted", "static")
        }


@pytest.mark.parametrize("kind", ["scripted", "static"])
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(MAIN, "1 /tmp/v 0:0 / /root", id="root"),
        pytest.param(replace(MAIN, user=(12345, 54321)), "1 /tmp/v 12345:54321 / /", id="user-without-a-name"),
        pytest.param(replace(MAIN, read_only_root=True), "1 /tmp/v 0:0 / /root", id="read-only-root"),
        pytest.param(
            replace(MAIN, read_only_root=True, user=(1000, 1000)), "1 /tmp/v 1000:1000 / /", id="read-only-and-user"
        ),
        pytest.param(replace(MAIN, working_dir="/tmp"), "1 /tmp/v 0:0 /tmp /root", id="working-dir"),
        pytest.param(replace(MAIN, working_dir="/new/one"), "1 /tmp/v 0:0 /new/one /root", id="new-working-dir"),
        pytest.param(replace(MAIN, tty=True), "1 /tmp/v 0:0 / /root", id="tty"),
        pytest.param(replace(MAIN, env={"HOME": "/x", "HOOKED": "old"}), "1 /tmp/v 0:0 / /x", id="env"),
        pytest.param(replace(MAIN, image=ORDINARY_IMAGE), "1 /tmp/v 0:0 /srv /root", id="ordinary-image"),
        pytest.param(
            replace(MAIN, image=ORDINARY_IMAGE, user=(1000, 1000), read_only_root=True),
            "1 /tmp/v 1000:1000 /srv /home/app",
            id="ordinary-image-and-user",
        ),
    ],
)
def test_a_container(
    shapes: Shapes, pods: dict[str, RunningPod], kind: str, spec: ContainerSpec, expected: str
) -> None:
    named = replace(spec, name=f"c{secrets.token_hex(4)}")
    assert output(shapes, pods[kind], named).splitlines() == [expected]


@pytest.mark.parametrize("kind", ["scripted", "static"])
def test_the_programs_of_an_ordinary_image(shapes: Shapes, pods: dict[str, RunningPod], kind: str) -> None:
    script = "cat /etc/passwd >/dev/null && env && busybox true && readlink /proc/self/exe"
    said = output(shapes, pods[kind], ContainerSpec("programs", ORDINARY_IMAGE, ("/bin/sh", "-c", script)))
    *variables, program = said.splitlines()
    found = dict(line.split("=", 1) for line in variables)
    assert found["PATH"] == f"{found['FLOX_ENV']}/bin:/usr/bin:/bin"
    assert (found["LANG"], program) == ("C.UTF-8", "/usr/bin/readlink")


@pytest.mark.parametrize("kind", ["scripted", "static"])
def test_an_image_with_packages_of_its_own(shapes: Shapes, kind: str) -> None:
    """Its own are there beside the environment's, and so they are for who joins; none can be changed."""
    look = (OWN_SHELL, "-c", "busybox echo $HOOKED; /bin/touch /nix/store/new || echo read-only")
    with shapes.node.pod(pod(shapes.environment(kind))) as running:
        once = ContainerSpec("once", OWN_STORE_IMAGE, look)
        assert output(shapes, running, once) == "/tmp/v\nread-only\n"
        staying = started(shapes, running, ContainerSpec("staying", OWN_STORE_IMAGE, (OWN_SHELL, "-c", "sleep 600")))
        joined = shapes.node.cri.execute(staying, *look)
        assert (joined.exit_code, joined.stdout) == (0, "/tmp/v\nread-only\n"), joined.stderr


@pytest.fixture(scope="session")
def propagating(echoip: EchoIp, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with a package that brings another one to those who develop with it."""
    scratch = tmp_path_factory.mktemp("propagating")
    greeting, busybox = echoip.packages.greeting, echoip.packages.busybox
    (scratch / "tree" / "nix-support").mkdir(parents=True)
    (scratch / "tree" / "nix-support" / "propagated-build-inputs").write_text(f"{greeting.path}\n")
    path = echoip.cache.add("library-1.0", scratch / "tree", [greeting.path])
    library = Package("library", "1.0", "Brings greeting along", path)
    return push(echoip, scratch / "files", "shapes/propagating", busybox, library)


@pytest.mark.parametrize(("mode", "expected"), [("run", "none"), ("dev", "Hello from shapes/propagating")])
def test_a_mode(shapes: Shapes, propagating: str, mode: str, expected: str) -> None:
    """`dev` has variables for compilers, and what its packages propagate."""
    command = ("busybox", "sh", "-c", "echo ${CPATH-none}; greeting 2>/dev/null || echo none")
    with shapes.node.pod(pod(propagating, activate_mode=mode)) as running:
        variable, propagated = output(shapes, running, replace(MAIN, command=command)).splitlines()
    assert (variable == "none") is (mode == "run")
    assert propagated == expected


def test_every_annotation_at_once(shapes: Shapes) -> None:
    """Also one that nobody knows: the container runs, and the agent's log names it."""
    told = {"activate_mode": "run", "nix_mutable": "false", "disable_metrics": "true"}
    lists = {"skip_containers": "other", "skip_containers_exec": "other,another"}
    with shapes.node.pod(pod(f"{shapes.static}:1", **told, **lists, colour="red")) as running:
        container = started(shapes, running, replace(MAIN, name="annotated"))
        assert shapes.node.cri.wait(container).exit_code == 0
    created = {event["container"]: event for event in shapes.node.agent.program.events("created")}
    warnings = created[container.id]["warnings"]
    assert warnings == ["annotation flox.dev/colour is not one that floxbridge knows"]


@pytest.mark.parametrize("kind", ["scripted", "static"])
def test_a_terminal_is_one(shapes: Shapes, pods: dict[str, RunningPod], kind: str) -> None:
    script = "test -t 0 && test -t 1 && test -t 2 && echo terminal"
    spec = ContainerSpec(f"c{secrets.token_hex(4)}", EMPTY, ("busybox", "sh", "-c", script), tty=True)
    assert output(shapes, pods[kind], spec) == "terminal\n"


def test_the_nodes_network_is_the_pods(shapes: Shapes, pods: dict[str, RunningPod]) -> None:
    """Every pod here asks for it, as `hostNetwork: true` does."""
    spec = ContainerSpec("network", EMPTY, ("busybox", "readlink", "/proc/self/ns/net"))
    assert output(shapes, pods["static"], spec).strip() == str(Path("/proc/self/ns/net").readlink())


def test_a_store_of_its_own(shapes: Shapes) -> None:
    spec = replace(MAIN, command=("busybox", "sh", "-c", "busybox touch /nix/store/new && busybox ls /nix/store"))
    with shapes.node.pod(pod(shapes.scripted, nix_mutable="true")) as running:
        assert "new" in output(shapes, running, spec).split()
    assert not (shapes.node.agent.state / "store" / "new").exists()


def test_a_pod_of_several_containers(shapes: Shapes) -> None:
    """An init container, the main one, a sidecar of its own kind, and one that is left alone."""
    told = pod(shapes.scripted, skip_containers="plain", skip_containers_exec="quiet")
    forever = ("busybox", "sleep", "600")
    with shapes.node.pod(told) as running:
        assert output(shapes, running, replace(MAIN, name="init")) == "1 /tmp/v 0:0 / /root\n"
        main = started(shapes, running, ContainerSpec("main", EMPTY, forever))
        sidecar = started(shapes, running, ContainerSpec("sidecar", ORDINARY_IMAGE, ("sleep", "600")))
        quiet = started(shapes, running, ContainerSpec("quiet", EMPTY, forever))
        plain = started(shapes, running, ContainerSpec("plain", SANDBOX_IMAGE))
        look = ("busybox", "sh", "-c", "echo $HOOKED")
        cri = shapes.node.cri
        for container in (main, sidecar):
            done = cri.execute(container, *look)
            assert (done.exit_code, done.stdout) == (0, "/tmp/v\n"), done.stderr
        assert cri.execute(plain, "/bin/busybox", "sh", "-c", "echo ${FLOX_ENV-none}").stdout == "none\n"
        busybox = f"{shapes.node.echoip.packages.busybox.path}/bin/busybox"
        assert cri.execute(quiet, busybox, "sh", "-c", "echo ${FLOX_ENV-none}").stdout == "none\n"
        missing = cri.execute(main, "nowhere")
        assert (missing.exit_code, missing.stderr) == (1, "nowhere: command not found\n")


@pytest.mark.parametrize("kind", ["scripted", "static"])
def test_a_signal_ends_the_command(shapes: Shapes, pods: dict[str, RunningPod], kind: str) -> None:
    """A command that takes SIGTERM gets it as process 1, and not after the grace that kubelet gives."""
    script = "trap 'exit 9' TERM; echo ready; while :; do busybox sleep 0.1; done"
    cri = shapes.node.cri
    container = started(shapes, pods[kind], ContainerSpec("signalled", EMPTY, ("busybox", "sh", "-c", script)))
    while "ready" not in read_log(container.log):
        assert cri.status(container).exit_code == 0
    cri.stop(container, grace_s=60)
    assert cri.wait(container).exit_code == 9


def test_a_hook_that_fails(shapes: Shapes, tmp_path: Path) -> None:
    echoip = shapes.node.echoip
    bash = bash_package(echoip)
    hook = {"on-activate": "exit 4"}
    environment = push(echoip, tmp_path / "files", f"shapes/f{tmp_path.name.lower()}", bash, hook=hook)
    with shapes.node.pod(pod(environment)) as running:
        container = started(shapes, running, MAIN)
        assert shapes.node.cri.wait(container).exit_code == 1
        assert "Running hook.on-activate failed (exit status 4)" in read_log(container.log)


def test_a_secret_that_is_none(shapes: Shapes, tmp_path: Path) -> None:
    with shapes.node.pod(pod(shapes.static)) as running:
        volume = {"/var/run/secrets/flox.dev": tmp_path}
        with pytest.raises(CriFailed, match=r"the FloxHub token mounted at /var/run/secrets/flox.dev cannot be read"):
            started(shapes, running, replace(MAIN, image=ORDINARY_IMAGE, mounts=volume))
        (tmp_path / "floxhub-token").write_text("flox_pat_1\n")
        assert output(shapes, running, replace(MAIN, name="second", mounts=volume)) == "1 /tmp/v 0:0 / /root\n"
