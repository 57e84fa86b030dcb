"""The launcher, compiled with the compiler's sanitizers, with arguments, settings and answers that chance has made.

Whatever comes: it ends by itself, no sanitizer complains, nothing of ours stands on stdout, and the agent's `ok` alone
lets a create through to the runtime.
"""

import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from shim_hooks.doctor.launcher_settings import LauncherSettings
from shim_hooks.launcher.build import SOURCE
from tests.conftest import cannot_run, needs
from tests.fuzz.budget import rounds

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
_COMPLAINED = 99
OPTIONS = {
    "ASAN_OPTIONS": f"exitcode={_COMPLAINED}:detect_leaks=0:handle_segv=1",
    "UBSAN_OPTIONS": f"exitcode={_COMPLAINED}:print_stacktrace=1",
}
WORDS = [
    *(b"create run exec delete state kill features start checkpoint").split(),
    *(b"--bundle -b --process -p --log --log-format --root --pid-file --help -h -- - --config -f --force").split(),
    *(
        b"--bundle= --bundle=B -bB -pP --process=P --log=L --log-format=json --log=journald: --newflag --b --conf"
    ).split(),
    *(b"--pidfd-socket -dp -dpP -tp -td -eA=B --tty").split(),
    *(b"c1 B P L . / .. json B/../B /proc/self/mem").split(),
    b"",
    b"\xff\xfe",
    b"a b\nc",
    b"x" * 300,
    b"y" * 5000,
    b"%s%n%1000d",
    b"../" * 1500,
]
LINES = [
    b"runtime=",
    b"runtime=/bin/../bin/true",
    b"runtime=a/b",
    b"runtime=nothing-of-that-name",
    b"socket=",
    b"socket=/" + b"s" * 200,
    b"socket=x",
    b"deadline_ms=",
    b"deadline_ms=99999999999999999999999",
    b"deadline_ms=-1",
    b"deadline_ms=1",
    b"deadline_ms=+5",
    b"deadline_ms= 7",
    b"deadline_ms=\x0b7",
    b"=",
    b"===",
    b"key",
    b"#" * 4000,
    b" \t\r",
    b"\xff=\xfe",
    b"%n=%n",
    b"runtime=" + b"/" * 4080,
    b"\0",
]
ANSWERS = [
    b"ok\n",
    b"",
    b"o",
    b"ok",
    b"ok\n\n",
    b"error",
    b"error \n",
    b"error no\n",
    b"error " + b"\xf0\x9f" * 3000 + b"\n",
    b"error \0\n",
    b'error \x1b[2J"\\\xc3\n',
    b"error " + b'"' * 4095 + b"\n",
    b"error " + b"\\" * 9000,
    b"error %s%n\n",
]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    output = tmp_path_factory.mktemp("sanitized") / "floxbridge-runc"
    built = subprocess.run(
        ["cc", "-std=c11", *SANITIZERS, "-o", str(output), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if "cannot find" in built.stderr:
        cannot_run("the C compiler has no sanitizers: Debian has them in libgcc-12-dev")
    assert built.returncode == 0, built.stderr
    return output


class Talker:
    """An agent that gives the answer of the moment to whatever it is told, in pieces of its size."""

    def __init__(self, path: Path) -> None:
        self.answer, self.piece = b"ok\n", 1 << 20
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                while connection.recv(65536):
                    pass
                for at in range(0, len(self.answer), self.piece):
                    connection.sendall(self.answer[at : at + self.piece])


@dataclass
class Rig:
    folder: Path
    launcher: Path
    talker: Talker

    def conf(self, lines: list[bytes]) -> bytes:
        text = b"\n".join(
            [f"runtime={self.folder}/runtime\nsocket={self.folder}/agent.sock\ndeadline_ms=20000".encode(), *lines]
        )
        self.launcher.with_name(self.launcher.name + ".conf").write_bytes(text)
        return text

    def run(self, arguments: list[bytes]) -> "subprocess.CompletedProcess[bytes]":
        command = [str(self.launcher).encode(), *(word.replace(b"\0", b"") for word in arguments)]
        return subprocess.run(command, cwd=self.folder, env=OPTIONS, capture_output=True, timeout=60, check=False)


@pytest.fixture
def rig(launcher: Path, tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "B").mkdir()
    (tmp_path / "P").write_text("{}")
    (tmp_path / "runtime").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "runtime").chmod(0o755)
    talker = Talker(tmp_path / "agent.sock")
    yield Rig(tmp_path, launcher, talker)
    talker.close()


def test_arguments_and_answers(rig: Rig) -> None:
    rig.conf([])
    for chance in rounds():
        arguments = _arguments(chance)
        rig.talker.answer, rig.talker.piece = chance.choice(ANSWERS), chance.choice([1, 7, 1 << 20])
        done = rig.run(arguments)
        said = f"{chance}: {arguments} answered {rig.talker.answer[:40]!r}: {done.stderr[-3000:]!r}"
        assert done.returncode in (0, 1), said
        assert done.stdout == (b"ran\n" if done.returncode == 0 else b""), said
        if done.returncode == 0:
            assert rig.talker.answer == b"ok\n" or not _creates(arguments), said
        else:
            _is_one_line(done.stderr, said)


def test_a_create_passes_on_an_ok_alone(rig: Rig) -> None:
    rig.conf([])
    for chance in rounds(1.5):
        rig.talker.answer = chance.choice(
            [*ANSWERS, chance.randbytes(chance.randrange(40)), b"error " + chance.randbytes(5000)]
        )
        done = rig.run([b"--log", b"L", b"--log-format", b"json", b"create", b"--bundle", b"B", b"c1"])
        assert (done.returncode == 0) == (rig.talker.answer == b"ok\n"), f"{chance}: {rig.talker.answer!r} {done}"
        if done.returncode:
            _is_one_line(done.stderr, str(chance))


def test_settings(rig: Rig) -> None:
    """The doctor says of a settings file what the launcher says."""
    rig.talker.answer = b"error asked\n"
    for chance in rounds():
        text = rig.conf(_lines(chance))
        where = str(rig.launcher.with_name(rig.launcher.name + ".conf"))
        read = LauncherSettings.parse(text, where)
        done = rig.run([b"create", b"--bundle", b"B", b"c1"])
        said = f"{chance}: {text!r}: {done.stderr[-3000:]!r} {read}"
        assert done.returncode == 1, said
        _is_one_line(done.stderr, said)
        blamed = done.stderr.startswith(b"floxbridge launcher settings: ")
        assert blamed == bool(read.problem), said
        if read.problem and read.problem.isprintable() and read.problem.isascii():
            assert done.stderr.decode() == f"floxbridge launcher settings: {read.problem}\n", said


def _arguments(chance: random.Random) -> list[bytes]:
    words = [chance.choice(WORDS) for _ in range(chance.randrange(8))]
    if chance.random() < 0.7:
        words.insert(chance.randrange(len(words) + 1), chance.choice([b"create", b"run", b"exec", b"delete"]))
    if chance.random() < 0.1:
        words.append(chance.randbytes(chance.randrange(1, 200)))
    return words


def _lines(chance: random.Random) -> list[bytes]:
    lines = [chance.choice(LINES) for _ in range(chance.randrange(4))]
    if chance.random() < 0.3:
        lines.append(chance.randbytes(chance.randrange(1, 80)))
    return lines


def _creates(arguments: list[bytes]) -> bool:
    """Beyond doubt: the verb stands first, and there is nothing but an id."""
    return arguments[:1] in ([b"create"], [b"run"]) and len(arguments) == 2 and not arguments[1].startswith(b"-")


def _is_one_line(stderr: bytes, said: str) -> None:
    text = stderr.decode()
    assert text.endswith("\n"), said
    assert not [it for it in text[:-1] if ord(it) < 32 or ord(it) == 127], said
    assert "Sanitizer" not in text, said
    assert "runtime error" not in text, said
