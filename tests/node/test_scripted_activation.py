"""Activation by script, in real containers: order, outcomes and what reaches the command (FH §8.2)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flox_formats.lockfile import Lockfile
from tests.integration.agent_rig import WEB
from tests.node.runc_rig import Node, launcher, node
from tests.node.scripted_rig import (
    ENV,
    ENV_0,
    Start,
    change,
    environment,
    runs,
    said,
    shell,
    started,
    until,
    variables_of,
    with_tmp,
)
from tests.real_lockfiles import REAL_LOCKFILES

__all__ = ["launcher", "node", "shell", "started"]
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("vars_", "expected"),
    [
        pytest.param({"A": "$B/x", "B": "b"}, {"A": "b/x", "B": "b"}, id="reference"),
        pytest.param({"A": "$(echo $((6 * 7)))", "B": "`echo b`"}, {"A": "42", "B": "b"}, id="commands"),
        pytest.param({"A": "${NOT_THERE:-d}", "B": "\\$B"}, {"A": "d", "B": "$B"}, id="default-and-escape"),
        pytest.param({"A": "one\ntwo $FLOX_ENV_CACHE\n"}, {"A": "one\ntwo /tmp\n"}, id="lines"),
        pytest.param({"A": "it's $$ ; exit 1", "B": "$A"}, {}, id="no-command-of-its-own"),
        pytest.param({"PATH": "/first:$PATH"}, {}, id="path"),
    ],
)
async def test_variables_are_expanded(shell: Node, vars_: dict[str, str], expected: dict[str, str]) -> None:
    told = environment(shell, vars=vars_)
    ran = await shell.ran(shell.bundle(ENV_0 if "PATH" not in vars_ else ENV, annotations=told))
    assert (ran.returncode, ran.stderr) == (0, "")
    found = said(ran)
    assert {name: found[name] for name in expected} == expected
    assert found["FLOX_ENV_DESCRIPTION"] == "acme/web"


async def test_a_static_command_and_a_scripted_one_have_the_same_variables(shell: Node) -> None:
    """The hook's own aside: bash leaves no trace."""
    static = await shell.ran(shell.bundle(ENV, name="static"))
    told = environment(shell, vars={"GREETING": "hello world"}, hook={"on-activate": "export HOOKED=1"})
    scripted = await shell.ran(shell.bundle(ENV, name="scripted", env=["PATH=/bin"], annotations=told))
    old, new = said(static), said(scripted)
    assert new.pop("HOOKED") == "1"
    assert {name: value.replace(old["FLOX_ENV"], new["FLOX_ENV"]) for name, value in old.items()} == new


async def test_what_was_inherited_stays_as_it_was(shell: Node) -> None:
    inherited = ["PATH=/bin", "PWD=/else", "OLDPWD=/where", "SHLVL=7", "my.var=1", "BASH_FUNC_f%%=() { :; }", "N=a\nb"]
    names = ["_floxbridge_here=1", "change=2", "given=3", "before=4", "changes=5", "name=6", "entry=7", "found=8"]
    told = environment(shell, hook={"on-activate": "export change=new; unset given"})
    bundle = shell.bundle(ENV_0, env=[*inherited, *names, "BASH_ENV=/nowhere"], annotations=told)
    ran = await shell.ran(bundle)
    # What bash, as the command, adds for itself is in its variables and not in /proc/self/environ.
    expected = dict(entry.split("=", 1) for entry in [*inherited, *names, "BASH_ENV=/nowhere"])
    expected.update(change="new", PATH=f"{said(ran)['FLOX_ENV']}/bin:/bin")
    del expected["given"], expected["_floxbridge_here"]
    assert {name: said(ran).get(name) for name in expected} == expected
    assert "given" not in said(ran)


BASHS_OWN = {
    **{"PS1": "me> ", "PS2": "2", "PS4": "4", "IFS": ",", "OPTIND": "5", "OPTERR": "0", "COLUMNS": "20", "LINES": "10"},
    **{"RANDOM": "7", "SRANDOM": "3", "SECONDS": "100", "EPOCHSECONDS": "1", "EPOCHREALTIME": "2.3", "LINENO": "5"},
    **{
        "BASH": "/foo",
        "BASH_VERSION": "1",
        "BASHPID": "3",
        "BASH_SUBSHELL": "4",
        "BASH_COMMAND": "c",
        "BASH_SOURCE": "s",
    },
    **{"BASH_ARGV0": "q", "BASH_COMPAT": "50", "HISTCMD": "2", "COMP_WORDBREAKS": "x", "FUNCNAME": "f", "GROUPS": "1"},
    **{
        "DIRSTACK": "x",
        "PIPESTATUS": "2",
        "UID": "1234",
        "EUID": "55",
        "HOSTNAME": "h",
        "TMOUT": "3",
        "POSIXLY_CORRECT": "y",
    },
}


