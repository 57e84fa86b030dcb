"""A launcher built for real, a runtime that writes down how it was called, and an agent of the test's choosing."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from shim_hooks.launcher.build import build_launcher
from shim_hooks.launcher_protocol import Request, parse_request
from tests.conftest import needs


class FakeAgent:
    """Reads requests to their end, keeps them, and gives each the next answer, the last one also to all that follow.

    None is an agent that hangs.
    """

    def __init__(self, path: Path, *answers: bytes | None) -> None:
        self._answers, self._held = list(answers), list[socket.socket]()
        self._came = threading.Condition()
        self._requests = list[Request]()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._listener, *self._held):
            connection.close()

    def requests(self, count: int) -> list[Request]:
        """The first `count` requests, waiting for them: a `delete` is told without waiting to be heard."""
        with self._came:
            assert self._came.wait_for(lambda: len(self._requests) >= count, timeout=20), self._requests
            return list(self._requests)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            data = b"".join(iter(lambda: connection.recv(4096), b""))  # noqa: B023
            with self._came:
                self._requests.append(parse_request(data))
                self._came.notify_all()
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if answer is None:
                self._held.append(connection)
                continue
            with suppress(BrokenPipeError):  # a delete does not stay for an answer
                connection.sendall(answer)
            connection.close()


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str
    runtime_argv: list[str] | None  # None: the runtime was not run


class Rig:
    """The launcher in `folder`, its settings beside it."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.folder, self.socket, self.log = folder, folder / "agent.sock", folder / "log.json"
        self.launcher = folder / "floxbridge-runc"
        self.launcher.write_bytes(launcher.read_bytes())
        self.launcher.chmod(0o755)
        self._called = folder / "called"
        self.runtime = folder / "the-runtime"
        self.runtime.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >{self._called}\necho from the runtime\n")
        self.runtime.chmod(0o755)
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        self.configure()

    @property
    def conf(self) -> Path:
        return self.folder / "floxbridge-runc.conf"

    def configure(self, *lines: str, deadline_ms: int = 20_000) -> None:
        """Settings that work, then `lines`, of which the last one of a name counts."""
        own = (f"runtime={self.runtime}", f"socket={self.socket}", f"deadline_ms={deadline_ms}")
        self.conf.write_text("\n".join(["# the test's", *own, *lines, ""]))

    def agent(self, *answers: bytes | None) -> FakeAgent:
        """By default one that says yes to everything."""
        return FakeAgent(self.socket, *(answers or (b"ok\n",)))

    def run(self, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
        self._called.unlink(missing_ok=True)
        done = subprocess.run(
            [self.launcher, *arguments], cwd=cwd or self.folder, env=env, capture_output=True, timeout=60, check=False
        )
        argv = self._called.read_text().split("\0")[:-1] if self._called.exists() else None
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode(), argv)

    def logged(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def silent_listener(path: Path) -> Iterator[None]:
    """A socket whose queue is full and that nobody accepts from: an agent that is stopped dead."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            yield


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("launcher") / "floxbridge-runc"
    build_launcher(output)
    return output


@pytest.fixture
def rig(tmp_path: Path, launcher: Path) -> Rig:
    return Rig(tmp_path, launcher)
