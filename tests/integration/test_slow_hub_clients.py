"""Clients of a hub that take their time: what is made private meanwhile is not theirs, and others do not wait."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from registry_proxy.hub import local
from registry_proxy.hub.caller import Caller
from registry_proxy.hub.privacy import Visibility
from registry_proxy.hub.view import HubView
from tests.conftest import needs
from tests.integration.hub_rig import git, serving
from tests.integration.private_hub_rig import SECRET, WEB, Hub, command, line

LISTING = command("ls-refs", "ref-prefix refs/heads/")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Held:
    """A POST whose head the hub has read, and whose body it waits for."""

    def __init__(self, url: str, service: str, length: int) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._connection = socket.create_connection((host, int(port)), timeout=30)
        head = (
            f"POST /git/acme/floxmeta/{service} HTTP/1.1",
            f"Host: {host}",
            f"Content-Type: application/x-{service}-request",
            "Git-Protocol: version=2",
            f"Content-Length: {length}",
            "Expect: 100-continue",
            "Connection: close",
        )
        self._connection.sendall("\r\n".join((*head, "", "")).encode())
        assert self._connection.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE

    def send(self, part: bytes) -> None:
        self._connection.sendall(part)

    def finish(self, body: bytes) -> bytes:
        """The whole answer, head and body as they come."""
        with self._connection:
            self._connection.sendall(body)
            return b"".join(iter(lambda: self._connection.recv(65536), b""))

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def public_hub(tmp_path: Path) -> Hub:
    """Nothing in it is private."""
    needs("git")
    local.init(tmp_path / "hub")
    hub = Hub(tmp_path / "hub", tmp_path / "tokens")
    hub.push(WEB, "# 1")
    return hub


def fetching(commit: str) -> bytes:
    return command("fetch", f"want {commit}", "done")


def pushing(commit: str) -> bytes:
    return line(f"{'0' * 40} {commit} refs/heads/mine\0report-status") + b"0000"


@pytest.mark.parametrize(
    ("service", "asked", "status", "shown"),
    [
        pytest.param("git-upload-pack", lambda commit: LISTING, b"200", b"refs/heads/secret", id="list"),
        pytest.param("git-upload-pack", fetching, b"401", b"PACK", id="fetch"),
        pytest.param("git-receive-pack", pushing, b"401", b"refs/heads/mine", id="push"),
    ],
)
def test_what_became_private_meanwhile_is_not_shown(
    public_hub: Hub, service: str, asked: Callable[[str], bytes], status: bytes, shown: bytes
) -> None:
    """The first private environment of an owner: nothing was hidden when the client began to ask."""
    with serving(public_hub.root, "--allow-push") as url:
        held = Held(url, service, len(asked("0" * 40)))
        public_hub.push(SECRET, "# secret", private=True)
        answer = held.finish(asked(public_hub.commit("secret")))
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert shown not in answer
    assert b"refs/heads/web" in answer or status == b"401"
    assert "mine" not in git("branch", "--list", cwd=public_hub.folder("acme"))


def test_what_is_made_private_meanwhile_is_not_listed(hub: Hub) -> None:
    """Of an owner who has private environments already."""
    with serving(hub.root) as url:
        held = Held(url, "git-upload-pack", len(LISTING))
        local.set_visibility(hub.root, WEB, Visibility.PRIVATE)
        assert b"refs/heads/" not in held.finish(LISTING)


def test_git_is_told_what_there_was_when_it_was_judged(public_hub: Hub) -> None:
    """Between judging a request and git's look at the branches there may be a push, too."""
    view = HubView.of(public_hub.root, "acme", Caller(None))
    public_hub.push(SECRET, "# secret", private=True)
    told = tuple(f"{key}={value}" for key, value in view.settings())
    listing = git("upload-pack", "--advertise-refs", str(public_hub.folder("acme")), config=told)
    assert ("refs/heads/web" in listing, "secret" in listing) == (True, False)


@contextmanager
def many_held(url: str, service: str, length: int, sent: bytes) -> Iterator[None]:
    """More of them than the hub runs processes, each with this much of its body."""
    with ExitStack() as stack:
        for _ in range(40):
            held = Held(url, service, length)
            stack.callback(held.close)
            held.send(sent)
        yield


@pytest.mark.parametrize(
    ("service", "sent"),
    [
        pytest.param("git-upload-pack", b"", id="fetches"),
        pytest.param("git-upload-pack", b"0" * 200_000, id="large-fetches"),
        pytest.param("git-receive-pack", b"0" * 200_000, id="large-pushes"),
    ],
)
def test_who_sends_nothing_stops_nobody(public_hub: Hub, service: str, sent: bytes) -> None:
    with serving(public_hub.root, "--allow-push") as url, many_held(url, service, 1_000_000, sent):
        assert "refs/heads/web" in git("ls-remote", f"{url}/git/acme/floxmeta")
