"""Pushing to a hub with private environments: who may, and that nobody can fetch by pushing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from registry_proxy.hub import local
from tests.integration.hub_rig import git, run_git, serving
from tests.integration.private_hub_rig import Hub, asking, header, line


@contextmanager
def writable(hub: Hub) -> Iterator[str]:
    with serving(hub.root, "--tokens", hub.tokens, "--allow-push") as url:
        yield url


def clone_of(hub: Hub, branch: str, owner: str, target: Path, *, noise: int = 0) -> Path:
    """A clone with one commit more than the hub has."""
    git("clone", "--quiet", "--branch", branch, str(hub.folder(owner)), str(target))
    (target / "more").write_bytes(os.urandom(noise))
    git("add", ".", cwd=target)
    git("commit", "--quiet", "-m", "more", cwd=target)
    return target


@pytest.mark.parametrize(
    ("token", "owner", "branch", "lands"),
    [
        pytest.param("flox_pat_right", "acme", "secret", True, id="right"),
        pytest.param("flox_pat_owner", "acme", "secret", True, id="owner"),
        pytest.param("flox_pat_right", "acme", "web", True, id="public-beside-private"),
        pytest.param("flox_pat_right", "vault", "only", True, id="where-all-is-private"),
        pytest.param("flox_pat_owner", "vault", "only", False, id="other-owner"),
        pytest.param("flox_pat_foreign", "acme", "web", False, id="foreign-to-public-beside-private"),
        pytest.param("flox_pat_wrong", "acme", "secret", False, id="wrong"),
        pytest.param("flox_pat_expired", "acme", "secret", False, id="expired"),
        pytest.param(None, "acme", "secret", False, id="no"),
        pytest.param(None, "acme", "web", False, id="no-to-public-beside-private"),
    ],
)
def test_who_sees_all_of_an_owner_pushes(
    hub: Hub, tmp_path: Path, token: str | None, owner: str, branch: str, lands: bool
) -> None:
    """More than git sends at once without knowing that it will be let in."""
    clone = clone_of(hub, branch, owner, tmp_path / "clone", noise=2_000_000)
    before = hub.commit(branch, owner)
    with writable(hub) as url:
        push = ("push", "--quiet", f"{url}/git/{owner}/floxmeta", f"HEAD:{branch}")
        done = run_git(*push, cwd=clone, variables=asking(tmp_path, token), check=False)
    assert (not done.returncode) is lands, done.stderr
    assert (hub.commit(branch, owner) != before) is lands
    if token == "flox_pat_foreign":
        assert "DENIED" in done.stderr
    visibilities = {str(each.environment): each.visibility for each in local.environments(hub.root)}
    assert visibilities == {"acme/web": "public", "acme/secret": "private", "vault/only": "private"}


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("flox_pat_wrong", 401), ("flox_pat_foreign", 403)])
def test_nobody_puts_a_private_commit_on_a_branch_of_their_own(
    hub: Hub, tmp_path: Path, token: str | None, status: int
) -> None:
    """Git would take it: the objects are there, so the push need not bring them."""
    body = line(f"{'0' * 40} {hub.commit('secret')} refs/heads/mine\0report-status") + b"0000"
    headers = {"Content-Type": "application/x-git-receive-pack-request", **header(token)}
    with writable(hub) as url:
        answer = httpx2.post(f"{url}/git/acme/floxmeta/git-receive-pack", headers=headers, content=body, timeout=30)
    assert answer.status_code == status
    assert answer.text
    assert [str(each.environment) for each in local.environments(hub.root)] == ["acme/secret", "acme/web", "vault/only"]
