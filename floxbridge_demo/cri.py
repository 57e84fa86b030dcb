"""What kubelet says to a container runtime, for one pod at a time: the container runtime interface as typed calls.

Belongs here: the calls, their deadlines, the reading of container logs. Does not: which pods to run (`story.py`), how
containerd is started (`containerd.py`). The messages are in cri.proto.
Source: https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from floxbridge_demo import cri_pb2 as pb

_PULL_DEADLINE_S = 60.0
_POD_DEADLINE_S = 60.0
_QUICK_DEADLINE_S = 10.0
_POLL_S = 0.02

Answer = TypeVar("Answer", bound=Message)


class CriFailed(Exception):
    """The runtime refused or did not answer. The message is the sentence that kubelet would put in the pod's events."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A running sandbox and how it was asked for: each container of it is asked for with the same words."""

    id: str
    config: pb.PodSandboxConfig
    logs: Path


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    pod: Pod
    name: str
    attempt: int

    @property
    def log(self) -> Path:
        return self.pod.logs / f"{self.name}_{self.attempt}.log"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """The fields of a container in a pod's YAML. `command` empty means the image's own.

    `user` is uid and gid; None leaves it to the image. `mounts` says what of the node is where in the container.
    """

    name: str
    image: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: tuple[int, int] | None = None
    read_only_root: bool = False
    tty: bool = False
    mounts: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Executed:
    exit_code: int
    stdout: str
    stderr: str


