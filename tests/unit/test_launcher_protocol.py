"""The agent's side of what the launcher says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim_hooks.container_key import KEY, shown_id
from shim_hooks.launcher_protocol import (
    FETCHES_REQUEST,
    REQUEST_MAX_BYTES,
    SENTENCE_MAX_BYTES,
    CreateRequest,
    DeleteRequest,
    ExecRequest,
    FetchesRequest,
    Request,
    RequestInvalid,
    error_reply,
    parse_request,
)


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        pytest.param(
            b"floxbridge/1\0create\0/run/b\0c1\x00110000\0", CreateRequest(Path("/run/b"), "c1", 110.0), id="create"
        ),
        pytest.param(
            b"floxbridge/1\0create\0/a\nb \xff\0c\x001\0",
            CreateRequest(Path("/a\nb \udcff"), "c", 0.001),
            id="any-path",
        ),
        pytest.param(b"floxbridge/1\0exec\0/tmp/p\0c1\x002000\0", ExecRequest(Path("/tmp/p"), "c1", 2.0), id="exec"),
        pytest.param(
            b"floxbridge/1\0create\0/b\0c1\x001000\0/run/r \xff\0",
            CreateRequest(Path("/b"), "c1", 1.0, b"/run/r \xff"),
            id="create-with-a-root",
        ),
        pytest.param(
            b"floxbridge/1\0exec\0/p\0c1\x001000\0r\0", ExecRequest(Path("/p"), "c1", 1.0, b"r"), id="exec-with-a-root"
        ),
        pytest.param(b"floxbridge/1\0delete\0c-1_2.3\0", DeleteRequest("c-1_2.3"), id="delete"),
        pytest.param(FETCHES_REQUEST, FetchesRequest(), id="fetches"),
    ],
)
def test_reads(data: bytes, request_: Request) -> None:
    assert parse_request(data) == request_


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(b"floxbridge/2\0delete\0c\0", id="other-version"),
        pytest.param(b"floxbridge/1\0delete\0c", id="cut-off"),
        pytest.param(b"floxbridge/1\0exec\0p\0c\x001\0", id="relative-process"),
        pytest.param(b"floxbridge/1\0create\0/b\0c\0", id="too-few-fields"),
        pytest.param(b"floxbridge/1\0delete\0c\0d\0", id="too-many-fields"),
        pytest.param(b"floxbridge/1\0create\0/b\0c\x001000\0/r\0more\0", id="more-than-a-root"),
        pytest.param(b"floxbridge/1\0fetches\0all\0", id="too-much-of-a-question"),
        pytest.param(b"floxbridge/1\0create\0b\0c\x001\0", id="relative-bundle"),
        pytest.param(b"floxbridge/1\0create\0/b\0../x\x001\0", id="id-with-slash"),
        pytest.param(b"floxbridge/1\0delete\0..\0", id="id-dot-dot"),
        pytest.param(b"floxbridge/1\0delete\0\0", id="id-empty"),
        pytest.param(b"floxbridge/1\0create\0/b\0c\x000\0", id="no-time"),
        pytest.param(b"floxbridge/1\0create\0/b\0c\0-1\0", id="negative-time"),
        pytest.param(b"floxbridge/1\0create\0/b\0c\x009999999\0", id="too-much-time"),
        pytest.param(b"floxbridge/1\0delete\0" + b"c" * REQUEST_MAX_BYTES + b"\0", id="too-long"),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(RequestInvalid):
        parse_request(data)


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: b"floxbridge/1\0create\0/" + tail))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        request = parse_request(data)
    except RequestInvalid:
        return
    assert isinstance(request, FetchesRequest) or request.container_id


@given(st.text(max_size=6000))
def test_any_sentence_is_one_bounded_line(sentence: str) -> None:
    reply = error_reply(sentence)
    assert reply.startswith(b"error ")
    assert reply.count(b"\n") == 1
    assert reply.endswith(b"\n")
    assert len(b"error \n") < len(reply) <= len(b"error \n") + SENTENCE_MAX_BYTES
    reply.decode("utf-8")


def test_one_id_at_two_places_is_two_containers() -> None:
    keys = {
        request(Path("/b"), "c1", 1.0, root).key
        for request in (CreateRequest, ExecRequest)
        for root in (b"", b"/a", b"/b")
    }
    assert len(keys) == 3
    assert {shown_id(key) for key in keys} == {"c1"}
    assert all(KEY.fullmatch(key) for key in keys)


def test_a_key_names_a_file() -> None:
    assert len(CreateRequest(Path("/b"), "x" * 200, 1.0, b"/a" * 2000).key) < 230
