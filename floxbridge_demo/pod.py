"""A pod with one container that ends by itself: as a person writes it in YAML, and as kubelet runs it.

Belongs here: the fields that the demo needs, so that what is shown is what is run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from floxbridge_demo.cri import ContainerSpec, Cri, CriFailed, read_log


@dataclass(frozen=True, slots=True)
class PodSpec:
    """`command` empty means the image's own."""

    name: str
    image: str
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    command: tuple[str, ...] = ()
    runtime_class: str = "flox"

    def to_yaml(self) -> str:
        """JSON's strings and arrays are YAML's."""
        annotations = [f"    {key}: {json.dumps(value)}" for key, value in self.annotations.items()]
        lines = [
            "apiVersion: v1",
            "kind: Pod",
            "metadata:",
            f"  name: {self.name}",
            *(["  annotations:", *annotations] if annotations else []),
            "spec:",
            f"  runtimeClassName: {self.runtime_class}",
            "  containers:",
            f"  - name: {self.name}",
            f"    image: {self.image}",
            "    imagePullPolicy: Always",
            *([f"    command: {json.dumps(list(self.command))}"] if self.command else []),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the pod's container: what it wrote, and the digest that its image had."""

    output: str
    digest: str


class RunningPod:
    """A pod's sandbox. Each turn of its container is what kubelet does at a restart: pull, create, start, wait."""

    def __init__(self, cri: Cri, spec: PodSpec, *, logs: Path, cgroup_parent: str = "") -> None:
        self._cri, self._spec, self._attempt = cri, spec, 0
        self.sandbox = cri.run_pod(
            spec.name,
            logs=logs,
            handler=spec.runtime_class,
            annotations=spec.annotations,
            cgroup_parent=cgroup_parent,
        )

    def turn(self) -> Turn:
        """Raises CriFailed, also when the container ended with another code than 0."""
        self._cri.pull(self._spec.image)
        wanted = ContainerSpec(self._spec.name, self._spec.image, self._spec.command)
        container = self._cri.create(self.sandbox, wanted, attempt=self._attempt)
        self._attempt += 1
        self._cri.start(container)
        finished = self._cri.wait(container)
        output = read_log(container.log)
        if finished.exit_code != 0:
            raise CriFailed(f"container {wanted.name} ended with {finished.exit_code}: {finished.message} {output}")
        return Turn(output, self._cri.status(container).image_ref.partition("@")[2])
