"""The launcher, its settings, and the runtime behind it.

Belongs here: looking at the files and running them with `--version`. What the settings file means is in
`launcher_settings.py`.
"""

import os
import re
import stat
import struct
from pathlib import Path

from shim_hooks.doctor.finding import Finding
from shim_hooks.doctor.launcher_settings import MAX_BYTES, RUNTIME_FOLDERS, LauncherSettings
from shim_hooks.doctor.program import ProgramUnusable, ask
from shim_hooks.doctor.safe_file import who_else_may_write

COMMON_CONF = Path("/etc/floxbridge/launcher.conf")
LAUNCHER, SETTINGS, RUNTIME = "launcher", "launcher.conf", "runtime"
_GREETING = b"floxbridge/1"  # what every launcher of this version says to the agent
_MAX_PROGRAM_BYTES = 16 * 1024 * 1024
_KUBELET_MS = 120_000  # kubelet gives up a CreateContainer by default
_SHORT_MS = 10_000
_VERSION = re.compile(r"(runc|crun) version (\S+)")
_OLDEST_RUNC = (1, 0)
_OLDEST_CRUN = (1, 14, 3)  # it says "unknown version specified" of bundles newer than 1.0
_PT_INTERP = 3


def check_launcher(launcher: Path, *, socket: Path, deadline_s: float) -> list[Finding]:
    """From the program to what it runs; what cannot be found out for want of the one before is left out."""
    mend = f"floxbridge-node build-launcher --output {launcher}"
    try:
        program = launcher.resolve(strict=True)  # its settings lie beside the file itself, whatever link leads there
        status = program.stat()
        data = program.read_bytes() if status.st_size <= _MAX_PROGRAM_BYTES else b""
        open_to = who_else_may_write(program)
    except PermissionError as problem:
        return [
            Finding.doubtful(LAUNCHER, f"{launcher} could not be looked at: {problem.strerror}", "run this as root")
        ]
    except OSError as problem:
        return [Finding.bad(LAUNCHER, f"there is no launcher at {launcher}: {problem.strerror}", mend)]
    if not stat.S_ISREG(status.st_mode):
        return [Finding.bad(LAUNCHER, f"{launcher} is no regular file", mend)]
    if not status.st_mode & stat.S_IXUSR:
        return [Finding.bad(LAUNCHER, f"{launcher} is not executable", f"chmod 755 {launcher}")]
    if _GREETING + b"\0" not in data:
        said = f"{launcher} is not the floxbridge launcher of this version: containers would not get what they ask for"
        return [Finding.bad(LAUNCHER, said, mend)]
    settings_findings, settings = _settings(program, socket)
    return [
        *_program(launcher, data, open_to, mend, deadline_s),
        *settings_findings,
        *_runtime(settings, program, deadline_s),
    ]


def _program(launcher: Path, data: bytes, open_to: str, mend: str, deadline_s: float) -> list[Finding]:
    if open_to:
        return [Finding.bad(LAUNCHER, f"{launcher}: {open_to}", f"chown root: {launcher}; chmod 755 {launcher}")]
    try:
        said = ask([str(launcher), "--version"], deadline_s=deadline_s)
    except ProgramUnusable as problem:
        return [Finding.bad(LAUNCHER, f"the launcher does not pass on to a runtime: {problem}", mend)]
    version = _VERSION.search(said)
    if version is None:
        return [
            Finding.bad(LAUNCHER, f"`{launcher} --version` is answered by no runc and no crun: {said[:100]!r}", mend)
        ]
    if is_dynamic(data):
        said = f"{launcher} is not static: it needs the node's libraries and starts later"
        return [Finding.doubtful(LAUNCHER, said, mend)]
    return [Finding.good(LAUNCHER, f"{launcher} is static and passes on to {version[1]} {version[2]}")]


def is_dynamic(data: bytes) -> bool:
    """Whether an ELF program asks for an interpreter. False for what is cut off or no ELF: running it tells more."""
    try:
        if data[:4] != b"\x7fELF" or data[4] != 2 or data[5] != 1:
            return False
        (start,) = struct.unpack_from("<Q", data, 0x20)
        size, count = struct.unpack_from("<HH", data, 0x36)
        return any(struct.unpack_from("<I", data, start + number * size)[0] == _PT_INTERP for number in range(count))
    except (struct.error, IndexError):
        return False


