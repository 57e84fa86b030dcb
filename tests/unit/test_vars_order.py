import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.vars_order import VarsInvalid, is_plain_value, ordered_vars
from tests.conftest import needs


@pytest.mark.parametrize(
    ("variables", "order"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({"b": "2", "a": "1", "B": "3"}, "B a b", id="alphabetical"),
        pytest.param({"a": "$z", "z": "1"}, "z a", id="plain-reference"),
        pytest.param({"a": "${z}", "z": "1"}, "z a", id="braces"),
        pytest.param({"a": "${z:-x}", "z": "1"}, "z a", id="braces-with-default"),
        pytest.param({"a": "x${c}y$b", "b": "1", "c": "$d", "d": "1"}, "b d c a", id="chain"),
        pytest.param({"a": "${z}", "m": "x", "z": "1"}, "m z a", id="only-the-forced-move"),
        pytest.param({"PATH": "${PATH}:/x", "A": "$PATH"}, "PATH A", id="own-name"),
        pytest.param({"a": r"\$z", "z": "$a"}, "a z", id="escaped-dollar"),
        pytest.param({"a": r"\\$z", "z": "1"}, "z a", id="escaped-backslash"),
        pytest.param({"a": "$zz", "z": "$a"}, "a z", id="longer-name"),
        pytest.param({"a": "$z-b", "z": "1"}, "z a", id="name-ends-at-dash"),
        pytest.param({"a": "${z", "z": "$a"}, "a z", id="brace-not-closed"),
        pytest.param({"a": "$HOME $(z) ${1} $$z", "z": "1"}, "z a", id="after-two-dollars"),
        pytest.param({"a": "$(z)", "z": "$a"}, "a z", id="command-is-no-reference"),
        pytest.param({"a": "$nobody", "b": "$"}, "a b", id="unknown-names"),
    ],
)
def test_orders(variables: dict[str, str], order: str) -> None:
    assert ordered_vars(variables) == tuple((name, variables[name]) for name in order.split())


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        pytest.param({"a": "$b", "b": "$a"}, "a → b → a", id="two"),
        pytest.param({"x": "$a", "a": "$b", "b": "$c", "c": "$b"}, "b → c → b", id="only-the-circle"),
        pytest.param({"1a": ""}, "no variable name", id="digit-first"),
        pytest.param({"a b": ""}, "no variable name", id="space"),
        pytest.param({"": ""}, "no variable name", id="empty"),
        pytest.param({"a=b": ""}, "no variable name", id="equals"),
        pytest.param({"é": ""}, "no variable name", id="accent"),
        pytest.param({"a\n": ""}, "no variable name", id="newline"),
        pytest.param({"BASH_ENVTRACE_RESET": "1"}, "reserved", id="reserved"),
        pytest.param({"a": "\0"}, "NUL", id="nul"),
    ],
)
def test_refuses(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(VarsInvalid, match=problem):
        ordered_vars(variables)


def test_a_long_chain_takes_no_longer_than_it_must() -> None:
    variables = {f"v{n:06}": f"$v{n + 1:06}" for n in range(50_000)}
    assert ordered_vars(variables)[0][0] == "v049999"
    with pytest.raises(VarsInvalid) as caught:
        ordered_vars({**variables, "v049999": "$v000000"})
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("value", ["", "hello world", "it's", "a\nb", "~/x", "*?[]", "!x", "a;b|c&d>e", "é", "100%"])
def test_plain(value: str) -> None:
    assert is_plain_value(value)


@pytest.mark.parametrize("value", ["$HOME", "`date`", "a\\nb", 'say "hi"', "$"])
def test_not_plain(value: str) -> None:
    assert not is_plain_value(value)


def test_bash_leaves_every_plain_character_alone() -> None:
    needs("bash")
    value = "".join(filter(is_plain_value, map(chr, range(1, 0x250)))) + "→🙂"
    script = f'export V="{value}"\nprintf %s "$V"\n'.encode()
    bash, env = str(shutil.which("bash")), {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run([bash, "-euc", script], capture_output=True, check=True, env=env, timeout=10)
    assert done.stdout == value.encode()
    assert "".join(sorted({chr(n) for n in range(1, 128)} - set(value))) == '"$\\`'


@given(st.dictionaries(st.sampled_from("abcd"), st.text("ab$cd{}\\", max_size=8)))
def test_every_reference_comes_first_or_it_is_a_circle(variables: dict[str, str]) -> None:
    try:
        order = [name for name, _ in ordered_vars(variables)]
    except VarsInvalid:
        return
    assert sorted(order) == sorted(variables)
    for name, value in variables.items():
        for other in variables:
            if value == f"${other}" and other != name:
                assert order.index(other) < order.index(name)
