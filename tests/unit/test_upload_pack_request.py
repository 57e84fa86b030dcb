"""Requests to git upload-pack: what they name, and what is refused before git sees it."""

import gzip
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.hub.upload_pack_request import (
    MAX_BYTES,
    MAX_LINES,
    UploadPackRequest,
    UploadPackRequestInvalid,
    unpack,
)

A, B, C = "a" * 40, "b" * 40, "c" * 40


def line(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return b"%04x%s" % (len(data) + 4, data)


LS_REFS = b"".join(
    (
        line("command=ls-refs\n"),
        line("agent=git/2.39.5"),
        line("object-format=sha1"),
        b"0001",
        line("peel\n"),
        line("ref-prefix web\n"),
        line("ref-prefix refs/heads/web\n"),
        line("ref-prefix refs/heads/\n"),
        line("ref-prefix refs/tags/web\n"),
        line("ref-prefix refs/heads/refs/heads/web\n"),
        line("ref-prefix refs/heads/HEAD\n"),
        b"0000",
    )
)
FETCH = b"".join(
    (
        line("command=fetch"),
        b"0001",
        line("thin-pack"),
        line(f"want {A}\n"),
        line(f"want {B}"),
        line("want-ref refs/heads/web\n"),
        line("deepen-not refs/heads/old\n"),
        line("deepen-not older\n"),
        line(f"shallow {B}\n"),
        line(f"have {C}\n"),
        line("done\n"),
        b"0000",
    )
)
VERSION_0 = b"".join(
    (line(f"want {A} side-band-64k agent=git/2.39.5\n"), line("deepen 1"), b"0000", line(f"have {C}\n"), line("done\n"))
)


@pytest.mark.parametrize(
    ("data", "wants", "haves", "branches", "looked_for"),
    [
        pytest.param(LS_REFS, set(), set(), set(), {"web"}, id="ls-refs"),
        pytest.param(FETCH, {A, B}, {B, C}, {"web", "old", "older"}, set(), id="fetch"),
        pytest.param(VERSION_0, {A}, {C}, set(), set(), id="version-0"),
        pytest.param(b"0000", set(), set(), set(), set(), id="probe"),
        pytest.param(b"", set(), set(), set(), set(), id="nothing"),
        pytest.param(line("wanted") + line("have-not x"), set(), set(), set(), set(), id="other-keys"),
    ],
)
def test_reads(data: bytes, wants: set[str], haves: set[str], branches: set[str], looked_for: set[str]) -> None:
    request = UploadPackRequest.parse(data)
    found = (request.wants, request.haves, request.branches, request.looked_for)
    assert [set(each) for each in found] == [wants, haves, branches, looked_for]
    assert request.to_bytes() == data


def test_commits_that_the_client_may_not_have_are_named_no_more() -> None:
    left = UploadPackRequest.parse(FETCH).having_only({A})
    assert left.to_bytes() == FETCH.replace(f"shallow {B}".encode(), f"shallow {'0' * 40}".encode()).replace(
        f"have {C}".encode(), f"have {'0' * 40}".encode()
    )
    assert (set(left.wants), set(left.haves)) == ({A, B}, {"0" * 40})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(line(f"want {A[:39]}"), id="short-id"),
        pytest.param(line(f"want {A}{A}"), id="long-id"),
        pytest.param(line(f"want {A.upper()}"), id="upper-case-id"),
        pytest.param(line(f"want  {A}"), id="two-spaces"),
        pytest.param(line(f"want {A}\n{B}"), id="line-in-a-line"),
        pytest.param(line(f"want {A} multi_ack\nx"), id="capabilities-and-a-line"),
        pytest.param(line("want"), id="want-nothing"),
        pytest.param(line(f"have {A} x"), id="have-more"),
        pytest.param(line(f"have {A}\n\n"), id="two-newlines"),
        pytest.param(line("want-ref "), id="no-ref"),
        pytest.param(line("deepen-not a b"), id="ref-with-a-space"),
        pytest.param(line("ref-prefix refs/heads/a\0b"), id="nul-in-a-ref"),
        pytest.param(line(b"agent=\0"), id="nul-elsewhere"),
        pytest.param(line(b"ref-prefix \xff"), id="ref-not-ascii"),
        pytest.param(b"000", id="cut-length"),
        pytest.param(b"0008abc", id="cut-line"),
        pytest.param(b"0002", id="response-end"),
        pytest.param(b"0003", id="length-below-4"),
        pytest.param(b"fff1" + b"x" * 0xFFED, id="too-long-line"),
        pytest.param(b"000Aagent\n", id="upper-case-length"),
        pytest.param(b"0x05a", id="length-with-a-prefix"),
        pytest.param(b" 005a", id="length-with-a-space"),
        pytest.param(b"+005a", id="length-with-a-sign"),
        pytest.param(b"0000" * (MAX_LINES + 1), id="too-many-lines"),
        pytest.param(b"x" * (MAX_BYTES + 1), id="too-large"),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(UploadPackRequestInvalid, match="upload-pack request: "):
        UploadPackRequest.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        request = UploadPackRequest.parse(data)
    except UploadPackRequestInvalid:
        return
    assert request.to_bytes() == data


_KEYS = st.sampled_from(["want", "have", "shallow", "want-ref", "deepen-not", "ref-prefix", "command=fetch", "Want"])
_VALUES = st.sampled_from([A, B, C, A[:-1], "refs/heads/web", "web", "", A + " x"]) | st.text(max_size=50)
_LINES = st.lists(st.tuples(_KEYS, st.sampled_from([" ", "  ", "\t", "\0", ""]), _VALUES, st.sampled_from(["", "\n"])))


@given(_LINES)
def test_whatever_git_would_take_for_a_want_is_seen(lines: list[tuple[str, str, str, str]]) -> None:
    """Git looks for the six letters `want `, and reads forty digits after them, whatever follows."""
    texts = ["".join(parts) for parts in lines]
    try:
        request = UploadPackRequest.parse(b"".join(line(text) for text in texts))
    except UploadPackRequestInvalid:
        return
    assert request.wants == {text[5:45] for text in texts if text.startswith("want ")}
    assert request.haves == {text.split(" ")[1].strip() for text in texts if text.startswith(("have ", "shallow "))}


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_unpacks(encoding: str) -> None:
    assert unpack(gzip.compress(FETCH), encoding) == FETCH
    assert unpack(FETCH, "") == FETCH


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(FETCH, "gzip", id="not-gzip"),
        pytest.param(gzip.compress(FETCH)[:-1], "gzip", id="cut"),
        pytest.param(gzip.compress(FETCH) + b"x", "gzip", id="more-after-it"),
        pytest.param(gzip.compress(FETCH) * 2, "gzip", id="two-members"),
        pytest.param(gzip.compress(bytes(MAX_BYTES + 1)), "gzip", id="bomb"),
        pytest.param(FETCH, "br", id="other-encoding"),
        pytest.param(FETCH, "gzip, gzip", id="twice"),
    ],
)
def test_does_not_unpack(body: bytes, encoding: str) -> None:
    with pytest.raises(UploadPackRequestInvalid, match="upload-pack request: "):
        unpack(body, encoding)


@given(st.binary(max_size=200))
def test_any_body_unpacks_or_is_refused(body: bytes) -> None:
    with suppress(UploadPackRequestInvalid):
        assert len(unpack(body, "gzip")) <= MAX_BYTES
