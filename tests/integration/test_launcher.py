"""The launcher, built for real: which verbs it tells the agent, what it passes on, and how it says no."""

import re
import socket
import subprocess

import pytest

from shim_hooks.launcher_protocol import CreateRequest, DeleteRequest, ExecRequest, error_reply
from tests.integration.launcher_rig import Rig, launcher, rig, silent_listener

__all__ = ["launcher", "rig"]

# ---- which verbs are told ----

GLOBALS = ("--root", "/run/r", "--log", "L", "--log-format", "json")


@pytest.mark.parametrize(
    ("before", "after", "root"),
    [
        pytest.param((), ("--bundle", "B", "c1"), "", id="plain"),
        pytest.param(GLOBALS, ("--bundle", "B", "--pid-file", "P", "c1"), "/run/r", id="as-containerd"),
        pytest.param(
            ("--root=/r", "--log=L", "--systemd-cgroup"), ("--bundle=B", "--pid-file=P", "c1"), "/r", id="equals"
        ),
        pytest.param(("--debug", "--rootless", "auto"), ("-b", "B", "c1"), "", id="short"),
        pytest.param(("-root", "/r", "-debug=true"), ("-bundle", "B", "c1"), "/r", id="one-dash"),
        pytest.param(("--cgroup-manager=disabled",), ("-bB", "c1"), "", id="crun"),
        pytest.param(("--cgroup-manager", "systemd"), ("--bund", "B", "c1"), "", id="crun-abbreviated"),
        pytest.param(("--newflag",), ("--bundle", "B", "c1"), "", id="unknown-switch"),
        pytest.param(("--newflag", "value"), ("--bundle", "B", "c1"), "", id="unknown-flag-with-value"),
        pytest.param(("--root", "delete"), ("--bundle", "B", "c1"), "delete", id="value-that-is-a-verb"),
        pytest.param((), ("c1", "--bundle", "B"), "", id="id-first"),
        pytest.param((), ("--bundle", "elsewhere", "--bundle", "B", "c1"), "", id="last-bundle-counts"),
        pytest.param(("--",), ("--bundle", "B", "--", "c1"), "", id="double-dash"),
        pytest.param((), ("--bundle", "B", "c1", "--pidfd-socket", "S"), "", id="newer-runc"),
        pytest.param(
            (), ("--preserve-fds", "3", "--no-pivot", "--bundle", "B", "--new", "x", "c1"), "", id="other-flags"
        ),
    ],
)
@pytest.mark.parametrize("verb", ["create", "run"])
def test_create_is_told_before_the_runtime_runs(
    rig: Rig, before: tuple[str, ...], verb: str, after: tuple[str, ...], root: str
) -> None:
    rig.bundle.rename(rig.folder / "B")
    arguments = [*before, verb, *after]
    with rig.agent() as agent:
        outcome = rig.run(*arguments)
        assert agent.requests(1) == [CreateRequest(rig.folder / "B", "c1", 20.0, root.encode())]
    assert outcome.runtime_argv == arguments
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "from the runtime\n", "")


@pytest.mark.parametrize(
    ("flags", "root"),
    [
        pytest.param((), b"", id="none"),
        pytest.param(("--root", ""), b"", id="empty"),
        pytest.param(("--root", "/run/containerd/runc/a"), b"/run/containerd/runc/a", id="as-containerd"),
        pytest.param(("--root=r\n\xfc", "--log", "L"), "r\n\xfc".encode(), id="odd"),
        pytest.param(("--root", "/x", "--root", "/y"), b"/y", id="last-one-counts"),
        pytest.param(("--root=/" + "x" * 4094,), b"/" + b"x" * 4094, id="long"),
    ],
)
@pytest.mark.parametrize("verb", ["create", "exec"])
def test_where_the_runtime_keeps_its_containers_is_told(
    rig: Rig, flags: tuple[str, ...], root: bytes, verb: str
) -> None:
    (rig.folder / "P").write_text("{}")
    with rig.agent() as agent:
        assert rig.run(*flags, *(CREATE if verb == "create" else EXEC)).code == 0
        (request,) = agent.requests(1)
    assert isinstance(request, CreateRequest | ExecRequest)
    assert (request.container_id, request.root) == ("c1", root)


