"""`floxbridge-node` as a person or a unit file calls it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pytest

from flox_formats.digest import Digest
from flox_formats.store_path import StorePath
from shim_hooks.store.leases import Leases
from tests.conftest import needs, needs_root

NOBODY = "http://127.0.0.1:1"
"""Where nothing listens."""


def node(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shim_hooks.cli", *arguments],
        env={**_environment(), **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FLOXBRIDGE_")}


@contextmanager
def agent(folder: Path, *more: str) -> Iterator["tuple[subprocess.Popen[str], IO[str]]"]:
    """Yields it when it has said what it says first, which is that it listens."""
    places = ["--state-dir", str(folder / "state"), "--socket", str(folder / "run" / "agent.sock")]
    command = [sys.executable, "-m", "shim_hooks.cli", "agent", *places, "--registry-url", NOBODY, *more]
    with subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert json.loads(process.stderr.readline())["event"] == "listening"
            yield process, process.stderr
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        pytest.param(("agent", "--socket", ""), {}, "setting --socket: want a text", id="flag"),
        pytest.param(("status",), {"FLOXBRIDGE_NODE_SOCKET": ""}, "setting FLOXBRIDGE_NODE_SOCKET", id="variable"),
        pytest.param(
            ("status",),
            {"FLOXBRIDGE_NODE_COLOUR": "1"},
            "sets FLOXBRIDGE_NODE_COLOUR, which is no setting",
            id="unknown",
        ),
        pytest.param(("agent", "--registry-url", "localhost:5000"), {}, "want http(s)://HOST", id="url"),
        pytest.param(("agent", "--trusted-key", "key"), {}, "setting --trusted-key: ", id="key"),
        pytest.param(("agent", "--config", "/nowhere.yaml"), {}, "configuration file /nowhere.yaml", id="no-file"),
        pytest.param((), {}, "COMMAND", id="no-command"),
        pytest.param(("realise", "acme/web", "--deadline-s", "soon"), {}, "--deadline-s", id="number"),
    ],
)
def test_usage(arguments: tuple[str, ...], env: dict[str, str], words: str) -> None:
    done = node(*arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("socket: /x\ncolour: red\n", "the configuration file sets colour", id="unknown-key"),
        pytest.param("- a\n", "want keys and values, got list", id="list"),
        pytest.param("a: [", "configuration file", id="no-yaml"),
    ],
)
def test_a_bad_configuration_file(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "node.yaml").write_text(text)
    done = node("status", "--config", str(tmp_path / "node.yaml"))
    assert done.returncode == 2
    assert words in done.stderr


def test_a_configuration_file_beats_defaults_and_flags_beat_it(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(f"state_dir: {tmp_path}/a\nsocket: {tmp_path}/s\n")
    asked = ("status", "--json", "--config", str(tmp_path / "node.yaml"))
    assert json.loads(node(*asked).stdout)["store_dir"] == f"{tmp_path}/a/store"
    by_variable = node(*asked, env={"FLOXBRIDGE_NODE_STATE_DIR": f"{tmp_path}/b"})
    assert json.loads(by_variable.stdout)["store_dir"] == f"{tmp_path}/b/store"
    by_flag = node(*asked, "--state-dir", f"{tmp_path}/c", env={"FLOXBRIDGE_NODE_STATE_DIR": f"{tmp_path}/b"})
    assert json.loads(by_flag.stdout)["store_dir"] == f"{tmp_path}/c/store"
    assert list(tmp_path.iterdir()) == [tmp_path / "node.yaml"]


def test_build_launcher(tmp_path: Path) -> None:
    needs("cc")
    output = tmp_path / "bin" / "floxbridge-runc"
    done = node("build-launcher", "--output", str(output))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{output}\n", "")
    assert os.access(output, os.X_OK)


def test_build_launcher_without_a_compiler(tmp_path: Path) -> None:
    done = node("build-launcher", "--output", str(tmp_path / "x"), "--compiler", "no-such-cc")
    assert done.returncode == 1
    assert done.stderr.startswith("floxbridge-node: no C compiler 'no-such-cc'")


@pytest.mark.parametrize(
    ("ref", "code", "words"),
    [
        pytest.param("acme", 2, "want an environment owner/name", id="no-owner"),
        pytest.param("acme/web:live", 2, "want a generation number", id="word"),
        pytest.param("acme/web", 1, f"the registry at {NOBODY} cannot be reached", id="no-registry"),
    ],
)
def test_realise_fails(tmp_path: Path, ref: str, code: int, words: str) -> None:
    done = node("realise", ref, "--registry-url", NOBODY, "--state-dir", str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (code, "")
    *usage, sentence = done.stderr.splitlines()
    assert sentence.startswith("floxbridge-node")
    assert words in sentence
    assert bool(usage) == (code == 2)


def test_status_says_what_is_there(tmp_path: Path) -> None:
    path = StorePath.content_addressed("web", Digest.of(b"web"))
    (tmp_path / "store" / path.base_name).mkdir(parents=True)
    (tmp_path / "store" / path.base_name / "file").write_text("12345")
    (tmp_path / "closures").mkdir()
    Leases(tmp_path / "leases").take("c1", tmp_path / "bundle", [path])
    (tmp_path / "leases" / "c2.json").write_text("garbage")
    asked = ("status", "--state-dir", str(tmp_path), "--socket", str(tmp_path / "agent.sock"))
    done = node(*asked)
    assert f"does not listen at {tmp_path}/agent.sock" in done.stdout
    assert f"store   1 store paths, 5 bytes, in {tmp_path}/store\n" in done.stdout
    assert f"leases  2\n  c1  1 paths  {tmp_path}/bundle\n" in done.stdout
    found = json.loads(node(*asked, "--json").stdout)
    assert (found["agent_listens"], found["store_paths"], found["store_bytes"]) == (False, 1, 5)
    assert 0 < found["disk_free_bytes"] < found["disk_bytes"]
    assert found["leases"][0] == {"container": "c1", "bundle": f"{tmp_path}/bundle", "paths": 1}
    assert "unreadable" in found["leases"][1]["bundle"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["closures", "leases", "store"]


@pytest.mark.parametrize("command", ["status", "gc", "verify"])
def test_a_state_directory_that_is_closed_to_who_asks(command: str) -> None:
    needs_root()
    needs("setpriv")
    ask = [sys.executable, "-m", "shim_hooks.cli", command, "--state-dir"]
    with TemporaryDirectory() as state:  # pytest's own folders are closed to others, all the way
        (Path(state) / "store").mkdir()
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *ask, state]
        done = subprocess.run(somebody, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, f"no permission for {state}. Run floxbridge-node as root" in done.stderr) == (1, True)


def test_the_agent_listens_until_it_is_told_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    with agent(tmp_path) as (process, log):
        asked = ("status", "--json", "--state-dir", str(tmp_path / "state"), "--socket", str(path))
        found = json.loads(node(*asked).stdout)
        assert (found["agent_listens"], found["fetches"]) == (True, [])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(f"floxbridge/1\0create\0{tmp_path}\0c1\x001000\0".encode())
            client.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: client.recv(4096), b""))
        assert reply == f"error {tmp_path}/config.json cannot be read: No such file or directory\n".encode()
        second = node("agent", "--state-dir", str(tmp_path / "state"), "--socket", str(path))
        assert second.returncode == 1
        assert "another agent is listening" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert [json.loads(line)["event"] for line in log] == ["refused", "stopped"]
    assert not path.exists()


def test_an_agent_takes_over_from_another(tmp_path: Path) -> None:
    with agent(tmp_path) as (old, old_log), agent(tmp_path, "--take-over") as (new, new_log):
        assert old.wait(60) == 0
        assert [json.loads(line)["event"] for line in old_log] == ["replaced", "stopped"]
        assert (tmp_path / "run" / "agent.sock").is_socket()
        new.send_signal(signal.SIGTERM)
        assert new.wait(60) == 0
        assert [json.loads(line)["event"] for line in new_log] == ["stopped"]
    assert not (tmp_path / "run" / "agent.sock").exists()


def test_an_agent_that_was_killed_leaves_nothing_that_matters(tmp_path: Path) -> None:
    with agent(tmp_path) as (process, _):
        process.kill()
        process.wait()
    with agent(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