class Cri:
    """One connection to a runtime's socket. Every call has a deadline and raises CriFailed."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def version(self, *, deadline_s: float = _QUICK_DEADLINE_S) -> str:
        """Name and version of the runtime. Waits for it to come up, at most `deadline_s`."""
        answer = self._call("Version", pb.VersionRequest(), pb.VersionResponse, deadline_s, wait_for_ready=True)
        return f"{answer.runtime_name} {answer.runtime_version}"

    def missing_conditions(self) -> dict[str, str]:
        """Of `RuntimeReady` and `NetworkReady`, those that are not, with the reason."""
        answer = self._call("Status", pb.StatusRequest(), pb.StatusResponse, _QUICK_DEADLINE_S)
        return {it.type: f"{it.reason}: {it.message}" for it in answer.status.conditions if not it.status}

    def run_pod(
        self,
        name: str,
        *,
        logs: Path,
        handler: str = "",
        annotations: Mapping[str, str] | None = None,
        cgroup_parent: str = "",
    ) -> Pod:
        """Starts a pod on the node's own network: no CNI plugin is asked for anything.

        `handler` is what a RuntimeClass stands for; empty is the runtime's default. `logs` is made.
        """
        logs.mkdir(parents=True, exist_ok=True)
        network = pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER, ipc=pb.POD)
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, uid=str(uuid.uuid4()), namespace="default"),
            log_directory=str(logs),
            annotations=dict(annotations or {}),
            linux=pb.LinuxPodSandboxConfig(
                cgroup_parent=cgroup_parent,
                security_context=pb.LinuxSandboxSecurityContext(namespace_options=network),
            ),
        )
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=handler)
        answer = self._call("RunPodSandbox", request, pb.RunPodSandboxResponse, _POD_DEADLINE_S)
        return Pod(answer.pod_sandbox_id, config, logs)

    def pods(self) -> tuple[str, ...]:
        """Ids of all sandboxes, running or not."""
        answer = self._call("ListPodSandbox", pb.ListPodSandboxRequest(), pb.ListPodSandboxResponse, _QUICK_DEADLINE_S)
        return tuple(pod.id for pod in answer.items)

    def remove_pod(self, pod_id: str) -> None:
        """Stops and removes the sandbox and all of its containers."""
        self._call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod_id), pb.StopPodSandboxResponse)
        self._call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod_id), pb.RemovePodSandboxResponse)

    def pull(self, image: str) -> str:
        """Asks the registry, as kubelet does with `imagePullPolicy: Always`. Gives the image's local id."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image))
        return self._call("PullImage", request, pb.PullImageResponse, _PULL_DEADLINE_S, service="Image").image_ref

    def image_digests(self, image: str) -> tuple[str, ...]:
        """`repository@digest` of an image on the node; empty when it is not there."""
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image))
        answer = self._call("ImageStatus", request, pb.ImageStatusResponse, _QUICK_DEADLINE_S, service="Image")
        return tuple(answer.image.repo_digests)

    def remove_image(self, image: str) -> None:
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image))
        self._call("RemoveImage", request, pb.RemoveImageResponse, _QUICK_DEADLINE_S, service="Image")

    def create(self, pod: Pod, spec: ContainerSpec, *, attempt: int = 0) -> Container:
        """Makes a container of an image that is on the node. A restart is a new container with the next `attempt`."""
        container = Container("", pod, spec.name, attempt)
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=spec.name, attempt=attempt),
            image=pb.ImageSpec(image=spec.image),
            command=spec.command,
            envs=[pb.KeyValue(key=key, value=value) for key, value in spec.env.items()],
            annotations=dict(pod.config.annotations),
            log_path=container.log.name,
            working_dir=spec.working_dir,
            tty=spec.tty,
            mounts=[pb.Mount(container_path=at, host_path=str(path)) for at, path in spec.mounts.items()],
            linux=pb.LinuxContainerConfig(security_context=_security_context(pod, spec)),
        )
        request = pb.CreateContainerRequest(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
        answer = self._call("CreateContainer", request, pb.CreateContainerResponse, _POD_DEADLINE_S)
        return Container(answer.container_id, pod, spec.name, attempt)

    def start(self, container: Container) -> None:
        request = pb.StartContainerRequest(container_id=container.id)
        self._call("StartContainer", request, pb.StartContainerResponse, _POD_DEADLINE_S)

    def status(self, container: Container) -> pb.ContainerStatus:
        request = pb.ContainerStatusRequest(container_id=container.id)
        return self._call("ContainerStatus", request, pb.ContainerStatusResponse).status

    def wait(self, container: Container, *, deadline_s: float = _POD_DEADLINE_S) -> Finished:
        """Until the container has ended: kubelet learns it in the same way, by asking again."""
        end = time.monotonic() + deadline_s
        while (status := self.status(container)).state != pb.CONTAINER_EXITED:
            if time.monotonic() > end:
                state = pb.ContainerState.Name(status.state)
                raise CriFailed(f"container {container.name} did not end in {deadline_s:g} s: {state}")
            time.sleep(_POLL_S)
        return Finished(status.exit_code, status.reason, status.message)

    def run(self, pod: Pod, spec: ContainerSpec, *, attempt: int = 0) -> tuple[Container, Finished]:
        """Pulls, creates, starts and waits: one turn of a container that ends by itself."""
        self.pull(spec.image)
        container = self.create(pod, spec, attempt=attempt)
        self.start(container)
        return container, self.wait(container)

    def execute(self, container: Container, *command: str, deadline_s: float = _QUICK_DEADLINE_S) -> Executed:
        """Runs a command in a running container, as an exec probe does."""
        request = pb.ExecSyncRequest(container_id=container.id, cmd=command, timeout=int(deadline_s))
        answer = self._call("ExecSync", request, pb.ExecSyncResponse, deadline_s + _QUICK_DEADLINE_S)
        return Executed(
            answer.exit_code, answer.stdout.decode(errors="replace"), answer.stderr.decode(errors="replace")
        )

    def stop(self, container: Container, *, grace_s: int = 0) -> None:
        """Ends a running container: SIGTERM, then SIGKILL after `grace_s`."""
        request = pb.StopContainerRequest(container_id=container.id, timeout=grace_s)
        self._call("StopContainer", request, pb.StopContainerResponse, grace_s + _POD_DEADLINE_S)

    def remove(self, container: Container) -> None:
        """Removes a container that has ended."""
        request = pb.RemoveContainerRequest(container_id=container.id)
        self._call("RemoveContainer", request, pb.RemoveContainerResponse, _POD_DEADLINE_S)

    def _call(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        deadline_s: float = _POD_DEADLINE_S,
        *,
        service: str = "Runtime",
        wait_for_ready: bool = False,
    ) -> Answer:
        call = self._channel.unary_unary(
            f"/runtime.v1.{service}Service/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        try:
            answered: Answer = call(request, timeout=deadline_s, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            raise CriFailed(f"{method}: {error.details()}") from error
        return answered


def _security_context(pod: Pod, spec: ContainerSpec) -> pb.LinuxContainerSecurityContext:
    context = pb.LinuxContainerSecurityContext(
        namespace_options=pod.config.linux.security_context.namespace_options, readonly_rootfs=spec.read_only_root
    )
    if spec.user is not None:
        uid, gid = spec.user
        context.run_as_user.value, context.run_as_group.value = uid, gid
    return context


def read_log(log: Path, *, stream: str | None = None) -> str:
    """What a container wrote, to `stdout`, to `stderr`, or to both: then in the order in which containerd happened to
    read them. With a terminal all of it is `stdout`.

    Each line of the file is `<time> <stream> <P|F> <text>`; P means that the line goes on in the next entry.
    Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
    """
    if not log.exists():
        return ""
    entries = (line.split(" ", 3) for line in log.read_text(errors="replace").splitlines())
    return "".join(text + ("\n" if tag == "F" else "") for _, of, tag, text in entries if stream in (None, of))
