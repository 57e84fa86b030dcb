"""`floxbridge-node realise` over a real connection: what a terminal, a file and a program see, and with whose token."""

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from shim_hooks.floxhub_token import FloxHubToken
from tests.integration.small_registry import KEY, Fault, Package, SmallRegistry, program
from tests.integration.test_node_cli import NOBODY, node

pytestmark = pytest.mark.anyio

LIB = Package.make("lib", program("lib", size=3000))
BIG = Package.make("big", program("big", size=100_000), [LIB.store_path])
TOKEN = FloxHubToken("flox_pat_mine_5ec")


@pytest.fixture
def arguments(registry: SmallRegistry, tmp_path: Path) -> list[str]:
    places = ["--state-dir", str(tmp_path / "state"), "--registry-url", registry.url]
    return [*places, "--trusted-key", str(KEY.public), "--connect-timeout-s", "5"]


@pytest.fixture
def private(registry: SmallRegistry, tmp_path: Path) -> Path:
    """A file with the token that opens acme/secret."""
    registry.push("acme/secret", 1, LIB)
    registry.private["acme/secret"] = TOKEN
    file = tmp_path / "token"
    file.write_text(f"{TOKEN.text}\n")
    return file


class Terminal:
    """The other end of a process's stderr."""

    def __init__(self, columns: int) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.text = ""
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._ours, 65536).decode()
        except OSError:  # the process has closed it
            self.close()
        self._came.set()

    async def shows(self, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in self.text:
                self._came.clear()
                await self._came.wait()

    def close(self) -> None:
        if self._ours >= 0:
            asyncio.get_running_loop().remove_reader(self._ours)
            os.close(self._ours)
            self._ours = -1


async def started(terminal: Terminal, *arguments: str) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOXBRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shim_hooks.cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=terminal.theirs, env={**environment, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal.theirs)
    return process


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
async def test_a_terminal_sees_one_line_that_goes_away(
    registry: SmallRegistry, arguments: list[str], as_json: bool
) -> None:
    hold = asyncio.Event()
    registry.push("acme/web", 1, BIG, LIB)
    registry.fail(BIG, Fault(cut=50_000, hold=hold))
    terminal = Terminal(columns=100)
    process = await started(terminal, "realise", "acme/web", *arguments, *(["--json"] if as_json else []))
    await terminal.shows("1 of 2 paths")
    hold.set()
    out, _ = await process.communicate()
    await terminal.shows("\r\x1b[K")
    assert process.returncode == 0
    drawn = terminal.text.split("\r")
    assert "\n" not in terminal.text
    assert any("%  " in each and "of " in each and "kB  " in each and "/s" in each for each in drawn)
    assert max(len(each.removesuffix("\x1b[K")) for each in drawn) < 100
    assert terminal.text.endswith("\r\x1b[K")
    if as_json:
        assert json.loads(out)["fetched_bytes"] == len(BIG.blob) + len(LIB.blob)
    else:
        assert out.decode().startswith("acme/web:1 is in the node's store, 3 paths\n")
    terminal.close()


async def test_a_terminal_is_left_clean_by_an_error(registry: SmallRegistry, arguments: list[str]) -> None:
    terminal = Terminal(columns=100)
    process = await started(terminal, "realise", "acme/none", *arguments)
    await terminal.shows("nobody knows")
    assert await process.wait() == 1
    assert "\r\x1b[Kfloxbridge-node: asking for acme/none" in terminal.text
    terminal.close()


async def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    done = await asyncio.to_thread(node, *arguments, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


async def test_a_file_sees_the_end_alone(registry: SmallRegistry, arguments: list[str]) -> None:
    registry.push("acme/web", 1, BIG, LIB)
    code, said, problem = await run("realise", "acme/web", *arguments)
    assert (code, problem) == (0, "")
    assert f"fetched         {len(BIG.blob) + len(LIB.blob)} bytes\n" in said
    assert (await run("realise", "acme/web", *arguments))[1].endswith("fetched         nothing\n")


async def test_time_is_up(registry: SmallRegistry, arguments: list[str]) -> None:
    registry.push("acme/web", 1, BIG, LIB)
    registry.fail(BIG, Fault(cut=50_000, hold=asyncio.Event()))
    code, said, problem = await run("realise", "acme/web", *arguments, "--deadline-s", "5")
    assert (code, said) == (1, "")
    assert "acme/web: still fetching: " in problem
    assert problem.endswith(
        "after 5 s (--deadline-s). The store paths that are complete stay: the next try goes on from there\n"
    )
    assert "kubelet" not in problem
    registry.faults.clear()
    code, said, _ = await run("realise", "acme/web", *arguments, "--json")
    assert json.loads(said)["fetched_bytes"] == len(BIG.blob), "what was complete is not fetched again"


@pytest.mark.parametrize("how", ["file", "stdin"])
async def test_a_private_environment(
    registry: SmallRegistry, arguments: list[str], private: Path, tmp_path: Path, how: str
) -> None:
    code, _, problem = await run("realise", "acme/secret", *arguments)
    assert (code, "nobody knows" in problem) == (1, True)
    given, stdin = (str(private), "") if how == "file" else ("-", TOKEN.text)
    code, said, problem = await run("realise", "acme/secret", *arguments, "--token-file", given, stdin=stdin)
    assert (code, problem) == (0, "")
    assert "acme/secret:1 is in the node's store" in said
    assert not [file for file in files(tmp_path / "state") if TOKEN.text.encode() in file.read_bytes()]
    code, _, _ = await run("realise", "acme/secret:1", *arguments)
    assert code == 1, "what lies there grants nothing"


def files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="no-file"),
        pytest.param("two words", "want a FloxHub token: printable characters without spaces", id="words"),
        pytest.param("", "want a FloxHub token", id="empty"),
        pytest.param("x" * 10_000, "want a FloxHub token", id="long"),
    ],
)
@pytest.mark.parametrize("command", [("realise", "acme/secret"), ("verify", "--repair")], ids=["realise", "verify"])
async def test_what_is_no_token(tmp_path: Path, text: str | None, words: str, command: tuple[str, ...]) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    code, said, problem = await run(
        *command, "--token-file", str(file), "--registry-url", NOBODY, "--state-dir", str(tmp_path / "state")
    )
    assert (code, said) == (1, "")
    assert problem.startswith(f"floxbridge-node: --token-file {file}")
    assert words in problem
    assert not text or text not in problem
    assert not (tmp_path / "state").exists()


async def test_a_token_without_repair() -> None:
    code, _, problem = await run("verify", "--token-file", "/nowhere")
    assert (code, "--token-file is for what --repair fetches" in problem) == (2, True)
