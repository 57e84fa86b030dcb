"""A hub of one's own, through the command line and with plain git over a real port."""

import json
import os
import select
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generations
from flox_formats.history import Change
from registry_proxy.cli import main
from registry_proxy.hub import local
from registry_proxy.hub.repository import HubFailed
from tests.conftest import needs, needs_root
from tests.integration.hub_rig import git, processes_in, run_git, serving

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lockfiles"
LOCK = FIXTURES / "catalog.lock"
MANIFEST = b'schema-version = "1.10.0"\n[install]\nweb.pkg-path = "web"\n'
WEB = EnvironmentName("acme", "web")
ALICE = Change("alice", "build-01", ("floxbridge", "hub", "push"), 1772438400)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    needs("git")
    local.init(tmp_path / "hub")
    return tmp_path / "hub"


def floxbridge(*arguments: str | Path) -> int:
    """`floxbridge hub …`; gives its exit code."""
    try:
        return main(["hub", *map(str, arguments)])
    except SystemExit as usage:
        return int(str(usage.code))


def test_a_clone_shows_the_documented_layout(root: Path, tmp_path: Path) -> None:
    lock = LOCK.read_bytes()
    assert local.push(root, WEB, MANIFEST, lock, change=ALICE) == 1
    assert local.push(root, WEB, None, lock, change=ALICE) == 2
    assert local.switch(root, WEB, 1, change=ALICE) == 1
    with serving(root) as url:
        git(
            "clone",
            "--quiet",
            "--single-branch",
            "--branch",
            "web",
            f"{url}/git/acme/floxmeta",
            str(tmp_path / "clone"),
        )
    clone = tmp_path / "clone"
    assert sorted(git("ls-tree", "-r", "--name-only", "web", cwd=clone).split()) == [
        "1/env/manifest.lock",
        "1/env/manifest.toml",
        "2/env/manifest.lock",
        "metadata.json",
    ]
    assert (clone / "1/env/manifest.lock").read_bytes() == lock
    assert (clone / "1/env/manifest.toml").read_bytes() == MANIFEST
    log = git("log", "--reverse", "--format=%s|%b|%an <%ae>|%ct", "web", cwd=clone).strip().split("\n")
    who = "Flox User <floxuser@example.invalid>|1772438400"
    assert [line for line in "\n".join(log).replace("\n|", "|").split("\n") if line] == [
        f"Initialize generations branch for environment 'web'||{who}",
        f"Create generation 1|imported environment|{who}",
        f"Create generation 2|manually edited the manifest|{who}",
        f"changed current generation 2 -> 1||{who}",
    ]
    assert git("show", "--name-only", "--format=", "web", cwd=clone).split() == ["metadata.json"]
    assert json.loads(git("show", "web~3:metadata.json", cwd=clone)) == {
        "version": 2,
        "history": [],
        "total_generations": 0,
    }
    generations = Generations.parse((clone / "metadata.json").read_bytes())
    assert [(entry.kind, entry.author, entry.hostname) for entry in generations.history] == [
        ("import", "alice", "build-01"),
        ("edit", "alice", "build-01"),
        ("switch_generation", "alice", "build-01"),
    ]
    assert generations.history[0].command == ("flox", "hub", "push")
    git("fsck", "--strict", cwd=root / "acme" / "floxmeta")


def test_a_branch_that_is_not_there_is_an_empty_answer(root: Path) -> None:
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    with serving(root) as url:
        assert git("ls-remote", f"{url}/git/acme/floxmeta", "refs/heads/nope") == ""
        assert "refs/heads/web" in git("ls-remote", f"{url}/git/acme/floxmeta", "refs/heads/web")
        depth_one = git("ls-remote", f"{url}/git/acme/floxmeta")
        assert [line.split("\t")[1] for line in depth_one.splitlines()] == ["refs/heads/web"]
        unknown = run_git("ls-remote", f"{url}/git/nobody/floxmeta", check=False)
        assert (unknown.returncode, "not found" in unknown.stderr) == (128, True)


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_every_version_of_the_protocol_fetches_one_branch_at_depth_1(root: Path, tmp_path: Path, protocol: str) -> None:
    for name in ("web", "other"):
        local.push(root, EnvironmentName("acme", name), None, LOCK.read_bytes(), change=ALICE)
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    git("init", "--quiet", "--bare", str(tmp_path / "cache"))
    with serving(root) as url:
        fetch = ("fetch", "--quiet", "--depth=1", f"{url}/git/acme/floxmeta", "+refs/heads/web:refs/heads/web")
        git(*fetch, cwd=tmp_path / "cache", config=(f"protocol.version={protocol}",))
    assert git("rev-list", "--count", "--all", cwd=tmp_path / "cache").strip() == "1"
    assert "2/env/manifest.lock" in git("ls-tree", "-r", "--name-only", "web", cwd=tmp_path / "cache")


