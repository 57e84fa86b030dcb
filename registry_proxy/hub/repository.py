"""One owner's repository in a local FloxHub: a bare git repository, one branch an environment.

An adapter: all that runs git for writing is here, and all of it blocks. What is written is decided in `local.py`.
Layout: FH §1.2, §4. Commits are written by `git fast-import`, onto no branch; then `git update-ref` moves the branch,
but only from where it stood. Left to itself, fast-import would take the same commit made twice for one.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_IDENTITY = b"Flox User <floxuser@example.invalid>"
_HEADS = "refs/heads/"
_LOCK_TIMEOUT_MS = 5000
_NO_COMMIT = "0" * 40


class HubError(Exception):
    """Why the hub did not do what it was told. The message is for the person who told it."""


class HubFailed(HubError):
    """Git or the disk failed, or did not finish in time."""


@dataclass(frozen=True, slots=True)
class NewCommit:
    """Files to add to the tree, by path; `timestamp` in Unix seconds. Files that are there already stay."""

    message: str
    files: Mapping[str, bytes]
    timestamp: int


class HubRepository:
    """`path` need not exist: an owner without a repository has no branches. `deadline` is a monotonic time."""

    def __init__(self, path: Path, *, deadline: float) -> None:
        self._path, self._deadline = path, deadline

    def create(self) -> None:
        """Makes the repository unless it is there. It appears whole."""
        if self._path.exists():
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".new-", dir=self._path.parent))
        except OSError as problem:
            raise HubFailed(f"cannot make {self._path}: {problem.strerror}") from problem
        try:
            self._run(["git", "init", "--bare", "--quiet", "--template=", "--initial-branch=main", str(staging)])
            staging.chmod(0o755)  # mkdtemp's is for one user; whoever serves the hub must be able to read it
            staging.rename(self._path)
        except OSError as problem:
            if not self._path.exists():  # otherwise another push was first, and its repository is as good
                raise HubFailed(f"cannot make {self._path}: {problem.strerror}") from problem
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def have_no_default_branch(self) -> None:
        """Points HEAD at what is no environment: before version 2, git tells HEAD's branch even if that is hidden."""
        self._git("symbolic-ref", "HEAD", _HEADS + "floxbridge/none")

    def tip(self, branch: str) -> str | None:
        """The commit that a branch stands at; None when there is no such branch."""
        return self.tips(_HEADS + branch).get(branch)

    def tips(self, below: str = _HEADS) -> dict[str, str]:
        """Every branch and its commit, by name."""
        if not self._path.exists():
            return {}
        listing = self._git("for-each-ref", "--format=%(objectname) %(refname)", below).decode("utf-8", "replace")
        pairs = (line.split(" ", 1) for line in listing.splitlines())
        return {ref.removeprefix(_HEADS): commit for commit, ref in pairs}

    def history(self, tips: Iterable[str]) -> frozenset[str]:
        """These commits and all before them."""
        starts = "".join(f"{tip}\n" for tip in tips).encode()
        if not starts:
            return frozenset()
        listing = self._git("--no-replace-objects", "rev-list", "--stdin", stdin=starts)
        return frozenset(listing.decode().split())

    def read(self, commit: str, path: str) -> bytes:
        """The bytes of a file of a commit."""
        return self._git("cat-file", "blob", f"{commit}:{path}")

    def append(self, branch: str, after: str | None, commits: Sequence[NewCommit]) -> bool:
        """Puts `commits` on a branch that stands at `after`. False when it stands elsewhere by now, and still does."""
        new = self._git("fast-import", "--quiet", "--done", stdin=_as_stream(after, commits)).decode().strip()
        try:
            self._git("update-ref", _HEADS + branch, new, after or _NO_COMMIT)
        except HubFailed:
            if self.tip(branch) == after:
                raise
            return False
        return True

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        wait_for_others = ("-c", f"core.filesRefLockTimeout={_LOCK_TIMEOUT_MS}")
        return self._run(["git", f"--git-dir={self._path}", *wait_for_others, *arguments], stdin=stdin)

    def _run(self, command: Sequence[str], *, stdin: bytes = b"") -> bytes:
        left_s = max(0.0, self._deadline - time.monotonic())
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=left_s, env=git_environment())
        except subprocess.TimeoutExpired as problem:
            raise HubFailed(f"git did not finish in time in {self._path}") from problem
        except OSError as problem:
            raise HubFailed(f"cannot run git: {problem.strerror}; is it installed?") from problem
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
            raise HubFailed(f"git failed in {self._path}: {said[0][:300]}")
        return done.stdout


def git_environment() -> dict[str, str]:
    """Git as it is everywhere: no configuration of this machine or user, no translated messages, no questions."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


def _as_stream(after: str | None, commits: Sequence[NewCommit]) -> bytes:
    """What `git fast-import` reads, and answers with the last commit's id. The name that it needs is given up again."""
    scratch = f"refs/floxbridge/{uuid.uuid4().hex}".encode()
    parts = []
    for number, commit in enumerate(commits):
        parts.append(b"commit %s\nmark :1\n" % scratch)
        parts.append(b"committer %s %d +0000\n" % (_IDENTITY, commit.timestamp))
        parts.append(_data(commit.message.encode()))
        if after is not None and number == 0:
            parts.append(f"from {after}\n".encode())
        parts += [f"M 100644 inline {path}\n".encode() + _data(data) for path, data in commit.files.items()]
    end = b"\nget-mark :1\nreset %s\nfrom %s\n\ndone\n" % (scratch, _NO_COMMIT.encode())
    return b"".join(parts) + end


def _data(data: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(data), data)
