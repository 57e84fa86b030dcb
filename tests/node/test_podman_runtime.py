"""The launcher under podman: `--runtime` is all that it takes."""

import pytest

from floxbridge_demo.installation import install_launcher, running_agent
from floxbridge_demo.workplace import Workplace
from tests.conftest import needs
from tests.echoip import ENVIRONMENT, EchoIp
from tests.podman import Podman

# podman asks for more than a virtual machine without CAP_SYS_RESOURCE may give
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.mark.parametrize(
    ("environment", "image", "exit_code", "told"),
    [
        pytest.param(None, f"/flox/empty/{ENVIRONMENT}:live", 0, f"environment: {ENVIRONMENT}", id="by-image"),
        pytest.param(ENVIRONMENT, "/flox/empty:1.0.0", 0, f"environment: {ENVIRONMENT}", id="by-annotation"),
        pytest.param("limeytexan/nothing", "/flox/empty:1.0.0", 126, "no environment limeytexan/nothing", id="refused"),
    ],
)
def test_runs_an_environment(
    echoip: EchoIp, workplace: Workplace, environment: str | None, image: str, exit_code: int, told: str
) -> None:
    needs("gcc", "runc")
    with running_agent(workplace, echoip.registry.url, echoip.cache.public_key) as agent:
        podman = Podman(workplace.folder, "--runtime", str(install_launcher(workplace, agent.socket)))
        flags = ["--rm", "--tls-verify=false", "--network", "host", "--cgroup-parent", workplace.cgroup, *LIMITS]
        flags += ["--annotation", f"flox.dev/environment={environment}"] if environment else []
        done = podman("run", *flags, echoip.host + image, "echoip")
    assert done.returncode == exit_code, done.stderr
    assert told in done.stdout + done.stderr