def written_by_plain_git(folder: Path) -> Path:
    """A clone that an author other than us has made, with a history in version 1."""
    (folder / "1" / "env").mkdir(parents=True)
    (folder / "1" / "env" / "manifest.lock").write_bytes(LOCK.read_bytes())
    table = {"1": {"created": 1, "lastActive": 1, "description": "old"}}
    (folder / "metadata.json").write_text(json.dumps({"currentGen": "1", "generations": table}))
    git("init", "--quiet", "--initial-branch=web", str(folder))
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "by hand", cwd=folder)
    return folder


def test_git_can_push_where_it_is_allowed_and_we_go_on_from_there(root: Path, tmp_path: Path) -> None:
    local.push(root, EnvironmentName("acme", "other"), None, LOCK.read_bytes(), change=ALICE)
    clone = written_by_plain_git(tmp_path / "clone")
    with serving(root, "--allow-push") as url:
        git("push", "--quiet", f"{url}/git/acme/floxmeta", "HEAD:web", cwd=clone)
        assert local.push(root, WEB, MANIFEST, LOCK.read_bytes(), change=ALICE) == 2
        behind = run_git("push", f"{url}/git/acme/floxmeta", "HEAD:web", cwd=clone, check=False)
        assert (behind.returncode, "rejected" in behind.stderr) == (1, True)
        git("pull", "--quiet", f"{url}/git/acme/floxmeta", "web", cwd=clone)
    generations = Generations.parse((clone / "metadata.json").read_bytes())
    assert (generations.live, generations.generations[1].description) == (2, "old [metadata migrated]")


def test_a_large_push_is_streamed(root: Path, tmp_path: Path) -> None:
    """Beyond http.postBuffer git sends chunks of unknown total length, and before them an empty request."""
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    clone = written_by_plain_git(tmp_path / "clone")
    (clone / "noise").write_bytes(os.urandom(8 * 1024 * 1024))
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "-m", "large", cwd=clone)
    with serving(root, "--allow-push") as url:
        git("push", "--quiet", f"{url}/git/acme/floxmeta", "HEAD:large", cwd=clone)
        git("clone", "--quiet", "--branch", "large", f"{url}/git/acme/floxmeta", str(tmp_path / "again"))
    assert (tmp_path / "again" / "noise").read_bytes() == (clone / "noise").read_bytes()


def test_nobody_pushes_unless_it_is_allowed(root: Path, tmp_path: Path) -> None:
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    git("config", "http.receivepack", "true", cwd=root / "acme" / "floxmeta")
    clone = written_by_plain_git(tmp_path / "clone")
    with serving(root) as url:
        refused = run_git("push", f"{url}/git/acme/floxmeta", "HEAD:mine", cwd=clone, check=False)
        answer = httpx2.post(f"{url}/git/acme/floxmeta/git-receive-pack", content=b"x" * 4_000_000, timeout=30)
    assert (refused.returncode, answer.status_code) == (128, 403)
    assert local.environments(root)[0].environment == WEB
    assert len(local.environments(root)) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/", 404, id="root"),
        pytest.param("/git/acme/floxmeta", 404, id="repository-itself"),
        pytest.param("/git/acme/floxmeta/HEAD", 404, id="file"),
        pytest.param("/git/acme/floxmeta/objects/info/packs", 404, id="dumb-objects"),
        pytest.param("/git/acme/floxmeta/info/refs", 403, id="dumb-refs"),
        pytest.param("/git/acme/other/info/refs?service=git-upload-pack", 404, id="other-repository"),
        pytest.param("/git/nobody/floxmeta/info/refs?service=git-upload-pack", 404, id="unknown-owner"),
        pytest.param("/git/../hub/acme/floxmeta/info/refs?service=git-upload-pack", 404, id="dots"),
        pytest.param("/git/%2e%2e/floxmeta/info/refs?service=git-upload-pack", 404, id="dots-as-owner"),
        pytest.param("/git/..%2facme/floxmeta/info/refs?service=git-upload-pack", 404, id="dots-and-slash"),
        pytest.param("/git/acme%00/floxmeta/info/refs?service=git-upload-pack", 404, id="nul"),
        pytest.param("/git/acme/floxmeta/git-upload-pack", 405, id="get-of-a-post"),
    ],
)
def test_other_urls_give_nothing_away(root: Path, hub_url: str, path: str, status: int) -> None:
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    with httpx2.Client() as http:
        request = http.build_request("GET", hub_url)
        request.url = httpx2.URL(hub_url).copy_with(raw_path=path.encode())
        assert http.send(request).status_code == status