async def test_what_is_inherited_by_a_name_of_bashs_own_stays(shell: Node, started: Start) -> None:
    """For the command and for who joins it; but what the hook says goes."""
    inherited = [f"{name}={value}" for name, value in BASHS_OWN.items()]
    told = environment(shell, hook={"on-activate": "export PS2=new; unset PS4"})
    expected: dict[str, str | None] = {**BASHS_OWN, "PS2": "new", "PS4": None}
    first = await shell.ran(shell.bundle(ENV_0, name="first", env=["PATH=/bin", *inherited], annotations=told))
    bundle = shell.bundle(["busybox", "sleep", "1000"], env=["PATH=/bin", *inherited], annotations=told)
    async with shell.agent():
        joined = await (await started(bundle)).execute(*ENV_0, env=["PATH=/bin", *inherited])
    for ran in (first, joined):
        assert (ran.returncode, ran.stderr) == (0, "")
        assert {name: said(ran).get(name) for name in expected} == expected


@pytest.mark.parametrize("name", ["SHELLOPTS", "BASHOPTS", "PPID", "BASH_VERSINFO"])
async def test_what_bash_does_not_give_up_is_not_there(shell: Node, name: str) -> None:
    """Rather than bash's own: a command that is bash, too, would take its options from them."""
    told = environment(shell, hook={"on-activate": ":"})
    ran = await shell.ran(shell.bundle(ENV, env=["PATH=/bin", f"{name}=1"], annotations=told))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert name not in said(ran)


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        pytest.param("export A=1; B=2; export PWD=/x", {"A": "1", "B": None}, id="exports-only"),
        pytest.param("f() { :; }; export -f f; alias x=y; cd /tmp; umask 0", {"BASH_FUNC_f%%": None}, id="functions"),
        pytest.param("export A='x\n$(y) \"z\"'", {"A": 'x\n$(y) "z"'}, id="quotes"),
        pytest.param("unset GONE FLOX_ENV_CACHE", {"GONE": None, "FLOX_ENV_CACHE": None}, id="unset"),
        pytest.param('export PATH="/front:$PATH:/back"', {}, id="path"),
        pytest.param("export A=1\nfalse", {"A": "1"}, id="last-command-fails"),
        pytest.param("export A=1\nreturn 3\nexport A=2", {"A": "1"}, id="return"),
        pytest.param("export A=$NOT_THERE; false | true; export B=1", {"A": "", "B": "1"}, id="strictness-is-off"),
        pytest.param("set -- a b; IFS=x; shopt -s nocasematch; export A=$1", {"A": "a"}, id="shell-options"),
        pytest.param('export VAR="$V and hook"', {"VAR": "v and hook"}, id="after-vars"),
        pytest.param("trap 'echo bye >&2' EXIT; export A=1", {"A": "1"}, id="trap"),
        pytest.param("    if true; then\n      export A=1\n    fi", {"A": "1"}, id="indented"),
    ],
)
async def test_a_hook_that_comes_to_its_end(shell: Node, hook: str, expected: dict[str, str | None]) -> None:
    told = environment(shell, vars={"V": "v", "VAR": "$V"}, hook={"on-activate": hook})
    script = f"busybox pwd; {ENV_0[2]}"
    ran = await shell.ran(shell.bundle(["bash", "-c", script], env=["PATH=/bin", "GONE=1"], annotations=told))
    assert ran.returncode == 0, ran.stderr
    folder, _, rest = ran.stdout.partition("\n")
    found = dict(entry.split("=", 1) for entry in rest.split("\0") if entry)
    assert folder == "/"
    assert {name: found.get(name) for name in expected} == expected
    assert "PWD" not in found
    if "front" in hook:
        assert found["PATH"] == f"/front:{found['FLOX_ENV']}/bin:/bin:/back"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        pytest.param({"hook": {"on-activate": "exit 3"}}, "Running hook.on-activate failed (exit status 3)", id="exit"),
        pytest.param({"hook": {"on-activate": "exit"}}, "hook.on-activate did not complete normally", id="exit-0"),
        pytest.param(
            {"hook": {"on-activate": "exec busybox true"}}, "hook.on-activate did not complete normally", id="exec"
        ),
        pytest.param(
            {"hook": {"on-activate": "set -e; false"}}, "Running hook.on-activate failed (exit status 1)", id="set-e"
        ),
        pytest.param({"vars": {"A": "$NOT_THERE"}}, "NOT_THERE: unbound variable", id="unset-variable"),
        pytest.param({"vars": {"A": "$FLOX_ENV_PROJECT/x"}}, "FLOX_ENV_PROJECT: unbound variable", id="no-project"),
        pytest.param({"vars": {"A": 'a"b'}}, "envrc: ", id="broken-by-a-quote"),
    ],
)
async def test_an_activation_that_fails(shell: Node, manifest: dict[str, Any], words: str) -> None:
    told = environment(shell, **manifest)
    ran = await shell.ran(shell.bundle(["busybox", "echo", "ran"], annotations=told))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert words in ran.stderr
    assert "floxbridge: environment acme/web: " in ran.stderr


