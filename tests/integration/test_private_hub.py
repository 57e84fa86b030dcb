"""Private environments of a hub of one's own, as plain git and our own client see them, by credential."""

from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from registry_proxy.errors import EnvironmentPrivate, EnvironmentUnknown, RegistryError, TokenRejected
from registry_proxy.floxhub.deadline import Deadline, PunctualClient
from registry_proxy.floxhub.git import FloxHubGit
from registry_proxy.floxhub.urls import FloxHubUrls
from tests.integration.hub_rig import git, run_git
from tests.integration.private_hub_rig import CREDENTIALS, ONLY, SECRET, Served, asking, header

# A public environment is cloned without being asked for credentials, so bad ones do no harm.
ONLY_RIGHT = {"no": False, "wrong": False, "expired": False, "foreign": False, "right": True}
EVERYBODY = dict.fromkeys(CREDENTIALS, True)
NOBODY = dict.fromkeys(CREDENTIALS, False)
CLONE = "clone --quiet --single-branch --no-tags --bare --branch {branch} {url} {target}"


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize(
    ("command", "owner", "branch", "protocol", "works"),
    [
        pytest.param(CLONE, "acme", "secret", 2, ONLY_RIGHT, id="clone-private"),
        pytest.param(CLONE, "vault", "only", 2, ONLY_RIGHT, id="clone-private-where-all-is"),
        pytest.param(CLONE, "vault", "only", 0, ONLY_RIGHT, id="clone-private-where-all-is-v0"),
        pytest.param(CLONE, "vault", "only", 1, ONLY_RIGHT, id="clone-private-where-all-is-v1"),
        pytest.param(CLONE, "acme", "secret", 0, NOBODY, id="clone-private-v0-never-asks-for-credentials"),
        pytest.param(CLONE, "acme", "web", 2, EVERYBODY, id="clone-public"),
        pytest.param(CLONE, "acme", "web", 0, EVERYBODY, id="clone-public-v0"),
        pytest.param("clone --quiet --mirror {url} {target}", "acme", "web", 2, EVERYBODY, id="clone-all"),
    ],
)
def test_git_clones(
    served: Served,
    tmp_path: Path,
    credential: str,
    command: str,
    owner: str,
    branch: str,
    protocol: int,
    works: dict[str, bool],
) -> None:
    url, target = served.repository(owner), tmp_path / "clone"
    done = run_git(
        *(part.format(branch=branch, url=url, target=target) for part in command.split()),
        config=(f"protocol.version={protocol}",),
        variables=asking(served.folder, CREDENTIALS[credential]),
        check=False,
    )
    assert (not done.returncode) is works[credential], done.stderr
    assert "flox_pat" not in done.stderr
    if works[credential]:
        assert git("for-each-ref", "--format=%(refname)", cwd=target).split() == [f"refs/heads/{branch}"]
        assert git("rev-list", "--count", "--all", cwd=target).strip() == "3"


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_git_fetches_and_refreshes(served: Served, tmp_path: Path, credential: str) -> None:
    """As Flox does: the next environment of the same owner into the same clone, then again, having it."""
    clone, url = tmp_path / "clone", served.repository()
    shown = asking(served.folder, CREDENTIALS[credential])
    git(*CLONE.format(branch="web", url=url, target=clone).split())
    for refspec in ("refs/heads/secret:refs/heads/secret", "+secret:secret"):
        done = run_git("fetch", "--depth=1", url, refspec, cwd=clone, variables=shown, check=False)
        assert (not done.returncode) is (credential == "right"), done.stderr
    tip = git("for-each-ref", "--format=%(objectname)", "refs/heads/secret", cwd=clone).strip()
    assert tip == (served.hub.commit("secret") if credential == "right" else "")


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        pytest.param("no", "could not read Username", id="no"),
        pytest.param("wrong", "Authentication failed for", id="wrong"),
        pytest.param("expired", "Authentication failed for", id="expired"),
        pytest.param("foreign", "Remote branch only not found in upstream origin", id="foreign"),
    ],
)
def test_what_flox_reads_in_the_words_of_git(served: Served, tmp_path: Path, credential: str, said: str) -> None:
    """FH §1.6: access denied, or not found; both are "Environment not found in FloxHub" for Flox's user."""
    command = CLONE.format(branch="only", url=served.repository("vault"), target=tmp_path / "clone").split()
    done = run_git(*command, variables=asking(served.folder, CREDENTIALS[credential]), check=False)
    assert said in done.stderr


