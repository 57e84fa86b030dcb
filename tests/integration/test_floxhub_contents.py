"""Repositories that are git's, and no environment's: one sentence for each, and never a mistake of ours."""

import subprocess
from collections.abc import Callable

import pytest

from tests.integration.registry_rig import World, lock_of, running_registry
from tests.integration.test_floxhub_faults import METADATA, plain_git_repository
from tests.integration.test_pull_api import WEB, message

LOCK = "1/env/manifest.lock"
LINK, SUBMODULE = "120000", "160000"


class Repository:
    """acme's, as it comes from plain git; what changes it makes a commit."""

    def __init__(self, world: World) -> None:
        files = {"metadata.json": METADATA, LOCK: lock_of(world.package("hello", "hi")).decode()}
        plain_git_repository(world, "acme", "web", files)
        self._bare = world.hub / "acme" / "floxmeta"

    def git(self, *arguments: str, data: str = "") -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@y.invalid", *arguments]
        done = subprocess.run(
            command, cwd=self._bare, input=data, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def put(self, path: str, mode: str, name: str, *, inside: str = "") -> None:
        """In place of what is at `path`, in a commit that is the branch from now on."""
        self.git("read-tree", "web")
        self.git("rm", "-r", "-q", "--cached", "--ignore-unmatch", path)
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{name},{path}{inside}")
        self.point_at(self.git("commit-tree", self.git("write-tree"), "-m", "odd"))

    def point_at(self, name: str) -> None:
        (self._bare / "refs" / "heads" / "web").write_text(f"{name}\n")  # git would only put a commit there

    def blob(self, text: str) -> str:
        return self.git("hash-object", "-w", "--stdin", data=text)


def tree_in_place_of(repository: Repository, path: str) -> None:
    repository.put(path, "100644", repository.blob("x"), inside="/inside")


@pytest.mark.parametrize(
    ("spoil", "status", "said"),
    [
        pytest.param(
            lambda it: it.put("1", "100644", it.blob("x")), 502, "broken at 1/env", id="file-for-a-generation"
        ),
        pytest.param(lambda it: it.put("1/env", SUBMODULE, "1" * 40), 502, "broken at 1/env", id="submodule"),
        pytest.param(lambda it: it.put("1", LINK, it.blob("2")), 502, "broken at 1/env", id="link-for-a-generation"),
        pytest.param(lambda it: tree_in_place_of(it, LOCK), 404, "no manifest.lock", id="folder-for-a-lockfile"),
        pytest.param(lambda it: it.put(LOCK, LINK, it.blob("/etc/passwd")), 404, "not JSON", id="link-for-a-lockfile"),
        pytest.param(lambda it: it.put(LOCK, SUBMODULE, "1" * 40), 404, "no manifest.lock", id="lockfile-elsewhere"),
        pytest.param(
            lambda it: tree_in_place_of(it, "metadata.json"), 404, "no metadata.json", id="folder-for-the-metadata"
        ),
        pytest.param(
            lambda it: it.point_at(it.git("rev-parse", "web^{tree}")), 502, "no commit", id="branch-at-a-tree"
        ),
        pytest.param(
            lambda it: it.point_at(it.git("mktag", data=tag_of(it.git("rev-parse", "web")))),
            502,
            "no commit",
            id="branch-at-a-tag",
        ),
    ],
)
def test_what_is_no_environment(world: World, spoil: Callable[[Repository], None], status: int, said: str) -> None:
    repository = Repository(world)
    sound = repository.git("rev-parse", "web")
    spoil(repository)
    with running_registry(world.settings()) as client:
        answer = client.get(f"{WEB}/manifests/live")
        assert (answer.status_code, said in message(answer)) == (status, True), answer.text
        repository.point_at(sound)
        assert client.get(f"{WEB}/manifests/live").status_code == 200


def tag_of(commit: str) -> str:
    return f"object {commit}\ntype commit\ntag web\ntagger x <x@y.invalid> 0 +0000\n\nodd\n"