async def test_what_a_hook_prints_and_reads(shell: Node) -> None:
    told = environment(shell, hook={"on-activate": 'read -r line; echo "got $line"; export LINE=$line'})
    bundle = shell.bundle(["bash", "-c", 'read -r line; echo "$LINE, $line"'], annotations=told)
    async with shell.agent():
        ran = await asyncio.to_thread(
            shell.run, "run", "--bundle", str(bundle), "floxbridge-test-stdin", stdin="a\nb\n"
        )
    assert (ran.stdout, ran.stderr) == ("a, b\n", "got a\n")


@pytest.mark.parametrize(
    ("args", "code", "stdout", "stderr"),
    [
        pytest.param(["busybox", "sh", "-c", "echo $$; exit 7"], 7, "1\n", "", id="process-1-and-its-code"),
        pytest.param(["nowhere"], 1, "", "nowhere: command not found\n", id="not-found"),
        pytest.param(["-x"], 1, "", "-x: command not found\n", id="like-an-option"),
        pytest.param(["busybox", "echo", "$A", "a b", "", "*"], 0, "$A a b  *\n", "", id="arguments-as-they-are"),
    ],
)
async def test_the_command(shell: Node, args: list[str], code: int, stdout: str, stderr: str) -> None:
    told = environment(shell, hook={"on-activate": ":"})
    ran = await shell.ran(shell.bundle(args, annotations=told))
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, stdout, stderr)


async def test_a_command_that_is_not_there(shell: Node) -> None:
    told = environment(shell, hook={"on-activate": ":"})
    ran = await shell.ran(shell.bundle(["/no/where"], annotations=told))
    assert ran.returncode == 1
    assert "/no/where: No such file or directory" in ran.stderr


async def test_packages_profile_scripts_in_dev(shell: Node) -> None:
    files = {
        "etc/profile.d/b.sh": 'export ORDER="$ORDER b"',
        "etc/profile.d/Z.sh": 'export ORDER="$V Z"',
        "etc/profile.d/c.csh": "exit 1",
    }
    hook = {"on-activate": 'export ORDER="$ORDER hook"'}
    told = environment(shell, files, vars={"V": "v"}, hook=hook)
    dev = await shell.ran(shell.bundle(ENV, name="dev", annotations={**told, "flox.dev/activate-mode": "dev"}))
    run = await shell.ran(shell.bundle(ENV, name="run", annotations=told))
    assert said(dev)["ORDER"] == "v Z b hook"
    assert said(dev)["CPATH"] == f"{said(dev)['FLOX_ENV']}/include"
    assert said(run)["ORDER"] == " hook"


async def test_a_profile_script_that_fails(shell: Node) -> None:
    told = environment(shell, {"etc/profile.d/a.sh": "false"})
    ran = await shell.ran(shell.bundle(ENV, annotations={**told, "flox.dev/activate-mode": "dev"}))
    assert ran.returncode == 1
    assert "Running hook.on-activate failed" in ran.stderr


@pytest.mark.parametrize("read_only", [True, False], ids=["read-only-root", "writable-root"])
async def test_a_user_without_a_name(shell: Node, read_only: bool) -> None:
    told = environment(shell, hook={"on-activate": "export WHO=$UID:$HOME"})
    bundle = shell.bundle(["bash", "-c", "echo $UID $WHO"], annotations=told)
    change(bundle, lambda spec: spec["process"].update(user={"uid": 12345, "gid": 54321}))
    change(bundle, lambda spec: spec["root"].update(readonly=read_only))
    ran = await shell.ran(bundle)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "12345 12345:/\n", "")