@pytest.mark.parametrize("patterns", [(), ("refs/heads/only",), ("--heads",)], ids=["all", "one-ref", "heads"])
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_git_lists_where_all_is_private(served: Served, credential: str, patterns: tuple[str, ...]) -> None:
    flags = [pattern for pattern in patterns if pattern.startswith("-")]
    refs = [pattern for pattern in patterns if not pattern.startswith("-")]
    shown = asking(served.folder, CREDENTIALS[credential])
    done = run_git("ls-remote", *flags, served.repository("vault"), *refs, variables=shown, check=False)
    listed = {"right": (0, f"{served.hub.commit('only', 'vault')}\trefs/heads/only\n"), "foreign": (0, "")}
    assert (done.returncode, done.stdout) == listed.get(credential, (128, ""))


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("credential", ["no", "foreign", "right"])
def test_git_lists_beside_what_is_public(served: Served, credential: str, protocol: int) -> None:
    """Nothing here makes git ask for credentials, so they are shown unasked."""
    shown = [f"http.extraHeader={name}: {value}" for name, value in header(CREDENTIALS[credential]).items()]
    listing = git("ls-remote", served.repository(), config=(f"protocol.version={protocol}", *shown))
    names = [line.split("\t")[1] for line in listing.splitlines()]
    assert names == (["refs/heads/secret"] if credential == "right" else []) + ["refs/heads/web"]


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_client_that_has_what_it_may_not_see_fetches_what_it_may(
    served: Served, tmp_path: Path, protocol: int
) -> None:
    """Its token has expired since, say; or its commits are its own."""
    clone, url, version = tmp_path / "clone", served.repository(), (f"protocol.version={protocol}",)
    git(*CLONE.format(branch="secret", url=served.hub.folder("acme"), target=clone).split())
    for refspec in ("refs/heads/web:refs/heads/one", "web:two", "refs/heads/*:refs/all/*"):
        git("fetch", "--quiet", url, refspec, cwd=clone, config=version)
    assert git("rev-parse", "one", "two", "refs/all/web", cwd=clone).split() == [served.hub.commit("web")] * 3
    (clone / "shallow").write_text(served.hub.commit("secret~1") + "\n")
    git("fetch", "--quiet", "--depth=1", url, "+refs/heads/web:refs/heads/one", cwd=clone, config=version)
    assert git("rev-list", "--count", "one", cwd=clone).strip() == "1"


@pytest.mark.parametrize(
    ("token", "error"),
    [
        pytest.param(None, EnvironmentPrivate, id="no"),
        pytest.param("flox_pat_wrong", TokenRejected, id="wrong"),
        pytest.param("flox_pat_expired", TokenRejected, id="expired"),
        pytest.param("flox_pat_foreign", EnvironmentUnknown, id="foreign"),
        pytest.param("flox_pat_right", None, id="right"),
    ],
)
def test_our_own_client_sees_the_same(
    served: Served, tmp_path: Path, token: str | None, error: type[RegistryError] | None
) -> None:
    with PunctualClient(timeout=30) as http:
        asking = FloxHubGit(FloxHubUrls.parse(served.url), http)
        for environment, branch in ((SECRET, "secret"), (ONLY, "only")):
            folder = tmp_path / branch
            folder.mkdir()

            def fetched(environment: EnvironmentName = environment, folder: Path = folder) -> str:
                deadline = Deadline.after(30)
                tip = asking.fetch(
                    environment, token=token, have=lambda commit: False, folder=folder, deadline=deadline
                )
                return tip.commit

            if error is None:
                assert fetched() == served.hub.commit(branch, environment.owner)
            else:
                with pytest.raises(error):
                    fetched()
