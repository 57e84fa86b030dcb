"""A hub whose visibilities, tokens and repositories change: what is shown follows at once, and never too much."""

import os
from pathlib import Path

import httpx2
import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.hub import local
from registry_proxy.hub.privacy import Visibility
from tests.integration.hub_rig import git, processes_in, serving
from tests.integration.private_hub_rig import (
    CREDENTIALS,
    SECRET,
    TOKENS,
    WEB,
    Hub,
    Served,
    fetch,
    header,
    info_refs,
    ls_refs,
)


@pytest.mark.parametrize("protocol", ["", "version=1", "version=2"])
def test_a_private_default_branch_is_not_named(hub: Hub, protocol: str) -> None:
    main = EnvironmentName("acme", "main")
    git("symbolic-ref", "HEAD", "refs/heads/main", cwd=hub.folder("acme"))
    hub.push(main, "# main")
    local.set_visibility(hub.root, main, Visibility.PRIVATE)
    with serving(hub.root) as url:
        served = Served(hub, url, hub.root.parent)
        for ask in (info_refs("main", "acme", protocol), ls_refs()):
            answer = ask(hub).send(served, None)
            assert (answer.status_code, b"main" in answer.content) == (200, False)


def test_other_refs_are_hidden_too(hub: Hub) -> None:
    """A tag, say, that somebody pushed while the environment was public."""
    git("update-ref", "refs/tags/v1", hub.commit("secret"), cwd=hub.folder("acme"))
    with serving(hub.root) as url:
        assert git("ls-remote", f"{url}/git/acme/floxmeta") == f"{hub.commit('web')}\trefs/heads/web\n"


def test_what_was_replaced_in_public_history_shows_nothing_private(hub: Hub) -> None:
    folder, secret = hub.folder("acme"), hub.commit("secret")
    git("replace", hub.commit("web~1"), secret, cwd=folder)
    with serving(hub.root) as url:
        served = Served(hub, url, hub.root.parent)
        assert fetch("secret")(hub).send(served, None).status_code == 401
        assert secret not in fetch("web")(hub).send(served, None).text


def test_without_tokens_nobody_sees_what_is_private(hub: Hub, tmp_path: Path) -> None:
    with serving(hub.root) as url:
        assert git("ls-remote", f"{url}/git/acme/floxmeta") == f"{hub.commit('web')}\trefs/heads/web\n"
        served = Served(hub, url, tmp_path)
        assert {fetch("secret")(hub).send(served, token).status_code for token in CREDENTIALS.values()} == {401}


def test_visibility_changes_at_once_and_outlives_the_server(hub: Hub, tmp_path: Path) -> None:
    def statuses(url: str) -> list[int]:
        served = Served(hub, url, tmp_path)
        return [fetch(name)(hub).send(served, None).status_code for name in ("web", "secret")]

    with serving(hub.root) as url:
        assert statuses(url) == [200, 401]
        local.set_visibility(hub.root, SECRET, Visibility.PUBLIC)
        assert statuses(url) == [200, 200]
        local.set_visibility(hub.root, WEB, Visibility.PRIVATE)
        hub.push(WEB, "# still private")
        assert statuses(url) == [401, 200]
    with serving(hub.root) as url:
        assert statuses(url) == [401, 200]


def test_tokens_are_read_again_when_the_file_changes(hub: Hub, tmp_path: Path) -> None:
    said = f"floxbridge hub: tokens in {hub.tokens}, line 1: want TOKEN HANDLE"
    rest = " [OWNER/NAME | OWNER/*]... [expires=TIME], got one word; no token is accepted until that is mended\n"
    with serving(hub.root, "--tokens", hub.tokens, complaints=said + rest) as url:
        served = Served(hub, url, tmp_path)
        statuses = []
        for text in (TOKENS, "flox_pat_other bob\n", "flox_pat_right\n", TOKENS):
            hub.write_tokens(text)
            statuses.append(fetch("secret")(hub).send(served, CREDENTIALS["right"]).status_code)
        assert statuses == [200, 401, 401, 200]


def test_a_record_that_cannot_be_read_makes_nothing_public(hub: Hub, tmp_path: Path) -> None:
    record = hub.folder("acme") / "floxbridge-private"
    record.rename(tmp_path / "record")
    record.write_text("not a folder")
    with serving(hub.root) as url:
        answer = fetch("web")(hub).send(Served(hub, url, tmp_path), None)
    assert (answer.status_code, answer.text) == (500, "the hub cannot read this repository now\n")


def test_no_token_reaches_the_processes_of_git(hub: Hub) -> None:
    """The answer is larger than all buffers between here and there, so git still runs when we look."""
    folder, noise = hub.folder("acme"), hub.root.parent / "noise"
    noise.write_bytes(os.urandom(16 * 1024 * 1024))
    blob = git("hash-object", "-w", str(noise), cwd=folder).strip()
    git("read-tree", "--empty", cwd=folder)
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},noise", cwd=folder)
    commit = git("commit-tree", "-m", "large", git("write-tree", cwd=folder).strip(), cwd=folder).strip()
    git("update-ref", "refs/heads/secret", commit, cwd=folder)
    token = CREDENTIALS["right"]
    assert token is not None
    asked = fetch("secret")(hub)
    kind = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2", **header(token)}
    with serving(hub.root, "--tokens", hub.tokens) as url:
        post = f"{url}/git/acme/floxmeta/git-upload-pack"
        with httpx2.stream("POST", post, content=asked.body, headers=kind, timeout=30) as answer:
            chunks = answer.iter_raw()
            assert next(chunks)
            told = [
                Path(f"/proc/{process}/{part}").read_bytes()
                for process in processes_in(folder)
                for part in ("environ", "cmdline")
            ]
    encoded = header(token)["Authorization"].removeprefix("Basic ")
    assert told
    assert not [text for text in told if token.encode() in text or encoded.encode() in text]
