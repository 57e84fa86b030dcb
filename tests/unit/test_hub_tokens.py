"""The file of tokens: who sees what, until when, and what happens when the file changes."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.hub.caller import Caller, read_caller
from registry_proxy.hub.tokens import MAX_BYTES, HubTokens, HubTokensInvalid, parse_tokens

TOKENS = """\
# a comment
flox_pat_alice  alice

flox_pat_ci ci acme/web beta/* expires=2026-12-31T00:00:00Z
"""
EXPIRY = 1798675200.0


class Told(list[str]):
    """The problems that were told."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(TOKENS)
    return path


def tokens_of(path: Path, problem: Callable[[str], None] = pytest.fail, now: float = 0.0) -> HubTokens:
    return HubTokens(path, problem=problem, now=lambda: now)


@pytest.mark.parametrize(
    ("token", "owner", "name", "sees"),
    [
        pytest.param("flox_pat_alice", "alice", "web", True, id="own"),
        pytest.param("flox_pat_alice", "Alice", "web", False, id="case-matters"),
        pytest.param("flox_pat_alice", "acme", "web", False, id="not-own"),
        pytest.param("flox_pat_ci", "acme", "web", True, id="named"),
        pytest.param("flox_pat_ci", "acme", "api", False, id="same-owner-other-name"),
        pytest.param("flox_pat_ci", "beta", "api", True, id="all-of-an-owner"),
        pytest.param("flox_pat_ci", "ci", "x", True, id="own-beside-others"),
    ],
)
def test_who_sees_what(path: Path, token: str, owner: str, name: str, sees: bool) -> None:
    holder = tokens_of(path).holder(token)
    assert holder is not None
    assert holder.sees(owner, name) is sees
    assert token not in repr(holder)


@pytest.mark.parametrize(
    "token", ["", "flox_pat_bob", "flox_pat_alic", "flox_pat_alice ", "FLOX_PAT_ALICE", "#", "ä", "x" * 10_000]
)
def test_tokens_that_nobody_holds(path: Path, token: str) -> None:
    assert tokens_of(path).holder(token) is None


@pytest.mark.parametrize(("now", "accepted"), [(EXPIRY - 1, True), (EXPIRY, False), (EXPIRY + 1, False)])
def test_a_token_expires(path: Path, now: float, accepted: bool) -> None:
    assert (tokens_of(path, now=now).holder("flox_pat_ci") is not None) is accepted
    assert tokens_of(path, now=now).holder("flox_pat_alice") is not None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("flox_pat_alone", "got one word", id="no-handle"),
        pytest.param("flox_pat_x a/b", "word 2", id="handle-with-a-slash"),
        pytest.param("flox_pat_x bob flox_pat_y", "word 3", id="no-name"),
        pytest.param("flox_pat_x bob acme/web ../*", "word 4", id="no-owner"),
        pytest.param("flox_pat_x bob */*", "word 3", id="any-owner"),
        pytest.param("flox_pat_x bob acme/w*", "word 3", id="part-of-a-name"),
        pytest.param("flox_pat_x bob expires=2026-12-31", "with its zone", id="date-only"),
        pytest.param("flox_pat_x bob expires=flox_pat_y", "with its zone", id="no-time"),
        pytest.param("flox_pät_x bob", "want a FloxHub token", id="not-ascii"),
        pytest.param("flox_pat_alice bob", "the same token", id="twice"),
    ],
)
def test_refuses_and_shows_no_token(path: Path, line: str, problem: str) -> None:
    path.write_text(f"{TOKENS}{line}\n")
    with pytest.raises(HubTokensInvalid, match=problem) as refused:
        tokens_of(path)
    assert "line 5" in str(refused.value)
    assert "flox_p" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"\xff", "not UTF-8", id="not-text"),
        pytest.param(b"#" * (MAX_BYTES + 1), "more than", id="too-large"),
    ],
)
def test_refuses_files(data: bytes, problem: str) -> None:
    with pytest.raises(HubTokensInvalid, match=problem):
        parse_tokens(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_tokens_or_refused(data: bytes) -> None:
    with suppress(HubTokensInvalid):
        parse_tokens(data)


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    tokens = tokens_of(path)
    path.write_text("flox_pat_bob bob\n")
    assert (tokens.holder("flox_pat_alice"), tokens.holder("flox_pat_bob") is not None) == (None, True)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("flox_pat_bob\n")], ids=["gone", "wrong"])
def test_a_spoilt_file_opens_nothing_until_it_is_mended(path: Path, spoil: Callable[[Path], object]) -> None:
    told = Told()
    tokens = tokens_of(path, told.append)
    spoil(path)
    assert [tokens.holder("flox_pat_alice") for _ in range(3)] == [None] * 3
    assert len(told) == 1
    assert "no token is accepted until that is mended" in told[0]
    path.write_text(TOKENS)
    path.chmod(0o600)
    assert tokens.holder("flox_pat_alice") is not None
    assert len(told) == 1


def test_a_file_that_everybody_can_read_is_complained_of(path: Path) -> None:
    path.chmod(0o644)
    told = Told()
    assert tokens_of(path, told.append).holder("flox_pat_alice") is not None
    assert told == [f"every user of this machine can read the tokens in {path}: chmod 600 {path}"]


ALICE = b"Basic b2F1dGg6ZmxveF9wYXRfYWxpY2U="  # oauth:flox_pat_alice


@pytest.mark.parametrize(
    ("headers", "handle"),
    [
        pytest.param([ALICE], "alice", id="right"),
        pytest.param([ALICE.replace(b"Basic", b"BASIC")], "alice", id="scheme-in-capitals"),
        pytest.param([b"Basic bWU6ZmxveF9wYXRfYWxpY2U="], "alice", id="any-user"),
        pytest.param([b"Basic OmZsb3hfcGF0X2FsaWNl"], "alice", id="no-user"),
        pytest.param([], "", id="none"),
        pytest.param([b"Basic b2F1dGg6"], "", id="empty-password"),
        pytest.param([ALICE, ALICE], None, id="two"),
        pytest.param([b"Basic b2F1dGg6d3Jvbmc="], None, id="wrong"),
        pytest.param([b"Basic ZmxveF9wYXRfYWxpY2U="], None, id="no-colon"),
        pytest.param([b"Basic b2F1dGg6ZmxveF9wYXRfYWxpY2U"], None, id="padding-missing"),
        pytest.param([b"Basic !!"], None, id="not-base64"),
        pytest.param([b"Basic /w=="], None, id="not-utf-8"),
        pytest.param([b"Bearer flox_pat_alice"], None, id="other-scheme"),
        pytest.param([b""], None, id="empty-header"),
    ],
)
def test_callers(path: Path, headers: list[bytes], handle: str | None) -> None:
    """A handle, an empty one for the anonymous, None for who is refused."""
    caller = read_caller(headers, tokens_of(path))
    assert (caller and (caller.holder.handle if caller.holder else "")) == handle


def test_without_a_file_every_token_is_refused() -> None:
    assert read_caller([ALICE], None) is None
    assert read_caller([], None) == Caller(None)