@pytest.fixture
def hub_url(root: Path) -> Iterator[str]:
    with serving(root) as url:
        yield url


def test_a_client_that_goes_away_takes_its_process_with_it(root: Path) -> None:
    """The answer is larger than all buffers between here and there, so the process still runs when we leave."""
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    folder = root / "acme" / "floxmeta"
    noise = git("hash-object", "-w", str(_noise(root)), cwd=folder).strip()
    commit = commit_of(f"100644 blob {noise}\tnoise\n", folder)
    git("update-ref", "refs/heads/large", commit, cwd=folder)
    line = f"want {commit}\n"
    body = f"{len(line) + 4:04x}{line}00000009done\n".encode()
    with serving(root) as url:
        asked = f"{url}/git/acme/floxmeta/git-upload-pack"
        kind = {"Content-Type": "application/x-git-upload-pack-request"}
        with httpx2.stream("POST", asked, content=body, headers=kind, timeout=30) as answer:
            assert answer.status_code == 200
            chunks = answer.iter_raw()
            assert next(chunks)
            children = processes_in(folder)
            assert children
        for child in children:
            _wait_until_gone(child)


def commit_of(tree: str, folder: Path) -> str:
    """A commit without parents of a tree in the words of `git mktree`."""
    made = subprocess.run(["git", "mktree"], cwd=folder, input=tree, capture_output=True, text=True, check=True)
    return git("commit-tree", "-m", "by hand", made.stdout.strip(), cwd=folder).strip()


def _noise(root: Path) -> Path:
    noise = root.parent / "noise"
    noise.write_bytes(os.urandom(16 * 1024 * 1024))
    return noise


def _wait_until_gone(process: int) -> None:
    try:
        watched = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([watched], [], [], 30)
    finally:
        os.close(watched)
    assert ended, f"process {process} is still there"


def test_pushes_at_the_same_time_all_land(root: Path) -> None:
    """The same files by the same author in the same second: even then each is a generation of its own."""
    lock = LOCK.read_bytes()
    with ThreadPoolExecutor(6) as pool:
        pushes = [pool.submit(local.push, root, WEB, MANIFEST, lock, change=ALICE) for _ in range(12)]
        numbers = sorted(push.result() for push in pushes)
    assert numbers == list(range(1, 13))
    (web,) = local.environments(root)
    assert web.generations is not None
    assert (web.generations.live, sorted(web.generations.generations)) == (12, numbers)
    folder = root / "acme" / "floxmeta"
    assert git("rev-list", "--count", "web", cwd=folder).strip() == "13"
    assert git("for-each-ref", "--format=%(refname)", cwd=folder).split() == ["refs/heads/web"]
    assert sorted(path.name for path in (root / "acme").iterdir()) == ["floxmeta"]


def test_a_generation_without_a_lockfile_is_legal(root: Path) -> None:
    local.push(root, WEB, MANIFEST, None, change=ALICE)
    assert "1/env/manifest.lock" not in git("ls-tree", "-r", "--name-only", "web", cwd=root / "acme" / "floxmeta")


