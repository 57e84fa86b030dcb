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


def pulled_until_fetched(cri: Cri, image: str, agent: Agent, ref: str, *, anew: bool) -> None:
    """containerd does not say from when on it is listened to: until the agent heard it, the image is pulled `anew`."""
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        cri.pull(image)
        if any(event["asked"] == ref for event in agent.program.events("prefetched")):
            return
        if anew:
            cri.remove_image(image)
    raise AssertionError(agent.program.log_end())


@pytest.mark.parametrize("by", ["live", "1", "digest"])
def test_an_image_that_comes_has_its_environment_fetched(
    containerd_binaries: ContainerdBinaries, echoip: EchoIp, workplace: Workplace, by: str
) -> None:
    """By its exact name, which has capitals, whatever the image was pulled by; and again when its tag moves."""
    environment, url = f"limeytexan/Web-{secrets.token_hex(4)}", echoip.registry.url
    packages = echoip.packages
    echoip.push(environment, packages.busybox)
    with running_containerd(containerd_binaries, workplace, registry_url=url, launcher=Path("/bin/true")) as it:
        socket = ("--containerd-socket", str(it.places.socket))
        with running_agent(workplace, url, echoip.cache.public_key, more=socket) as agent:
            digest = echoip.registry.digest(environment)
            at = f"@{digest}" if by == "digest" else f":{by}"
            image = f"docker.io/flox/empty/{environment.lower()}{at}"
            pulled_until_fetched(it.cri, image, agent, f"{environment}:1", anew=True)
            assert (agent.state / "store" / packages.busybox.path.base_name).exists()
            if by == "live":
                echoip.push(environment, packages.greeting)
                echoip.registry.wait_for_another(environment, digest)
                pulled_until_fetched(it.cri, image, agent, f"{environment}:2", anew=False)
                assert (agent.state / "store" / packages.greeting.path.base_name).exists()


@pytest.mark.anyio
async def test_no_containerd(tmp_path: Path) -> None:
    with pytest.raises(ContainerdUnavailable, match="cannot be listened to"):
        async for _ in pulled_indexes(tmp_path / "containerd.sock", lambda name: True):
            pass
