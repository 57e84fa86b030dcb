"""An image comes to a real containerd, and its environment to the node, before any container asks for it."""

import secrets
import time
from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.cri import Cri
from floxbridge_demo.installation import Agent, running_agent
from floxbridge_demo.workplace import Workplace
from shim_hooks.containerd.pulled_images import ContainerdUnavailable, pulled_indexes
from tests.echoip import EchoIp

_DEADLINE_S = 60


def pull_until_realised(cri: Cri, image: str, agent: Agent, environment: str, *, times: int = 1) -> None:
    """containerd does not say from when on it is listened to: until the agent heard of it, the image comes anew."""
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        cri.pull(image)
        if [event["environment"] for event in agent.program.events("realised")].count(environment) >= times:
            return
        if times == 1:
            cri.remove_image(image)
    raise AssertionError(agent.program.log_end())


def test_an_image_that_comes_has_its_environment_fetched(
    containerd_binaries: ContainerdBinaries, echoip: EchoIp, workplace: Workplace
) -> None:
    """By its exact name, which has capitals, whatever the image was pulled by; and again when its tag moves."""
    url, packages = echoip.registry.url, echoip.packages
    by_tag, by_number, by_digest = (f"limeytexan/Web-{secrets.token_hex(4)}" for _ in range(3))
    echoip.push(by_tag, packages.busybox)
    echoip.push(by_number, packages.echoip)
    echoip.push(by_digest, packages.greeting)
    first, digest = echoip.registry.digest(by_tag), echoip.registry.digest(by_digest)
    with running_containerd(containerd_binaries, workplace, registry_url=url, launcher=Path("/bin/true")) as it:
        socket = ("--containerd-socket", str(it.places.socket))
        with running_agent(workplace, url, echoip.cache.public_key, more=socket) as agent:
            pull_until_realised(it.cri, _image(by_tag, ":live"), agent, by_tag)
            pull_until_realised(it.cri, _image(by_number, ":1"), agent, by_number)
            pull_until_realised(it.cri, _image(by_digest, f"@{digest}"), agent, by_digest)
            echoip.push(by_tag, packages.busybox, packages.greeting)
            echoip.registry.wait_for_another(by_tag, first)
            pull_until_realised(it.cri, _image(by_tag, ":live"), agent, by_tag, times=2)
            asked = [event["asked"] for event in agent.program.events("prefetched")]
            assert asked == [f"{by_tag}:1", f"{by_number}:1", f"{by_digest}:1"], "the last one needed nothing more"


def _image(environment: str, at: str) -> str:
    return f"docker.io/flox/empty/{environment.lower()}{at}"


@pytest.mark.anyio
async def test_no_containerd(tmp_path: Path) -> None:
    with pytest.raises(ContainerdUnavailable, match="cannot be listened to"):
        async for _ in pulled_indexes(tmp_path / "containerd.sock", lambda name: True):
            pass