@pytest.mark.parametrize(
    ("manifest", "lock", "problem"),
    [
        pytest.param(None, None, "got neither", id="nothing"),
        pytest.param(b"a = ", None, "manifest: not TOML", id="manifest-not-toml"),
        pytest.param(b"\xff", None, "manifest: not TOML", id="manifest-not-text"),
        pytest.param(b"a=" + b"[" * 100_000, None, "manifest: n", id="manifest-deep"),
        pytest.param(None, b"{", "lockfile: not JSON", id="lock-not-json"),
        pytest.param(None, b'{"lockfile-version": 2}', "lockfile-version 2 is not supported", id="lock-version"),
        pytest.param(
            None,
            LOCK.read_bytes().replace(b'"bin"\n    ]', b'"nope"\n    ]', 1),
            "'tool' for x86_64-linux has no output named 'nope'",
            id="lock-output",
        ),
    ],
)
def test_what_a_reader_would_refuse_is_not_pushed(
    root: Path, manifest: bytes | None, lock: bytes | None, problem: str
) -> None:
    with pytest.raises(local.HubRefused, match=problem):
        local.push(root, WEB, manifest, lock, change=ALICE)
    assert list(root.iterdir()) == []


def test_a_broken_environment_hides_no_other(root: Path, tmp_path: Path) -> None:
    local.push(root, WEB, MANIFEST, None, change=ALICE)
    folder = root / "acme" / "floxmeta"
    git("update-ref", "refs/heads/broken", commit_of("", folder), cwd=folder)
    broken, web = local.environments(root)
    assert (str(broken.environment), broken.generations, web.problem) == ("acme/broken", None, None)
    assert "metadata.json" in str(broken.problem)
    with pytest.raises(HubFailed, match=r"metadata\.json"):
        local.push(root, broken.environment, MANIFEST, None, change=ALICE)


def test_a_deadline_ends_a_push(root: Path) -> None:
    with pytest.raises(HubFailed, match="in time"):
        local.push(root, WEB, MANIFEST, None, change=ALICE, deadline_s=0)
    assert local.environments(root) == ()


def test_a_hub_that_another_user_wrote_is_served(root: Path) -> None:
    needs_root()
    local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE)
    for path in [root, *root.rglob("*")]:
        os.chown(path, 12345, 12345)
    with serving(root) as url:
        assert "refs/heads/web" in git("ls-remote", f"{url}/git/acme/floxmeta")
    assert local.push(root, WEB, None, LOCK.read_bytes(), change=ALICE) == 2


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("git")
    root, manifest = tmp_path / "new" / "hub", tmp_path / "manifest.toml"
    manifest.write_bytes(MANIFEST)
    at = ("--root", root)
    files = ("--manifest", manifest, "--lock", LOCK)
    for arguments, said in [
        (("init", *at), ""),
        (("init", *at), ""),
        (("push", *at, "acme/web", *files), "acme/web: generation 1 is live\n"),
        (("push", *at, "acme/web", "--lock", LOCK), "acme/web: generation 2 is live\n"),
        (("push", *at, "Zoe/app", *files), "Zoe/app: generation 1 is live\n"),
        (("switch", *at, "acme/web", "1"), "acme/web: generation 1 is live\n"),
        (("list", *at), "Zoe/app  live 1  of 1\nacme/web  live 1  of 2\n"),
        (("push", *at, "acme/web", *files, "--private"), "acme/web: generation 3 is live\n"),
        (("visibility", *at, "Zoe/app", "private"), "Zoe/app: private\n"),
        (("push", *at, "Zoe/app", *files), "Zoe/app: generation 2 is live\n"),
        (("list", *at), "Zoe/app  live 2  of 2  private\nacme/web  live 3  of 3  private\n"),
        (("visibility", *at, "acme/web", "public"), "acme/web: public\n"),
        (("switch", *at, "acme/web", "1"), "acme/web: generation 1 is live\n"),
    ]:
        assert (floxbridge(*arguments), capsys.readouterr().out) == (0, said)
    for arguments, document in [
        (("init", *at), {"root": str(root)}),
        (("push", *at, "acme/json", "--lock", LOCK), {"environment": "acme/json", "generation": 1, "live": True}),
        (("push", *at, "acme/json", "--lock", LOCK), {"environment": "acme/json", "generation": 2, "live": True}),
        (("switch", *at, "acme/json", "1"), {"environment": "acme/json", "generation": 1, "live": True}),
        (("visibility", *at, "acme/json", "private"), {"environment": "acme/json", "visibility": "private"}),
    ]:
        assert (floxbridge(*arguments, "--json"), json.loads(capsys.readouterr().out)) == (0, document)
    assert floxbridge("list", *at, "--json") == 0
    zoe, _, web = json.loads(capsys.readouterr().out)
    assert (zoe["environment"], zoe["visibility"], zoe["live"]) == ("Zoe/app", "private", 2)
    assert (web["environment"], web["visibility"], web["live"]) == ("acme/web", "public", 1)
    assert [one["parent"] for one in web["generations"]] == [None, 1, 1]