def test_a_place_that_nothing_can_have_is_no_place(rig: Rig) -> None:
    with rig.agent():
        outcome = rig.run("--root", "/" + "x" * 20_000, *CREATE)
    assert (outcome.code, outcome.runtime_argv) == (1, None)
    assert "cannot be asked" in outcome.stderr
    assert "name too long" in outcome.stderr


@pytest.mark.parametrize("name", ["create", "delete", "--help", "a b\nc\u00fc"])
def test_a_bundle_may_be_called_anything(rig: Rig, name: str) -> None:
    bundle = rig.bundle.rename(rig.folder / name)
    with rig.agent() as agent:
        assert rig.run("create", "--bundle", f"./{name}", "c1").code == 0
        assert agent.requests(1) == [CreateRequest(bundle, "c1", 20.0)]


def test_the_bundle_is_the_current_directory_by_default(rig: Rig) -> None:
    with rig.agent() as agent:
        assert rig.run("create", "c1", cwd=rig.bundle).code == 0
        assert rig.run("create", "--bundle", "", "c1", cwd=rig.bundle).code == 0
        assert agent.requests(2) == [CreateRequest(rig.bundle, "c1", 20.0)] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("delete", "c1"), id="delete"),
        pytest.param((*GLOBALS, "delete", "--force", "c1"), id="force"),
        pytest.param(("--log=L", "delete", "-f", "c1"), id="short-force"),
    ],
)
def test_delete_is_told_and_waits_for_nothing(rig: Rig, arguments: tuple[str, ...]) -> None:
    with rig.agent(None) as agent:
        outcome = rig.run(*arguments)
        assert agent.requests(1) == [DeleteRequest("c1")]
    assert outcome.code == 0
    assert outcome.runtime_argv == list(arguments)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--process", "P"), id="plain"),
        pytest.param(("--process=P", "--detach", "--pid-file", "F"), id="as-containerd"),
        pytest.param(("--cwd", "/", "-p", "P", "--tty"), id="short"),
        pytest.param(("-process", "P"), id="one-dash"),
        pytest.param(("-pP", "--preserve-fds", "1"), id="crun"),
        pytest.param(("--pid-file", "-p", "-p=P", "--"), id="value-that-is-a-flag"),
        pytest.param(("--newswitch", "--process", "P"), id="unknown-switch"),
        pytest.param(("--newflag", "value", "--process", "P"), id="unknown-flag-with-value"),
        pytest.param(("--process", "P", "--newflag", "value"), id="unknown-flag-behind-it"),
        pytest.param(("--pidfd-socket", "S", "-p", "P"), id="newer-runc"),
        pytest.param(("-dp", "P"), id="crun-two-in-one-word"),
        pytest.param(("-dpP", "-tx", "-eA=-p"), id="crun-with-values-in-one-word"),
        pytest.param(("--pid-f", "F", "--process", "P"), id="crun-abbreviated"),
    ],
)
@pytest.mark.parametrize("answer", [b"ok\n", b"error no\n", b"", None], ids=["ok", "refused", "broke-off", "hangs"])
def test_exec_is_told_and_goes_on_whatever_comes(rig: Rig, flags: tuple[str, ...], answer: bytes | None) -> None:
    rig.configure(deadline_ms=50 if answer is None else 20_000)
    (rig.folder / "P").write_text("{}")
    with rig.agent(answer) as agent:
        outcome = rig.run("exec", *flags, "c1", "--process", "Q", "create")
        request = agent.requests(1)[0]
    assert request == ExecRequest(rig.folder / "P", "c1", 0.05 if answer is None else 2.0)
    assert outcome.runtime_argv == ["exec", *flags, "c1", "--process", "Q", "create"]
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "from the runtime\n", "")


def test_a_switch_that_is_not_known_does_not_take_the_id(rig: Rig) -> None:
    (rig.folder / "P").write_text("{}")
    with rig.agent() as agent:
        rig.run("exec", "--process", "P", "--newswitch", "c1")
        assert agent.requests(1) == [ExecRequest(rig.folder / "P", "c1", 2.0)]


CREATE = ("create", "--bundle", "bundle", "c1")
EXEC = ("exec", "--process", "P", "c1")


