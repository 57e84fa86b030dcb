import io

import pytest

from floxbridge_demo.narrator import Narrator, amount


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(out: io.StringIO) -> str:
    narrator = Narrator(out)
    narrator.heading("Heading")
    with narrator.step("a step"):
        pass
    narrator.show("one\ntwo\n")
    narrator.fact("digest", "sha256:0")
    return out.getvalue()


def test_a_log_gets_plain_lines() -> None:
    assert told(io.StringIO()).splitlines() == [
        "",
        "Heading",
        "  ✓ a step",
        "    │ one",
        "    │ two",
        "  digest:       sha256:0",
    ]


@pytest.mark.parametrize(
    ("variables", "colours", "progress"),
    [
        pytest.param({"TERM": "xterm"}, True, True, id="terminal"),
        pytest.param({"TERM": "xterm", "NO_COLOR": "1"}, False, True, id="no-color"),
        pytest.param({"TERM": "dumb"}, False, False, id="dumb-terminal"),
    ],
)
def test_a_terminal_gets_progress_and_colours(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colours: bool, progress: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = told(Terminal())
    assert ("\x1b[1m" in text, "\r" in text) == (colours, progress)


def test_a_step_that_fails_is_not_told_as_done() -> None:
    out = io.StringIO()
    with pytest.raises(OSError), Narrator(out).step("a step"):
        raise OSError
    assert out.getvalue() == ""


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (308, "308 bytes"), (934_760, "934,760 bytes (0.9 MB)")])
def test_amounts_are_exact(size: int, text: str) -> None:
    assert amount(size) == text
