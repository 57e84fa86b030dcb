"""containerd's own puller, through a mirror for docker.io: the way that a node's pulls reach the registry."""

from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.cri import CriFailed
from floxbridge_demo.workplace import Workplace
from tests.echoip import EchoIp

LAUNCHER = Path("/usr/sbin/runc")  # nothing is run


def test_pulls_through_the_mirror(
    echoip: EchoIp, containerd_binaries: ContainerdBinaries, workplace: Workplace
) -> None:
    registry = echoip.registry
    with running_containerd(containerd_binaries, workplace, registry_url=registry.url, launcher=LAUNCHER) as containerd:
        environment = echoip.new_environment(echoip.packages.echoip)
        cri, image, first = containerd.cri, f"docker.io/flox/empty/{environment}", registry.digest(environment)
        cri.pull(f"{image}:live")
        cri.pull(f"flox/empty/{environment}@{first}")  # as people write it
        assert cri.image_digests(f"{image}:live") == (f"{image}@{first}",)

        containerd.ctr("images", "pull", "--hosts-dir", str(containerd.places.certs), f"{image}:1")
        assert first in containerd.ctr("images", "list", f"name=={image}:1")

        echoip.push(environment, echoip.packages.echoip, echoip.packages.greeting)
        registry.wait_for_another(environment, first)
        cri.pull(f"{image}:live")
        assert cri.image_digests(f"{image}:live") == (f"{image}@{registry.digest(environment)}",)

        with pytest.raises(CriFailed, match="limeytexan/nothing"):
            cri.pull("flox/empty/limeytexan/nothing:live")
