"""What the demo does and tells, act by act, in a workplace that somebody else sweeps.

Belongs here: the order of things and the words. Run as a program of its own by `story.py`.
"""

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from floxbridge_demo.busybox import BusyboxMissing
from floxbridge_demo.containerd import Containerd, ContainerdBinaries, running_containerd, why_no_containers
from floxbridge_demo.cri import CriFailed
from floxbridge_demo.generation import Generation, GenerationFiles
from floxbridge_demo.installation import (
    RESOLVE_TTL_S,
    Agent,
    Hub,
    install_launcher,
    run_command,
    running_agent,
    running_registry,
)
from floxbridge_demo.machine import MachineUnknown, end_with_parent
from floxbridge_demo.narrator import Narrator, amount
from floxbridge_demo.nix_cache import NixCache
from floxbridge_demo.packages import Packages
from floxbridge_demo.pod import PodSpec, RunningPod
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.workplace import Workplace

ENVIRONMENT = "limeytexan/echoip"
BY_ANNOTATION = PodSpec("echoip", "flox/empty:1.0.0", {"flox.dev/environment": ENVIRONMENT}, ("echoip",))
BY_IMAGE = PodSpec("echoip-by-image", f"flox/empty/{ENVIRONMENT}:live")


class Props:
    """What every act needs: the FloxHub, the binary cache and the registry, all running."""

    def __init__(self, workplace: Workplace, narrator: Narrator, undo: ExitStack) -> None:
        self.workplace, self.narrator = workplace, narrator
        with narrator.step("binary cache, signed: busybox, echoip, greeting"):
            self.cache = NixCache.make(workplace.path("cache"))
            self.packages = Packages.build(self.cache, workplace.path("scratch"))
        with narrator.step(f"FloxHub of our own, with generation 1 of {ENVIRONMENT}: echoip"):
            self.hub = Hub(workplace)
            self.hub.push(ENVIRONMENT, self._generation(1))
        with narrator.step("registry: floxbridge serve"):
            self.registry = undo.enter_context(running_registry(workplace, self.hub, self.cache))

    def push_second_generation(self) -> None:
        """Returns when the registry has noticed, which takes as long as its last answer was good for."""
        before = self.registry.digest(ENVIRONMENT)
        with self.narrator.step("pushed generation 2 to FloxHub: echoip and greeting"):
            self.hub.push(ENVIRONMENT, self._generation(2))
        self._wait_for_another(before)

    def roll_back(self) -> None:
        before = self.registry.digest(ENVIRONMENT)
        with self.narrator.step("switched FloxHub back to generation 1"):
            self.hub.switch(ENVIRONMENT, 1)
        self._wait_for_another(before)

    def _wait_for_another(self, before: str) -> None:
        with self.narrator.step(f"the registry noticed: an answer about what is live is good for {RESOLVE_TTL_S:g} s"):
            self.registry.wait_for_another(ENVIRONMENT, before)

    def _generation(self, number: int) -> GenerationFiles:
        packages = (self.packages.echoip, self.packages.greeting)[:number]
        note = f"this is generation {number}"
        wanted = Generation(self.packages.system, packages, "echoip", {"ECHOIP_NOTE": note})
        return wanted.write(self.workplace.path("pushed", str(number)))


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: what kubelet would talk to, and the agent beside it."""

    agent: Agent
    containerd: Containerd

    def start(self, spec: PodSpec, workplace: Workplace) -> RunningPod:
        logs = workplace.path("pods", spec.name)
        return RunningPod(self.containerd.cri, spec, logs=logs, cgroup_parent=workplace.cgroup)


def run_pods(props: Props, node: Node) -> None:
    """The main job: two pods, a new generation, a roll-back."""
    narrator, workplace = props.narrator, props.workplace
    narrator.heading("The pod of Flox's introduction: any empty image, the environment in an annotation")
    narrator.show(BY_ANNOTATION.to_yaml())
    by_annotation = node.start(BY_ANNOTATION, workplace)
    _take_turn(narrator, node, by_annotation, "pulled, created and started")

    narrator.heading("The same by image reference: the environment is the image, and runs its own command")
    narrator.show(BY_IMAGE.to_yaml())
    by_image = node.start(BY_IMAGE, workplace)
    first = _take_turn(narrator, node, by_image, "pulled, created and started")

    narrator.heading("A new generation: one more package; no image is built")
    props.push_second_generation()
    _take_turn(narrator, node, by_annotation, "restarted the pod with the annotation")
    second = _take_turn(narrator, node, by_image, "restarted the pod with the image")

    narrator.heading("Roll-back")
    props.roll_back()
    third = _take_turn(narrator, node, by_image, "restarted the pod with the image")

    narrator.heading("What Kubernetes saw: a tag that moves, and a digest for each generation")
    narrator.fact("generation 1", first)
    narrator.fact("generation 2", second)
    narrator.fact("rolled back", f"{third}{' (the same again)' if third == first else ''}")


def _take_turn(narrator: Narrator, node: Node, pod: RunningPod, text: str) -> str:
    """Gives the digest of the image that ran."""
    before = node.agent.fetched_bytes()
    with narrator.step(text):
        turn = pod.turn()
    narrator.show(turn.output)
    narrator.fact("image digest", turn.digest)
    narrator.fact("fetched", amount(node.agent.fetched_bytes() - before))
    return turn.digest


def realise_into_folders(props: Props) -> None:
    """The part that needs neither root nor containers."""
    narrator = props.narrator
    narrator.heading("Generation 1")
    _resolve_and_realise(props)
    narrator.heading("A new generation: one more package; no image is built")
    props.push_second_generation()
    _resolve_and_realise(props)


def _resolve_and_realise(props: Props) -> None:
    narrator, registry = props.narrator, props.registry
    with narrator.step(f"floxbridge resolve {ENVIRONMENT}"):
        asked = ["--json", "--floxhub-url", registry.floxhub_url, "--floxhub-git-url", f"{registry.url}/git"]
        resolved = json.loads(run_command(props.workplace, "floxbridge", "resolve", ENVIRONMENT, *asked))
    for name in ("generation", "digest", "lockfile"):
        narrator.fact(name, resolved[name])
    with narrator.step(f"floxbridge-node realise {ENVIRONMENT}"):
        asked = ["--json", "--registry-url", registry.url, "--trusted-key", str(props.cache.public_key)]
        asked += ["--state-dir", str(props.workplace.path("node"))]
        realised = json.loads(run_command(props.workplace, "floxbridge-node", "realise", ENVIRONMENT, *asked))
    environment = Path(realised["path"])
    narrator.fact("environment", environment)
    narrator.fact("fetched", amount(realised["fetched_bytes"]))
    narrator.show("\n".join(sorted(it.name for it in environment.parent.iterdir())))


def tell(workplace: Workplace, narrator: Narrator, *, containers: bool, keep: bool) -> None:
    """Raises ProgramFailed, CriFailed, BusyboxMissing."""
    missing = why_no_containers() if containers else "it was asked for with --no-container"
    with ExitStack() as undo:
        narrator.heading("The parts")
        props = Props(workplace, narrator, undo)
        if missing is None:
            node = _make_node(props, undo)
            run_pods(props, node)
            how_to_talk = _talk_to_pods(props, node)
        else:
            realise_into_folders(props)
            narrator.heading("Left out: the containers")
            narrator.say(missing)
            how_to_talk = _talk_to_registry(props)
        if keep:
            narrator.heading("All of it goes on running, until ctrl-C")
            narrator.say(how_to_talk)
            signal.pause()


def _make_node(props: Props, undo: ExitStack) -> Node:
    workplace, registry = props.workplace, props.registry
    with props.narrator.step("node: launcher, floxbridge-node agent"):
        agent = undo.enter_context(running_agent(workplace, registry.url, props.cache.public_key))
        launcher = install_launcher(workplace, agent.socket)
    binaries = ContainerdBinaries.find()
    assert binaries is not None, "why_no_containers looked"
    with props.narrator.step(f"{binaries} of our own, whose docker.io is the registry"):
        started = running_containerd(binaries, workplace, registry_url=registry.url, launcher=launcher)
        return Node(agent, undo.enter_context(started))


def _talk_to_registry(props: Props) -> str:
    url = props.registry.url
    return "\n".join(
        [
            f"curl -s {url}/v2/flox/empty/{ENVIRONMENT}/manifests/live",
            f"git clone -b echoip {url}/git/limeytexan/floxmeta",
            f"floxbridge hub list --root {props.hub.root}",
        ]
    )


def _talk_to_pods(props: Props, node: Node) -> str:
    host = props.registry.url.removeprefix("http://")
    return "\n".join(
        [
            f"crictl --runtime-endpoint unix://{node.containerd.places.socket} pods",
            f"ctr -a {node.containerd.places.socket} -n k8s.io containers list",
            f"skopeo inspect --tls-verify=false docker://{host}/flox/empty/{ENVIRONMENT}:live",
            _talk_to_registry(props),
            f"logs: {props.workplace.folder / 'logs'}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--no-container", action="store_true")
    options = parser.parse_args()
    end_with_parent()
    try:
        tell(Workplace(options.folder), Narrator(sys.stdout), containers=not options.no_container, keep=options.keep)
    except (ProgramFailed, CriFailed, BusyboxMissing, MachineUnknown) as error:
        print(f"\nfloxbridge demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
