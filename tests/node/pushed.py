"""Environments whose manifest says more than which packages, pushed to the hub of a running registry."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from floxbridge_demo.generation import Generation, GenerationFiles
from floxbridge_demo.packages import Package
from tests.conftest import cannot_run
from tests.echoip import EchoIp

_BASH = Path("/bin/bash-static")


def bash_package(echoip: EchoIp) -> Package:
    if not _BASH.exists():
        cannot_run("no static bash; `make setup` as root installs bash-static on Debian")
    with tempfile.TemporaryDirectory() as tree:
        program = Path(tree) / "bin" / "bash"
        program.parent.mkdir()
        shutil.copyfile(_BASH, program)
        program.chmod(0o755)
        return Package("bash", "5.2.15", "The shell", echoip.cache.add("bash-5.2.15", Path(tree)))


def push(echoip: EchoIp, folder: Path, environment: str, *packages: Package, **manifest: Any) -> str:
    """`manifest` has further members of it. Gives the environment."""
    files = Generation(echoip.packages.system, packages, packages[0].name).write(folder)
    lock = json.loads(files.lock.read_text())
    lock["manifest"] |= manifest
    files.lock.write_text(json.dumps(lock))
    echoip.hub.push(environment, GenerationFiles(files.manifest, files.lock))
    return environment
