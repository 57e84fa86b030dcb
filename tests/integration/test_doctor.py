"""`floxbridge-node doctor`: one node on which all is well, and then each thing wrong in turn."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path

import pytest

from shim_hooks.agent_listener import listening
from shim_hooks.doctor.examination import Node, examine
from shim_hooks.doctor.finding import Finding, Verdict
from shim_hooks.launcher.build import build_launcher
from shim_hooks.settings import Settings
from tests.conftest import needs, needs_root
from tests.served import served

EMPTY = "/v2/flox/empty/manifests/1.0.0"
NOBODY = "http://127.0.0.1:1"
CONTAINERD = """#!/bin/sh
[ "$*" = "--config {config} config dump" ] || exit 9
cat {config}
"""
RUNC = "#!/bin/sh\necho runc version 1.1.5+ds1\n"
CONFIG = """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.flox]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["flox.dev/*"]
container_annotations = ["flox.dev/*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.flox.options]
BinaryName = "{launcher}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{certs}"
"""
HOSTS = '[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'
OTHER_DAY = "Fri, 02 Jan 2026 03:04:05 GMT"


class Registry(ThreadingHTTPServer):
    """As much of a registry as the doctor asks of one. `answers` are status and body by path; else it is 404."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {"/healthz": (200, b"ok"), "/readyz": (200, b"ready"), EMPTY: (200, b'{"image": 1}')}
        self.date: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Registry)
        status, body = self.server.answers.get(self.path.partition("?")[0], (404, b"{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        assert isinstance(self.server, Registry)
        return self.server.date or super().date_time_string(timestamp)

    def log_message(self, format: str, *arguments: object) -> None:
        """It says nothing."""


def registry() -> AbstractContextManager[Registry]:
    return served(Registry())


@dataclass
class Rig:
    """A node's files below `folder`; a test spoils one of them, or what listens."""

    folder: Path
    registry: Registry
    listens: ExitStack

    @property
    def launcher(self) -> Path:
        return self.folder / "bin" / "floxbridge-runc"

    @property
    def conf(self) -> Path:
        return self.folder / "bin" / "floxbridge-runc.conf"

    @property
    def runtime(self) -> Path:
        return self.folder / "bin" / "runc"

    @property
    def containerd(self) -> Path:
        return self.folder / "bin" / "containerd"

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def hosts(self) -> Path:
        return self.folder / "certs" / "docker.io" / "hosts.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def settings(self, **others: object) -> Settings:
        given = {"registry_url": self.registry.url, "state_dir": self.state, "socket": self.socket, **others}
        given.setdefault("connect_timeout_s", 5.0)  # the default is for a node, not for a machine full of tests
        return Settings(**given)  # type: ignore[arg-type]

    def examine(self, **others: object) -> list[Finding]:
        return asyncio.run(examine(Node(self.settings(**others), None, self.config, f"{self.folder}/bin")))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("launcher") / "floxbridge-runc"
    build_launcher(output)
    return output


@pytest.fixture
def rig(tmp_path: Path, built: Path) -> Iterator[Rig]:
    with registry() as server, ExitStack() as listens:
        rig = Rig(tmp_path, server, listens)
        (tmp_path / "bin").mkdir()
        shutil.copy(built, rig.launcher)
        rig.conf.write_text(f"runtime={rig.runtime}\nsocket={rig.socket}\n")
        for path, text in ((rig.runtime, RUNC), (rig.containerd, CONTAINERD.format(config=rig.config))):
            path.write_text(text)
            path.chmod(0o755)
        rig.config.write_text(CONFIG.format(launcher=rig.launcher, certs=tmp_path / "certs"))
        rig.hosts.parent.mkdir(parents=True)
        rig.hosts.write_text(HOSTS.format(url=server.url))
        (rig.state / "store" / "x").mkdir(parents=True)
        listens.enter_context(listening(rig.socket))
        yield rig


def not_good(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is not Verdict.GOOD and finding.subject != "disk"]


def test_all_is_well(rig: Rig) -> None:
    findings = rig.examine()
    assert not_good(findings) == []
    subjects = "launcher launcher.conf runtime containerd registry floxhub clock mirror agent store disk"
    assert [finding.subject for finding in findings] == subjects.split()


def test_nothing_is_changed(rig: Rig) -> None:
    def everything() -> list[tuple[str, int, int]]:
        found = [(str(path), path.lstat()) for path in sorted(rig.folder.rglob("*"))]
        return [(path, status.st_mode, status.st_mtime_ns) for path, status in found]

    before = everything()
    rig.examine()
    assert everything() == before


Spoil = Callable[[Rig], object]


def line(path: str, old: str, new: str) -> Spoil:
    """Changes a file of the rig."""

    def spoil(rig: Rig) -> None:
        file: Path = getattr(rig, path)
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return spoil


def answer(path: str, status: int, body: bytes = b"{}") -> Spoil:
    return lambda rig: rig.registry.answers.update({path: (status, body)})


def refused(sentence: str) -> bytes:
    return json.dumps({"errors": [{"code": "UNKNOWN", "message": sentence}]}).encode()


def a_dead_socket(rig: Rig) -> None:
    rig.listens.close()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(rig.socket))


def leftovers(rig: Rig) -> None:
    left = rig.state / "staging" / "left"
    left.mkdir(parents=True)
    os.utime(left, (1, 1))


WRONG = [
    ("launcher", "bad", "there is no launcher", "build-launcher", lambda rig: rig.launcher.unlink(), "absent"),
    ("launcher", "bad", "not executable", "chmod 755", lambda rig: rig.launcher.chmod(0o644), "not-executable"),
    (
        "launcher",
        "bad",
        "is not the floxbridge launcher",
        "build",
        lambda rig: shutil.copy("/bin/true", rig.launcher),
        "alien",
    ),
    ("launcher", "bad", "can be written to by others", "chmod 755", lambda rig: rig.launcher.chmod(0o777), "writable"),
    ("launcher.conf", "bad", "every create fails: ", "correct", line("conf", "socket=", "sock="), "key"),
    (
        "launcher.conf",
        "bad",
        "and the agent listens at",
        "socket=",
        line("conf", "agent.sock", "b.sock"),
        "other-socket",
    ),
    ("launcher.conf", "bad", "can be written to", "chmod 644", lambda rig: rig.conf.chmod(0o666), "writable-conf"),
    (
        "launcher.conf",
        "doubtful",
        "kubelet gives up",
        "110000",
        line("conf", "runtime", "deadline_ms=300000\nruntime"),
        "late",
    ),
    ("launcher.conf", "doubtful", "is short", "110000", line("conf", "runtime", "deadline_ms=50\nruntime"), "early"),
    ("runtime", "bad", "there is no runtime", "apt-get install runc", lambda rig: rig.runtime.unlink(), "no-runtime"),
    (
        "launcher",
        "bad",
        "ended with 3: broken",
        "build",
        lambda rig: rig.runtime.write_text("#!/bin/sh\necho broken >&2; exit 3"),
        "fails",
    ),
    ("runtime", "doubtful", "is runc 0.1", "apt-get", line("runtime", "1.1.5+ds1", "0.1"), "old"),
    (
        "runtime",
        "doubtful",
        "is crun 1.8.1",
        "newer crun",
        line("runtime", "runc version 1.1.5", "crun version 1.8.1"),
        "old-crun",
    ),
    (
        "containerd",
        "bad",
        "no runtime handler",
        "BinaryName = ",
        line("config", "runtimes.flox", "runtimes.x"),
        "no-handler",
    ),
    (
        "containerd",
        "bad",
        "keeps the pods'",
        "pod_annotations",
        line("config", 'pod_annotations = ["flox.dev/*"]', ""),
        "kept",
    ),
    ("containerd", "bad", "is no TOML", "containerd config migrate", line("config", "[", "["[:0]), "no-toml"),
    (
        "containerd",
        "doubtful",
        "ended with 1",
        "",
        lambda rig: rig.containerd.write_text("#!/bin/sh\nexit 1"),
        "no-dump",
    ),
    ("registry", "bad", "FloxHub token", "log", answer("/readyz", 503, refused("no FloxHub token")), "not-ready"),
    ("registry", "bad", "looking up flox/empty", "log", answer(EMPTY, 500), "no-image"),
    (
        "floxhub",
        "doubtful",
        "cannot ask FloxHub, ",
        "log",
        answer("/v2/flox/empty/floxbridge/doctor/manifests/live", 503),
        "hub",
    ),
    ("clock", "bad", "certificates", "set-ntp", lambda rig: setattr(rig.registry, "date", OTHER_DAY), "clock"),
    ("mirror", "bad", "there is no docker.io/hosts.toml", "[host.", lambda rig: rig.hosts.unlink(), "no-hosts"),
    ("mirror", "bad", "is not named in it", "[host.", line("hosts", "127.0.0.1", "127.0.0.2"), "other-host"),
    ("mirror", "doubtful", "both pull and resolve", "capabilities", line("hosts", '"pull", ', ""), "resolves-alone"),
    ("mirror", "bad", "no TOML", "[host.", line("hosts", "[", ""), "hosts-no-toml"),
    ("agent", "bad", "no agent listens", "systemctl start", lambda rig: rig.listens.close(), "no-agent"),
    ("agent", "bad", "no agent lives behind it", "systemctl start", a_dead_socket, "dead-agent"),
    ("agent", "bad", "by others than root", "chmod 600", lambda rig: rig.socket.chmod(0o666), "open-socket"),
    ("store", "bad", "by everybody", "chmod 700", lambda rig: rig.state.chmod(0o777), "open-store"),
    ("store", "doubtful", "1 folders", "restart", leftovers, "leftovers"),
]


@pytest.mark.parametrize(
    ("subject", "verdict", "says", "mend", "spoil"), [pytest.param(*row[:-1], id=str(row[-1])) for row in WRONG]
)
def test_a_wrong_thing_is_told(rig: Rig, subject: str, verdict: str, says: str, mend: str, spoil: Spoil) -> None:
    spoil(rig)
    found = [finding for finding in not_good(rig.examine()) if finding.subject == subject and says in finding.says]
    assert [finding.verdict for finding in found] == [verdict], rig.examine()
    assert mend in found[0].mend


def test_a_silent_registry(rig: Rig) -> None:
    (finding, *_) = not_good(rig.examine(registry_url=NOBODY))
    assert (finding.subject, finding.verdict) == ("registry", Verdict.BAD)
    assert f"the registry at {NOBODY} cannot be reached" in finding.says


def test_a_mirror_that_has_another_image(rig: Rig) -> None:
    with registry() as other:
        other.answers[EMPTY] = (200, b"another")
        rig.hosts.write_text(HOSTS.format(url=other.url))
        (finding,) = not_good(rig.examine())
        assert (finding.subject, finding.verdict) == ("mirror", Verdict.BAD)
        assert f"reaches {other.url}, which has another image" in finding.says


def test_a_mirror_by_another_address(rig: Rig) -> None:
    with registry() as replica:
        rig.hosts.write_text(HOSTS.format(url=replica.url))
        assert not_good(rig.examine()) == []


def test_a_dead_host_before_ours_delays_each_pull(rig: Rig) -> None:
    rig.hosts.write_text(HOSTS.format(url=NOBODY) + rig.hosts.read_text())
    (finding,) = not_good(rig.examine())
    assert (finding.subject, finding.verdict) == ("mirror", Verdict.DOUBTFUL)
    assert "each pull of the node waits for it first" in finding.says


@pytest.mark.parametrize("options", ["noexec", "ro"])
def test_a_disk_that_containers_cannot_run_from(rig: Rig, options: str) -> None:
    needs_root()
    needs("mount")
    disk = rig.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)
    try:
        found = [finding for finding in rig.examine(state_dir=disk / "state") if finding.subject == "store"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert [finding.verdict for finding in found] == [Verdict.BAD]
    assert f"remount,{'exec' if options == 'noexec' else 'rw'}" in found[0].mend


AS_NOBODY = """
import contextlib, io, os, sys
from shim_hooks.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[1:])  # as root, so that all of Python that it takes is loaded: nobody may not read that everywhere
os.setgroups([])
os.setresuid(65534, 65534, 65534)
sys.exit(main(sys.argv[1:]))
"""


def doctor(
    rig: Rig, *flags: str, python: tuple[str, ...] = ("-m", "shim_hooks.cli")
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *python, "doctor", "--registry-url", rig.registry.url, *flags]
    command += ["--socket", str(rig.socket), "--state-dir", str(rig.state), "--containerd-config", str(rig.config)]
    env = {**os.environ, "PATH": f"{rig.folder}/bin:/usr/bin:/bin"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


# ---- fetching ahead ----


def prefetch_of(rig: Rig, containerd: Path | None) -> list[Finding]:
    return [finding for finding in rig.examine(containerd_socket=containerd) if finding.subject == "prefetch"]


def test_nothing_is_said_of_fetching_ahead_where_it_is_not_wanted(rig: Rig) -> None:
    assert prefetch_of(rig, None) == []


def test_a_containerd_that_listens(rig: Rig) -> None:
    place = rig.folder / "run" / "containerd.sock"
    with socket.socket(socket.AF_UNIX) as containerd:
        containerd.bind(str(place))
        containerd.listen()
        (found,) = prefetch_of(rig, place)
    assert (found.verdict, found.mend) == (Verdict.GOOD, "")
    (gone,) = prefetch_of(rig, place)  # its file is still there
    assert (gone.verdict, "Connection refused" in gone.says) == (Verdict.DOUBTFUL, True)


@pytest.mark.parametrize("name", ["nothing.sock", "bin", "config.toml", "s" * 120])
def test_where_no_containerd_can_be(rig: Rig, name: str) -> None:
    (found,) = prefetch_of(rig, rig.folder / name)
    assert found.verdict is Verdict.DOUBTFUL
    assert "environments are not fetched ahead" in found.says
    assert "--containerd-socket /run/containerd/containerd.sock" in found.mend


def test_by_command_line(rig: Rig) -> None:
    done = doctor(rig)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("nothing is bad")
    rig.launcher.unlink()
    done = doctor(rig, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["healthy"]) == (1, False)
    assert document["findings"][0]["mend"] == f"floxbridge-node build-launcher --output {rig.launcher}"


def test_who_is_not_root_is_told_what_could_not_be_looked_at(rig: Rig) -> None:
    needs_root()
    temporary = Path(tempfile.gettempdir())
    for folder in takewhile(lambda at: at != temporary, (rig.folder, *rig.folder.parents)):
        folder.chmod(0o755)
    rig.socket.parent.chmod(0o700)
    done = doctor(rig, "--json", python=("-c", AS_NOBODY))
    found = {it["subject"]: it for it in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stdout
    assert found["agent"]["verdict"] == found["store"]["verdict"] == "doubtful"
    assert found["agent"]["mend"] == "run this as root"
    assert found["launcher"]["verdict"] == "good"
