"""The answer to what is being fetched, on the wire."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.environment import EnvironmentName
from shim_hooks.environment.progress import Progress, UnderWay
from shim_hooks.fetches_question import AnswerInvalid, answer, parse_answer
from shim_hooks.launcher_protocol import OK

WEB = UnderWay(EnvironmentName.parse("Acme/web"), Progress(1, 2, 3, 4, 5.0))


@pytest.mark.parametrize(
    "under_way",
    [
        pytest.param([], id="nothing"),
        pytest.param([WEB, UnderWay(WEB.environment, None)], id="two"),
        pytest.param([UnderWay(WEB.environment, Progress(0, 0, 0, 0, None))], id="no-rate-yet"),
    ],
)
def test_round_trip(under_way: list[UnderWay]) -> None:
    assert parse_answer(answer(under_way)) == tuple(under_way)


def test_it_is_bounded() -> None:
    assert len(parse_answer(answer([WEB] * 5000))) == 1000


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"error floxbridge agent a request that is none\n", id="an-older-agent"),
        pytest.param(OK, id="no-document"),
        pytest.param(OK + b"[]", id="no-object"),
        pytest.param(OK + b'{"fetches":[3]}', id="no-objects"),
        pytest.param(answer([WEB]).replace(b"Acme/web", b"Acme"), id="no-environment"),
        pytest.param(answer([WEB]).replace(b'"wanted_paths"', b'"other"'), id="a-number-less"),
        pytest.param(answer([WEB]) + b" " * (1024 * 1024), id="too-long"),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(AnswerInvalid):
        parse_answer(data)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda each: (
            st.lists(each) | st.dictionaries(st.sampled_from(["fetches", "environment", "wanted_bytes"]), each)
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_an_answer_or_say_why_not(data: bytes) -> None:
    with suppress(AnswerInvalid):
        parse_answer(OK + data)
