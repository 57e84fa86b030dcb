"""An image comes to a real containerd, and its environment to the node, before any container asks for it."""

import asyncio
import io
from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.workplace import Workplace
from shim_hooks.containerd.image_events import ContainerdUnavailable, image_names
from shim_hooks.log import Log
from shim_hooks.prefetch import Prefetch
from tests.integration.node_rig import running_node
from tests.integration.small_registry import Package, SmallRegistry, program

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

ONE = Package.make("one", program("one"))


class Lines(io.StringIO):
    """A log that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


async def test_a_tag_that_moves_fetches_its_environment(
    containerd_binaries: ContainerdBinaries, workplace: Workplace, tmp_path: Path
) -> None:
    registry, log = SmallRegistry(), Lines()
    registry.push("acme/web", 1, ONE)
    launcher = Path("/bin/true")  # no pod is run
    with running_containerd(containerd_binaries, workplace, registry_url="http://127.0.0.1:1", launcher=launcher) as it:
        async with registry.serving(), running_node(tmp_path / "state", registry.url) as node:
            prefetch = Prefetch(lambda: image_names(it.places.socket), node.realiser, Log(log))
            running = asyncio.create_task(prefetch.run())
            image = (await asyncio.to_thread(it.ctr, "images", "ls", "-q")).split()[0]
            async with asyncio.timeout(60):
                while not log.written.is_set():  # containerd does not say from when on it is listened to
                    tag = ("images", "tag", "--force", image, "docker.io/flox/empty/acme/web:live")
                    await asyncio.to_thread(it.ctr, *tag)
            running.cancel()
            await asyncio.wait([running])
            assert '"event": "prefetched", "asked": "acme/web", "generation": 1' in log.getvalue()
            assert node.has(ONE)


async def test_no_containerd(tmp_path: Path) -> None:
    with pytest.raises(ContainerdUnavailable, match="cannot be listened to"):
        async for _ in image_names(tmp_path / "containerd.sock"):
            pass