@pytest.mark.parametrize("arguments", [CREATE, EXEC], ids=["create", "exec"])
@pytest.mark.parametrize("left", [True, False], ids=["nobody-listens", "no-socket"])
def test_an_agent_that_comes_back_is_waited_for(rig: Rig, arguments: tuple[str, ...], left: bool) -> None:
    """A socket that is bound and not listened at refuses, as one that a dead agent left."""
    (rig.folder / "P").write_text("{}")
    command = [str(rig.launcher), *arguments]
    with socket.socket(socket.AF_UNIX) as listener:
        if left:
            listener.bind(str(rig.socket))
        with subprocess.Popen(command, cwd=rig.folder, stdout=subprocess.PIPE) as process:
            if not left:
                listener.bind(str(rig.socket))
            listener.listen()
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096).startswith(b"floxbridge/1\0" + arguments[0].encode())
                connection.sendall(b"ok\n")
            assert process.communicate()[0] == b"from the runtime\n"


@pytest.mark.parametrize("arguments", [CREATE, EXEC], ids=["create", "exec"])
def test_an_agent_that_says_nothing_is_asked_again(rig: Rig, arguments: tuple[str, ...]) -> None:
    """It was stopped meanwhile, and with it went who waited in its queue. The next one is told what time is left."""
    (rig.folder / "P").write_text("{}")
    with rig.agent(b"", b"ok\n") as agent:
        outcome = rig.run(*arguments)
        first, second = agent.requests(2)
    assert (outcome.code, outcome.stderr, outcome.runtime_argv) == (0, "", list(arguments))
    assert isinstance(first, CreateRequest | ExecRequest)
    assert isinstance(second, CreateRequest | ExecRequest)
    assert second.deadline_s < first.deadline_s


def test_a_request_that_kills_every_agent_ends(rig: Rig) -> None:
    with rig.agent(b"") as agent:
        outcome = rig.run(*CREATE)
        assert len(agent.requests(1)) == 4
    assert outcome.code == 1
    assert "broke off without an answer" in outcome.stderr


def test_an_exec_goes_on_without_an_agent(rig: Rig) -> None:
    (rig.folder / "P").write_text("{}")
    outcome = rig.run("exec", "--process", "P", "c1")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "from the runtime\n", "")


PASSED_ON = [
    pytest.param(("exec", "--process", "P", "create"), id="exec"),
    pytest.param(("exec", "--tty", "c1", "sh", "--process", "P"), id="exec-without-process-file"),
    pytest.param(("exec", "--new", "c1", "sh", "-p", "P"), id="exec-with-an-unknown-switch"),
    pytest.param(("exec", "-tp", "P", "c1"), id="exec-on-a-terminal-called-p"),
    pytest.param(("--root", "create", "state", "create"), id="words-that-are-no-verb"),
    pytest.param(("kill", "--all", "c1", "9"), id="kill"),
    pytest.param(("features",), id="features"),
    pytest.param(("--version",), id="version"),
    pytest.param(("create", "--help"), id="help-of-create"),
    pytest.param((), id="nothing-at-all"),
    pytest.param(("exec", "c1", "", "a b", "\n", "*"), id="odd-words"),
    pytest.param(("create",), id="create-without-id"),
]


@pytest.mark.parametrize("arguments", [*PASSED_ON, pytest.param(("delete", "--force", "c1"), id="delete")])
def test_without_an_agent_all_but_create_pass(rig: Rig, arguments: tuple[str, ...]) -> None:
    outcome = rig.run(*arguments)
    assert outcome.runtime_argv == list(arguments) or (not arguments and outcome.runtime_argv == [""])
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "from the runtime\n", "")


@pytest.mark.parametrize("arguments", [("state", "c1"), ("delete", "c1")])
def test_an_agent_that_is_stopped_dead_delays_nothing_but_create(rig: Rig, arguments: tuple[str, ...]) -> None:
    rig.configure(deadline_ms=3_600_000)
    with silent_listener(rig.socket):
        assert rig.run(*arguments).runtime_argv == list(arguments)


# ---- how it says no ----

LOGGED = ("--log-format", "json")


def test_a_refusal_is_the_last_line_of_the_log(rig: Rig) -> None:
    sentence = 'environment "acme/web" has a \\ and a ü'
    rig.log.write_text('{"level":"debug","msg":"before"}\n')
    with rig.agent(error_reply(sentence)):
        outcome = rig.run("--log", str(rig.log), *LOGGED, "create", "--bundle", str(rig.bundle), "c1")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (1, "", sentence + "\n")
    assert outcome.runtime_argv is None
    assert list(rig.bundle.iterdir()) == []
    before, line = rig.logged()
    assert before["msg"] == "before"
    assert (line["level"], line["msg"]) == ("error", sentence)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"])