def test_a_script_is_told_where_a_hub_is_served(root: Path) -> None:
    with serving(root, "--json") as said:
        assert json.loads(said)["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in ("init", "push", "switch", "visibility", "list", "serve"))]
)
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    assert floxbridge(*command, "--help") == 0
    told = capsys.readouterr().out
    examples = told.partition("example")[2]
    assert f"floxbridge hub {' '.join(command)}".strip() in examples
    description = told.split("\n\n")[1]
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        pytest.param(
            ("switch", "--root", "HUB", "acme/web", "2"), 1, "generation 2 does not exist", id="switch-missing"
        ),
        pytest.param(("switch", "--root", "HUB", "acme/web", "1"), 1, "live already", id="switch-live"),
        pytest.param(("switch", "--root", "HUB", "acme/none", "1"), 1, "no environment acme/none", id="switch-unknown"),
        pytest.param(
            ("visibility", "--root", "HUB", "acme/none", "private"), 1, "no environment acme/none", id="hide-unknown"
        ),
        pytest.param(("visibility", "--root", "HUB", "acme/web", "secret"), 2, "invalid choice", id="no-visibility"),
        pytest.param(("serve", "--root", "HUB", "--tokens", "/nope"), 1, "tokens in /nope", id="no-tokens"),
        pytest.param(
            ("serve", "--root", "HUB", "--tokens", str(LOCK)), 1, f"tokens in {LOCK}, line 1", id="not-tokens"
        ),
        pytest.param(("push", "--root", "HUB", "acme/web", "--lock", "/nope"), 1, "cannot read /nope", id="no-file"),
        pytest.param(("push", "--root", "HUB", "acme/web", "--lock", "/dev/zero"), 1, "larger than", id="endless-file"),
        pytest.param(("push", "--root", "/nope", "acme/web", "--lock", str(LOCK)), 1, "no hub at /nope", id="no-hub"),
        pytest.param(("list", "--root", "/nope"), 1, "hub init --root /nope", id="list-no-hub"),
        pytest.param(("serve", "--root", "/nope"), 1, "no hub at /nope", id="serve-no-hub"),
        pytest.param(("serve", "--root", "HUB", "--listen", "192.0.2.1:1"), 1, "cannot listen", id="listen-elsewhere"),
        pytest.param(("init", "--root", "/dev/null/hub"), 1, "cannot make a hub", id="init-impossible"),
        pytest.param(("switch", "--root", "HUB", "acme/web", "0"), 2, "want a generation number", id="zero"),
        pytest.param(("switch", "--root", "HUB", "acme/web", "one"), 2, "want a generation number", id="word"),
        pytest.param(("push", "--root", "HUB", "acme", "--lock", str(LOCK)), 2, "owner/name", id="no-name"),
        pytest.param(("push", "--root", "HUB", "a/../b", "--lock", str(LOCK)), 2, "owner/name", id="escape"),
        pytest.param(("push", "--root", "HUB", "../b", "--lock", str(LOCK)), 2, "may not begin", id="escape-up"),
        pytest.param(("serve", "--root", "HUB", "--listen", "80"), 2, "want HOST:PORT", id="no-host"),
        pytest.param(("push", "--root", "HUB", "acme/web"), 2, "--lock", id="no-lock"),
        pytest.param((), 2, "COMMAND", id="nothing"),
    ],
)
def test_the_command_line_refuses(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, problem: str
) -> None:
    local.push(root, WEB, MANIFEST, None, change=ALICE)
    assert floxbridge(*(str(root) if argument == "HUB" else argument for argument in arguments)) == code
    said = capsys.readouterr().err
    assert problem in said
    assert code == 2 or said.count("\n") == 1
    (web,) = local.environments(root)
    assert web.generations is not None
    assert web.generations.live == 1
