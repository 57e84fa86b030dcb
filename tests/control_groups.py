"""What a program gets to see of this machine's control groups: as on a machine that has one version of them alone.

Belongs here: the views, each a mount namespace that programs enter by words before their own, and what runtimes need
to work in them.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from floxbridge_demo.workplace import Workplace
from tests.conftest import needs_root

_TOP = Path("/sys/fs/cgroup")
_BESIDE = _TOP / "unified"
_WITHOUT_LIMITS = """\
#!{python} -IS
import json, os, sys
if "create" in sys.argv:
    config = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    spec = json.load(open(config))
    spec["linux"]["resources"] = {{"devices": spec["linux"]["resources"]["devices"]}}
    json.dump(spec, open(config, "w"))
os.execv("{runtime}", ["{runtime}", *sys.argv[1:]])
"""
_VIEWS = {
    1: f"umount {_BESIDE}",
    2: f"umount -R {_TOP} && mount -t cgroup2 cgroup2 {_TOP}",
}


def _kind(path: Path) -> str:
    return subprocess.run(["stat", "-fc", "%T", str(path)], capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def seeing_version(version: int | None, workplace: Workplace) -> Iterator[tuple[str, ...]]:
    """What a command is to begin with; None is the machine as it is. Skips where the machine has no such version."""
    needs_root()
    if version is None:
        yield ()
        return
    if _kind(_TOP) == "cgroup2fs":
        if version == 1:
            pytest.skip("this machine has control groups of version 2 alone")
        yield ()
        return
    if version == 1 and _kind(_BESIDE) != "cgroup2fs":
        yield ()
        return
    script = f"mount --make-rprivate / && {_VIEWS[version]} && echo && exec sleep infinity"
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=workplace.environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline(), "no view of the control groups can be mounted here"
        try:
            yield ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "--")
        finally:
            holder.kill()


def runtime_in(version: int, runtime: str, workplace: Workplace) -> str:
    """A runtime for pods that see this version alone: `runtime` itself, or what takes the pods' limits away before it.

    containerd limits the processor in every pod. Where version 2 stands beside version 1, that one has the controller
    for it, and runc and crun make no container that they cannot limit.
    """
    if version == 1 or _kind(_TOP) == "cgroup2fs" or "cpu" in (_BESIDE / "cgroup.controllers").read_text().split():
        return runtime
    found = shutil.which(runtime)
    assert found is not None
    script = workplace.path("bin", f"{Path(found).name}-without-limits")
    script.write_text(_WITHOUT_LIMITS.format(python=sys.executable, runtime=found))
    script.chmod(0o755)
    return str(script)