def _settings(program: Path, socket: Path) -> tuple[list[Finding], LauncherSettings]:
    beside = program.with_name(program.name + ".conf")
    for conf in (beside, COMMON_CONF):
        try:
            with conf.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            open_to = who_else_may_write(conf)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as problem:
            said = f"{conf} could not be read: {problem.strerror}"
            bad = Finding.bad if os.geteuid() == 0 else Finding.doubtful
            return [bad(SETTINGS, said, f"look at it as root: ls -l {conf}")], LauncherSettings()
        settings = LauncherSettings.parse(data, str(conf))
        if open_to:
            return [Finding.bad(SETTINGS, f"{conf}: {open_to}", f"chown root: {conf}; chmod 644 {conf}")], settings
        return [_judged(settings, conf, socket)], settings
    settings = LauncherSettings()
    if settings.socket != str(socket):
        return [_other_socket(settings, COMMON_CONF, socket)], settings
    return [Finding.good(SETTINGS, f"there is none: runtime {settings.runtime}, socket {settings.socket}")], settings


def _judged(settings: LauncherSettings, conf: Path, socket: Path) -> Finding:
    if settings.problem:
        return Finding.bad(SETTINGS, f"every create fails: {settings.problem}", f"correct that line of {conf}")
    if settings.socket != str(socket):
        return _other_socket(settings, conf, socket)
    if settings.deadline_ms >= _KUBELET_MS:
        said = (
            f"deadline_ms={settings.deadline_ms} in {conf}: kubelet gives up a create after {_KUBELET_MS} ms by default"
        )
        return Finding.doubtful(SETTINGS, f"{said}, and nobody would read what the agent says", "deadline_ms=110000")
    if settings.deadline_ms < _SHORT_MS:
        said = f"deadline_ms={settings.deadline_ms} in {conf} is short for an environment that must be fetched first"
        return Finding.doubtful(SETTINGS, said, "deadline_ms=110000")
    said = f"{conf}: runtime {settings.runtime}, socket {settings.socket}, deadline {settings.deadline_ms / 1000:g} s"
    return Finding.good(SETTINGS, said)


def _other_socket(settings: LauncherSettings, conf: Path, socket: Path) -> Finding:
    said = f"the launcher asks at {settings.socket} and the agent listens at {socket}"
    return Finding.bad(
        SETTINGS, said, f"in {conf}: socket={socket}\n(or tell the doctor what the agent was told: --socket)"
    )


def _runtime(settings: LauncherSettings, program: Path, deadline_s: float) -> list[Finding]:
    found = _find_runtime(settings.runtime, program)
    mend = "install runc (Debian: apt-get install runc), or name it in the launcher's settings: runtime=/usr/sbin/runc"
    if found is None:
        return [Finding.bad(RUNTIME, f"there is no runtime {settings.runtime} that can be run", mend)]
    try:
        if found.samefile(program):
            return [Finding.bad(RUNTIME, f"runtime {found} is the launcher itself", mend)]
        said = ask([str(found), "--version"], deadline_s=deadline_s)
    except (ProgramUnusable, OSError) as problem:
        return [Finding.bad(RUNTIME, f"runtime {found} does not work: {problem}", mend)]
    version = _VERSION.search(said)
    if version is None:
        said = f"runtime {found} says it is {said.strip()[:100]!r}; known are runc and crun"
        return [Finding.doubtful(RUNTIME, said, mend)]
    name, number = version.groups()
    if name == "runc" and _numbers(number) < _OLDEST_RUNC:
        return [Finding.doubtful(RUNTIME, f"{found} is runc {number}; from 1.0 on it is known to work", mend)]
    if name == "crun" and _numbers(number) < _OLDEST_CRUN:
        said = f"{found} is crun {number}; before 1.14.3 it refuses containers of containerd 1.7 and later"
        return [Finding.doubtful(RUNTIME, said, "install a newer crun, or runc and runtime=runc")]
    return [Finding.good(RUNTIME, f"{found} is {name} {number}")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall("[0-9]+", version)[:3])


def _find_runtime(name: str, program: Path) -> Path | None:
    """As the launcher finds it."""
    if name.startswith("/"):
        return Path(name) if os.access(name, os.X_OK) else None
    candidates = (Path(folder, name) for folder in RUNTIME_FOLDERS)
    return next((it for it in candidates if os.access(it, os.X_OK) and not it.samefile(program)), None)
