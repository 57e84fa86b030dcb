"""Pods as kubelet runs them: which environment they get, and what a restart changes."""

import json
from dataclasses import replace

from floxbridge_demo.containerd_config import PLAIN_HANDLER
from floxbridge_demo.cri import ContainerSpec, read_log
from floxbridge_demo.installation import run_command
from floxbridge_demo.pod import PodSpec
from floxbridge_demo.sandbox_image import SANDBOX_IMAGE
from tests.echoip import ENVIRONMENT
from tests.node.conftest import Node

EMPTY = "flox/empty:1.0.0"
INTRODUCTION = PodSpec("introduction", EMPTY, {"flox.dev/environment": ENVIRONMENT}, ("echoip",))
FOREVER = ("sleep", "600")


def said(output: str) -> dict[str, str]:
    """What echoip printed, by name."""
    lines = (line.partition(":") for line in output.splitlines())
    return {name: value.strip() for name, _, value in lines}


def by_image(environment: str, tag: str = "live") -> PodSpec:
    return PodSpec("by-image", f"flox/empty/{environment}:{tag}")


def test_the_pod_of_the_introduction(node: Node) -> None:
    with node.pod(INTRODUCTION) as pod:
        answers = said(pod.turn().output)
    assert answers["environment"] == ENVIRONMENT
    assert answers["commands"] == "echoip"
    assert answers["note"] == "first"
    index = node.echoip.index(ENVIRONMENT)
    assert answers["lockfile"] == index["annotations"]["dev.flox.lockfile"]


def test_the_environment_as_an_image(node: Node) -> None:
    with node.pod(by_image(ENVIRONMENT)) as pod:
        turn = pod.turn()
    assert said(turn.output)["environment"] == ENVIRONMENT
    assert turn.digest == node.echoip.registry.digest(ENVIRONMENT)


def test_a_restart_picks_up_what_is_live_and_fetches_what_changed(node: Node) -> None:
    echoip, registry, packages = node.echoip, node.echoip.registry, node.echoip.packages
    environment = echoip.new_environment(packages.echoip)
    annotated = replace(INTRODUCTION, name="annotated", annotations={"flox.dev/environment": environment})
    with node.pod(by_image(environment)) as imaged, node.pod(annotated) as by_annotation:
        first = imaged.turn()
        assert said(first.output)["commands"] == "echoip"
        fetched = node.agent.fetched_bytes()

        echoip.push(environment, packages.echoip, packages.greeting)
        registry.wait_for_another(environment, first.digest)
        second = imaged.turn()
        assert said(second.output)["commands"] == "echoip greeting"
        assert second.digest != first.digest
        assert said(by_annotation.turn().output) == said(second.output)
        assert node.agent.fetched_bytes() - fetched < 10_000

        fetched = node.agent.fetched_bytes()
        echoip.hub.switch(environment, 1)
        registry.wait_for_another(environment, second.digest)
        assert imaged.turn() == first
        assert node.agent.fetched_bytes() == fetched


def test_a_pinned_generation_stays(node: Node) -> None:
    echoip, packages = node.echoip, node.echoip.packages
    environment = echoip.new_environment(packages.echoip)
    echoip.push(environment, packages.echoip, packages.greeting)
    annotated = replace(INTRODUCTION, name="pinned", annotations={"flox.dev/environment": f"{environment}:1"})
    for pinned in (by_image(environment, "1"), annotated):
        with node.pod(pinned) as pod:
            assert said(pod.turn().output)["commands"] == "echoip"


def test_the_container_sees_the_environment_and_nothing_of_ours(node: Node) -> None:
    environment = node.echoip.new_environment(node.echoip.packages.busybox)
    script = "env; touch /nix/store/new 2>&1; echo; ls -d /nix/store/*-busybox-static; touch /tmp/new && echo tmp"
    with node.pod(replace(by_image(environment), command=("busybox", "sh", "-c", script))) as pod:
        variables, _, rest = pod.turn().output.partition("\n\n")
    names = {line.partition("=")[0] for line in variables.splitlines()}
    assert {"PATH", "FLOX_ENV", "FLOX_ENV_DESCRIPTION"} <= names
    assert not [name for name in names if name.startswith("FLOXBRIDGE_")]
    assert "Read-only file system" in variables
    assert rest.splitlines() == [str(node.echoip.packages.busybox.path), "tmp"]


def test_exec_goes_through(node: Node) -> None:
    packages = node.echoip.packages
    environment = node.echoip.new_environment(packages.busybox)
    with node.pod(by_image(environment)) as pod:
        node.cri.pull(f"flox/empty/{environment}:live")
        spec = ContainerSpec("sleeper", f"flox/empty/{environment}:live", ("busybox", *FOREVER))
        container = node.cri.create(pod.sandbox, spec)
        node.cri.start(container)
        script = "echo out; echo err >&2; exit 3"
        done = node.cri.execute(container, f"{packages.busybox.path}/bin/busybox", "sh", "-c", script)
        assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_another_runtime_handler_is_left_alone(node: Node) -> None:
    told = {"flox.dev/environment": "nobody/nothing"}
    with node.pod(PodSpec("plain", SANDBOX_IMAGE, told, runtime_class=PLAIN_HANDLER)) as pod:
        spec = ContainerSpec("plain", SANDBOX_IMAGE, ("/bin/busybox", "echo", "plain"))
        container = node.cri.create(pod.sandbox, spec)
        node.cri.start(container)
        node.cri.wait(container)
        assert read_log(container.log) == "plain\n"


def test_a_skipped_container_is_left_alone(node: Node) -> None:
    told = {"flox.dev/environment": ENVIRONMENT, "flox.dev/skip-containers": "sidecar"}
    with node.pod(PodSpec("skipping", EMPTY, told)) as pod:
        container = node.cri.create(pod.sandbox, ContainerSpec("sidecar", SANDBOX_IMAGE, ("/bin/busybox", "env")))
        node.cri.start(container)
        assert node.cri.wait(container).exit_code == 0
        assert "FLOX_ENV" not in read_log(container.log)


def test_what_a_container_uses_is_leased_while_it_is_there(node: Node) -> None:
    environment = node.echoip.new_environment(node.echoip.packages.busybox)
    with node.pod(by_image(environment)) as pod:
        image = f"flox/empty/{environment}:live"
        node.cri.pull(image)
        running = node.cri.create(pod.sandbox, ContainerSpec("sleeper", image, ("busybox", *FOREVER)))
        node.cri.start(running)
        assert running.id in leases(node)


def leases(node: Node) -> list[str]:
    places = ["--state-dir", str(node.agent.state), "--socket", str(node.agent.socket)]
    status = json.loads(run_command(node.workplace, "floxbridge-node", "status", "--json", *places))
    return [lease["container"] for lease in status["leases"]]
