"""The process of an exec, and environments as lists of variables."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim_hooks.bundle.process import Process
from shim_hooks.bundle.process_env import replaced, variables, without_ours
from shim_hooks.errors import BundleInvalid


def test_only_the_variables_change() -> None:
    document = {"args": ["sh"], "env": ["A=1"], "user": {"uid": 7}, "x": [1.5, None]}
    process = Process.parse(json.dumps(document).encode())
    assert process.env == ("A=1",)
    edited = process.with_env(["B=ü"])
    assert edited == Process.parse(edited.to_bytes())
    assert json.loads(edited.to_bytes()) == {**document, "env": ["B=ü"]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "process: not JSON", id="empty"),
        pytest.param(b"[]", "want a JSON object", id="list"),
        pytest.param(b'{"env":{}}', "'env' is not an array", id="env"),
        pytest.param(b'{"env":[1]}', "env[0] is not a string", id="entry"),
        pytest.param(b'{"x":' + b"[" * 100_000, "nested too deeply", id="too-deep"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(BundleInvalid) as refused:
        Process.parse(data)
    assert words in str(refused.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_process_or_refused(data: bytes) -> None:
    try:
        Process.parse(data)
    except BundleInvalid as problem:
        assert str(problem).startswith("process: ")  # noqa: PT017 - either way is right


def test_of_a_name_that_stands_twice_the_last_counts() -> None:
    assert variables(["A=1", "B=x=y", "odd", "A=2"]) == {"A": "2", "B": "x=y"}


def test_our_variables_go() -> None:
    assert without_ours(["FLOXBRIDGE_LOCKFILE=1", "FLOXBRIDGE_LISTEN=:80", "FLOXBRIDGE_ENVIRONMENT"]) == [
        "FLOXBRIDGE_LISTEN=:80"
    ]


@given(st.lists(st.sampled_from(["A=1", "A=2", "B=", "C", "D=4"])))
def test_what_is_set_stands_once_and_last(env: list[str]) -> None:
    new = replaced(env, new={"A": "9"}, removed=frozenset({"D"}))
    assert new == [entry for entry in env if entry in ("B=", "C")] + ["A=9"]
    assert replaced(new, new={"A": "9"}, removed=frozenset({"D"})) == new