@pytest.mark.parametrize("option", ["ro", "rw"])
async def test_a_volume_at_run(shell: Node, started: Start, tmp_path: Path, option: str) -> None:
    """It may be a folder of the node's: nothing is put there, and nothing has to be."""
    volume = tmp_path / "volume"
    volume.mkdir()
    told = environment(shell, hook={"on-activate": "export A=1"})
    bundle = shell.bundle(["busybox", "sleep", "1000"], annotations=told)
    mount = {"destination": "/run", "type": "bind", "source": str(volume), "options": ["rbind", option]}
    change(bundle, lambda spec: spec["mounts"].append(mount))
    async with shell.agent():
        ran = await (await started(bundle)).execute("bash", "-c", "echo $A")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1\n", "")
    assert list(volume.iterdir()) == []


async def test_an_exec_joins_what_was_activated(shell: Node, started: Start) -> None:
    hook = "export STARTED=$RANDOM$RANDOM; unset GONE; export Q='a\nb'"
    told = environment(shell, vars={"V": "$FLOX_ENV_CACHE/v"}, hook={"on-activate": hook})
    bundle = shell.bundle(["busybox", "sleep", "1000"], env=["PATH=/bin", "GONE=1"], annotations=told)
    async with shell.agent():
        container = await started(bundle)
        first = said(await container.execute(*ENV_0))
        again = said(await container.execute(*ENV_0))
        other = await container.execute("bash", "-c", "echo $V, $STARTED", uid=4711)
        missing = await container.execute("nowhere")
    assert first == again
    assert (first["V"], first["Q"], first["PATH"]) == ("/tmp/v", "a\nb", f"{first['FLOX_ENV']}/bin:/bin")
    assert first["STARTED"]
    assert (other.returncode, other.stdout) == (0, ",\n")  # what the hook exports is its user's own
    assert (missing.returncode, missing.stderr) == (1, "nowhere: command not found\n")


async def test_an_exec_leaves_the_command_no_child(shell: Node, started: Start) -> None:
    """A dead one would stay: who is no shell waits for no child that it did not make. So often that chance fails."""
    told = environment(shell, hook={"on-activate": ":"})
    bundle = shell.bundle(["busybox", "sleep", "1000"], annotations=told)
    joining = 'bash -p "$FLOX_ENV/activate.d/floxbridge/start.bash" exec busybox cat /proc/thread-self/children'
    async with shell.agent():
        container = await started(bundle)
        ran = await container.execute("bash", "-c", f"for i in {{1..40}}; do {joining}; done")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


async def test_an_exec_waits_for_the_hook(shell: Node, started: Start) -> None:
    """The hook ends when the test lets it: the exec that came before has what it exported."""
    hook = "until [ -e /tmp/go ]; do read -rt 0.02 <> <(:); done; export LATE=1"
    told = environment(shell, hook={"on-activate": hook})
    bundle = shell.bundle(["busybox", "sleep", "1000"], annotations=told)
    with_tmp(bundle)
    async with shell.agent():
        container = await started(bundle)
        path = variables_of(bundle)["FLOX_ENV"]
        joining = asyncio.create_task(container.execute("bash", "-c", "echo $LATE"))
        await asyncio.to_thread(until, lambda: runs(f"{path}/activate.d/floxbridge/start.bash\0exec"))
        (bundle / "rootfs" / "tmp" / "go").touch()
        assert (await joining).stdout == "1\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("kitchen_sink", {"HOOK_SECTION_VAR": "hook_section_var"}, id="kitchen_sink"),
        # Its hook calls programs that are not here: what fails in a hook does no harm.
        pytest.param("floxdocs", {"POETRY_VIRTUALENVS_PATH": "/tmp/poetry/virtualenvs"}, id="floxdocs"),
    ],
)
async def test_the_hooks_of_real_environments(shell: Node, name: str, expected: dict[str, str]) -> None:
    files = [path for path in REAL_LOCKFILES if path.stem == name]
    if not files:
        pytest.skip("the real lockfiles do not lie beside the project")
    environment(shell, lock=Lockfile.parse(files[0].read_bytes()))
    ran = await shell.ran(shell.bundle(ENV, annotations={"flox.dev/environment": str(WEB)}))
    assert ran.returncode == 0, ran.stderr
    found = said(ran)
    assert {key: found.get(key) for key in expected} == expected
