"""Shells as people have them: each has our completion where the manual says it goes, and tells what it offers."""

import os
import pty
import re
import select
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

BIN = Path(__file__).resolve().parents[2] / ".venv" / "bin"
PROGRAMS = ("floxbridge", "floxbridge-node")
_DEADLINE_S = 30
_KILL_LINE = "\x15"


class Shell:
    """One that runs in `home` until the end of the context, and tells a line for each that it is asked about.

    Bash and zsh complete only on a terminal, so they get one.
    """

    def __init__(self, home: Path, command: list[str], *, terminal: bool) -> None:
        self._answers, telling = os.pipe()
        self._said = b""
        if terminal:
            self._keys, seat = pty.openpty()
        else:
            seat, self._keys = os.pipe()
        variables = {
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "TERM": "dumb",
            "TOLD": f"/dev/fd/{telling}",
        }
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env=variables,
            stdin=seat,
            stdout=seat if terminal else subprocess.DEVNULL,
            stderr=seat if terminal else subprocess.STDOUT,
            pass_fds=[telling],
            start_new_session=True,
        )
        os.close(seat)
        os.close(telling)
        self._shown = list[bytes]()
        if terminal:
            threading.Thread(target=self._look, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keys)
        os.close(self._answers)

    @property
    def complaints(self) -> list[str]:
        """Lines on the terminal that say that something went wrong."""
        shown = b"".join(self._shown).decode(errors="replace")
        return [line for line in re.split(r"[\r\n]+", shown) if "not found" in line or "rror" in line]

    def offers(self, line: str) -> set[str]:
        """What may stand in place of the last word: of a path its last part, of `--flag=value` the value."""
        raise NotImplementedError

    def _ask(self, keys: str) -> str:
        os.write(self._keys, keys.encode())
        while b"\n" not in self._said:
            readable, _, _ = select.select([self._answers], [], [], _DEADLINE_S)
            piece = os.read(self._answers, 65536) if readable else b""
            assert piece, f"the shell said nothing more: {b''.join(self._shown)!r}"
            self._said += piece
        answer, _, self._said = self._said.partition(b"\n")
        return answer.decode()

    def _look(self) -> None:
        with suppress(OSError):  # the terminal is gone
            while shown := os.read(self._keys, 4096):
                self._shown.append(shown)


def _names(offered: list[str]) -> set[str]:
    return {re.split("[/=]", one.rstrip("/"))[-1] for one in offered}


class Bash(Shell):
    """Inserts everything that it would offer into the line, which is then told."""

    def __init__(self, home: Path) -> None:
        sources = "".join(f"source <({program} completion bash)\n" for program in PROGRAMS)
        keys = r"""
bind 'set bell-style none'
bind '"\C-xi": insert-completions'
tell() { printf '%s\n' "$READLINE_LINE" >$TOLD; }
bind -x '"\C-xt": tell'
"""
        (home / ".bashrc").write_text(sources + keys)
        super().__init__(home, ["bash", "--noprofile", "-i"], terminal=True)

    def offers(self, line: str) -> set[str]:
        told = self._ask(f"{_KILL_LINE}{line}\x18i\x18t")
        before = re.match(r".*[ =]", line)
        assert before is not None
        return set() if told == line else _names(told[before.end() :].split())


class Zsh(Shell):
    """Looks over the shoulder of `compadd`, through which every completion goes."""

    def __init__(self, home: Path) -> None:
        functions = home / "functions"
        functions.mkdir()
        for program in PROGRAMS:
            (functions / f"_{program}").write_bytes(_script(program, "zsh"))
        setup = r"""
fpath=($HOME/functions $fpath)
autoload -Uz compinit
compinit -D -u
typeset -ga offered
compadd() {
  if (( ! ${@[(I)-[AOD]]} )); then
    local -a these
    builtin compadd -O these "$@"
    offered+=("${these[@]}")
  fi
  builtin compadd "$@"
}
tell() {
  offered=()
  _main_complete
  print -r -- ${(pj:\t:)offered} >$TOLD
  compstate[insert]= compstate[list]=
}
zle -C tell complete-word tell
bindkey '^T' tell
"""
        (home / ".zshrc").write_text(setup)
        super().__init__(home, ["zsh", "-d", "-i"], terminal=True)

    def offers(self, line: str) -> set[str]:
        told = self._ask(f"{_KILL_LINE}{line}\x14")
        return _names(told.split("\t")) if told else set()


class Fish(Shell):
    """Has a command that says what it would offer."""

    def __init__(self, home: Path) -> None:
        completions = home / ".config" / "fish" / "completions"
        completions.mkdir(parents=True)
        for program in PROGRAMS:
            (completions / f"{program}.fish").write_bytes(_script(program, "fish"))
        tell = r"echo (complete -C $line | string split --fields 1 \t | string join \t) >$TOLD"
        super().__init__(home, ["fish", "-c", f"while read --line line; {tell}; end"], terminal=False)

    def offers(self, line: str) -> set[str]:
        told = self._ask(f"{line}\n")
        return _names(told.split("\t")) if told else set()


def _script(program: str, shell: str) -> bytes:
    return subprocess.run([BIN / program, "completion", shell], check=True, capture_output=True, timeout=60).stdout
