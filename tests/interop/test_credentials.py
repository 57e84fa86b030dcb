"""Private environments for clients that nobody here wrote: with a token, without one, and with a wrong one."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from floxbridge_demo.containerd import ContainerdBinaries, running_containerd
from floxbridge_demo.program import ProgramFailed
from floxbridge_demo.workplace import Workplace
from tests.conftest import needs
from tests.echoip import ENVIRONMENT, TOKEN, EchoIp
from tests.interop.test_containerd import LAUNCHER
from tests.podman import Podman

RIGHT, WRONG = f"oauth:{TOKEN}", "oauth:flox_pat_wrong"
Client = Callable[[str, str | None], "subprocess.CompletedProcess[str]"]
"""Fetches an image, given its name and credentials."""

CASES = pytest.mark.parametrize(
    ("private", "credentials", "works"),
    [
        pytest.param(False, None, True, id="public-without-a-token"),
        pytest.param(False, RIGHT, True, id="public-with-a-token"),
        pytest.param(False, WRONG, True, id="public-with-a-wrong-token"),
        pytest.param(True, RIGHT, True, id="private-with-a-token"),
        pytest.param(True, None, False, id="private-without-a-token"),
        pytest.param(True, WRONG, False, id="private-with-a-wrong-token"),
    ],
)


@pytest.fixture(scope="module")
def secret(echoip: EchoIp) -> str:
    return echoip.new_private_environment(echoip.packages.busybox)


def fetch_with_skopeo(image: str, credentials: str | None, folder: Path) -> "subprocess.CompletedProcess[str]":
    needs("skopeo")
    shown = () if credentials is None else ("--src-creds", credentials)
    command = ["skopeo", "copy", "--src-tls-verify=false", *shown, f"docker://{image}", f"dir:{folder}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def check(done: "subprocess.CompletedProcess[str]", *, works: bool) -> None:
    """Who is not let in is told what the registry says."""
    assert (done.returncode == 0) is works, done.stderr
    assert works or "unauthorized" in done.stderr.lower(), done.stderr
    assert TOKEN not in done.stdout + done.stderr


@CASES
def test_skopeo(
    echoip: EchoIp, secret: str, tmp_path: Path, private: bool, credentials: str | None, works: bool
) -> None:
    image = f"{echoip.host}/flox/empty/{secret if private else ENVIRONMENT}:live"
    check(fetch_with_skopeo(image, credentials, tmp_path / "copied"), works=works)


@CASES
def test_podman(
    echoip: EchoIp,
    secret: str,
    tmp_path_factory: pytest.TempPathFactory,
    private: bool,
    credentials: str | None,
    works: bool,
) -> None:
    podman = Podman(tmp_path_factory.mktemp("p"))
    image = f"{echoip.host}/flox/empty/{secret if private else ENVIRONMENT}:live"
    shown = () if credentials is None else ("--creds", credentials)
    check(podman("pull", "--quiet", "--tls-verify=false", *shown, image), works=works)


def test_containerd(echoip: EchoIp, secret: str, containerd_binaries: ContainerdBinaries, workplace: Workplace) -> None:
    url, image = echoip.registry.url, f"{echoip.host}/flox/empty/{secret}:live"
    with running_containerd(containerd_binaries, workplace, registry_url=url, launcher=LAUNCHER) as containerd:
        for shown in ((), ("--user", WRONG)):
            with pytest.raises(ProgramFailed, match=r"401 Unauthorized|authorization failed"):
                containerd.ctr("images", "pull", "--plain-http", *shown, image)
        containerd.ctr("images", "pull", "--plain-http", "--user", RIGHT, image)
        assert image in containerd.ctr("images", "list", "--quiet")