def test_the_log_is_text_where_runc_is_asked_for_text(rig: Rig) -> None:
    with rig.agent(error_reply('no "web"')):
        rig.run(f"--log={rig.log}", "create", "--bundle", str(rig.bundle), "c1")
    assert re.fullmatch(r'time="[-:0-9TZ]{20}" level=error msg="no \\"web\\""\n', rig.log.read_text())


def test_crun_may_log_to_the_journal(rig: Rig) -> None:
    rig.configure(deadline_ms=50)
    rig.run("--log=journald:x", "create", "--bundle", str(rig.bundle), "c1")
    rig.run("--log=file:named", "create", "--bundle", str(rig.bundle), "c1")
    assert sorted(path.name for path in rig.folder.iterdir() if "named" in path.name or ":" in path.name) == ["named"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(b"error a\tb\x1b[31m\xff\xe2\x82\n", "a b [31m???", id="hostile-bytes"),
        pytest.param(b"error " + b"x" * 9000 + b"\n", None, id="too-long"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"ok", None, id="half-an-ok"),
        pytest.param(b"error cut of", None, id="half-a-sentence"),
        pytest.param(b"ok\nand more", None, id="more-than-ok"),
        pytest.param(b"yes\n", None, id="another-language"),
    ],
)
def test_an_answer_that_is_none_fails(rig: Rig, answer: bytes, sentence: str | None) -> None:
    broke_off = f"floxbridge agent at {rig.socket} broke off without an answer: see 'journalctl -u floxbridge-node'"
    with rig.agent(answer):
        outcome = rig.run("--log", str(rig.log), *LOGGED, "create", "--bundle", str(rig.bundle), "c1")
    assert (outcome.code, outcome.stderr) == (1, (sentence or broke_off) + "\n")
    assert [line["msg"] for line in rig.logged()] == [sentence or broke_off]
    assert outcome.runtime_argv is None


@pytest.mark.parametrize("stale", [False, True], ids=["no-socket", "nobody-listens"])
def test_an_agent_that_is_away_fails_create(rig: Rig, stale: bool) -> None:
    rig.configure(deadline_ms=50)
    if stale:
        with rig.agent():
            pass
    outcome = rig.run("create", "--bundle", str(rig.bundle), "c1")
    assert outcome.code == 1
    assert outcome.stderr == (
        f"floxbridge agent does not answer at {rig.socket}: start it with 'floxbridge-node agent' "
        "or see 'journalctl -u floxbridge-node'\n"
    )


def test_an_agent_that_stays_away_does_not_use_up_the_deadline(rig: Rig) -> None:
    """The operator is to read of it before kubelet gives up."""
    rig.configure(deadline_ms=3_600_000)  # pytest's own limit is shorter
    assert "floxbridge agent does not answer at" in rig.run(*CREATE).stderr


def test_an_agent_that_hangs_is_given_its_deadline(rig: Rig) -> None:
    rig.configure(deadline_ms=50)
    with rig.agent(None):
        outcome = rig.run("create", "--bundle", str(rig.bundle), "c1")
    assert "has not answered within 50 ms" in outcome.stderr
    assert (outcome.code, outcome.runtime_argv) == (1, None)


def test_an_agent_whose_queue_is_full_is_given_its_deadline(rig: Rig) -> None:
    rig.configure(deadline_ms=50)
    with silent_listener(rig.socket):
        outcome = rig.run("create", "--bundle", str(rig.bundle), "c1")
    assert "has not answered within 50 ms" in outcome.stderr


def test_a_bundle_that_is_not_there(rig: Rig) -> None:
    with rig.agent():
        outcome = rig.run("create", "--bundle", "nowhere", "c1")
    assert (outcome.code, outcome.stderr) == (1, "floxbridge: bundle nowhere: No such file or directory\n")


@pytest.mark.parametrize("flag", [("--config", "other.json"), ("--config=other.json",), ("-f", "other.json")])
def test_another_config_than_the_bundles_is_refused(rig: Rig, flag: tuple[str, ...]) -> None:
    with rig.agent():
        outcome = rig.run("create", *flag, "--bundle", str(rig.bundle), "c1")
    assert outcome.code == 1
    assert "--config is not supported" in outcome.stderr
