import asyncio
import base64
import json
import queue
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from registry_proxy.endpoints.callers import Callers
from registry_proxy.floxhub.cluster_token import ClusterToken, TokenEvents
from registry_proxy.floxhub.credential import (
    ANONYMOUS,
    Credential,
    TokenMalformed,
    expires_at,
    is_floxhub_token,
)

CLUSTER = Credential.of("flox_pat_cluster")


def jwt(**claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims)]
    return ".".join([*parts, "signature"])


HANDLE = jwt(**{"https://flox.dev/handle": "alice", "exp": 1772438400})


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Cluster:
    async def current(self) -> Credential:
        return CLUSTER

    def at_hand(self) -> Credential | None:
        return CLUSTER


def asked_as(authorization: str | None) -> Credential:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": headers})
    return anyio.run(Callers(Cluster()).credential, request)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        pytest.param(basic("oauth", "flox_pat_1"), "flox_pat_1", id="as-git-sends-it"),
        pytest.param(basic("floxhub", HANDLE), HANDLE, id="floxhub-and-a-jwt"),
        pytest.param("Bearer flox_pat_1", "flox_pat_1", id="bearer"),
        pytest.param(f"bearer {HANDLE}", HANDLE, id="bearer-with-a-handle"),
        pytest.param(
            "Bearer " + jwt(iss="https://auth.flox.dev/"), jwt(iss="https://auth.flox.dev/"), id="machine-token"
        ),
    ],
)
def test_tokens_for_floxhub_are_passed_on(authorization: str, token: str) -> None:
    assert asked_as(authorization).token == token


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param(basic("alice", "hunter2"), id="docker-hub-password"),
        pytest.param("Bearer " + jwt(iss="auth.docker.io", sub="alice"), id="docker-hub-token"),
        pytest.param("Bearer abc", id="opaque-token-of-somebody"),
        pytest.param(basic("oauth", ""), id="empty-password"),
        pytest.param(basic("oauth", "two words"), id="not-a-token"),
        pytest.param(basic("oauth", "x" * 9000), id="too-long"),
        pytest.param("Basic %%%", id="not-base64"),
        pytest.param("Digest username=oauth", id="another-scheme"),
    ],
)
def test_other_secrets_are_nobodys_business(authorization: str | None) -> None:
    assert asked_as(authorization) == CLUSTER


@given(st.text(max_size=200))
def test_any_header_is_read(header: str) -> None:
    encoded = header.encode("latin-1", "ignore").decode("latin-1")
    assert asked_as(encoded).viewer


def test_a_credential_never_shows_its_token() -> None:
    credential = Credential.of("flox_pat_secret")
    assert "secret" not in repr(credential) + str(credential) + credential.viewer
    assert credential.viewer != ANONYMOUS.viewer
    with pytest.raises(TokenMalformed) as refused:
        Credential.of("flox pat secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("token", "expiry"),
    [
        pytest.param(HANDLE, 1772438400, id="jwt"),
        pytest.param("flox_pat_1", None, id="opaque"),
        pytest.param(jwt(exp="soon"), None, id="not-a-number"),
        pytest.param("a.b.c", None, id="not-a-jwt"),
        pytest.param("a.W10.c", None, id="claims-are-a-list"),
        pytest.param("a." + "[" * 4000 + ".c", None, id="garbage"),
    ],
)
def test_expiry(token: str, expiry: int | None) -> None:
    assert expires_at(token) == expiry


def test_floxhub_tokens_are_told_from_others() -> None:
    assert is_floxhub_token("flox_anything")
    assert is_floxhub_token(HANDLE)
    assert not is_floxhub_token(jwt(iss="https://flox.dev.evil.example/"))
    assert not is_floxhub_token(jwt(iss="https://notflox.dev"))


class World:
    """A token file, the clocks, and what was said."""

    def __init__(self, path: Path | None) -> None:
        self.now, self.unusable, self.expiring = 1772000000.0, list[str](), list[str]()
        events = TokenEvents(self.unusable.append, self.expiring.append)
        self.token = ClusterToken(path, events, calendar=lambda: self.now)

    def current(self) -> Credential:
        self.token.look_again()
        return anyio.run(self.token.current)


def test_the_clusters_token_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    world = World(path)
    assert [world.current(), world.current()] == [ANONYMOUS, ANONYMOUS]
    assert len(world.unusable) == 1
    path.write_text("flox_pat_1\n")
    assert world.current() == Credential.of("flox_pat_1")
    path.write_text("flox_pat_22\n")
    assert world.current() == Credential.of("flox_pat_22")
    path.write_text("not a token")
    assert world.current() is ANONYMOUS
    path.unlink()
    assert world.current() is ANONYMOUS
    assert len(world.unusable) == 2
    assert all("flox_pat" not in sentence and "not a token" not in sentence for sentence in world.unusable)
    path.write_text("flox_pat_1\n")
    assert world.current() == Credential.of("flox_pat_1")


def test_a_token_is_at_hand_once_its_file_was_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("flox_pat_1")
    token = World(tmp_path / "token").token
    assert token.at_hand() is None
    assert anyio.run(token.current) == token.at_hand() == Credential.of("flox_pat_1")


def test_whoever_comes_first_has_the_token_and_so_have_those_who_come_with_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("flox_pat_1")
    (tmp_path / "no-token").write_text("no token")
    world, without = World(tmp_path / "token"), World(tmp_path / "no-token")

    async def together() -> list[Credential]:
        return await asyncio.gather(*(world.token.current() for _ in range(20)))

    async def together_without() -> list[Credential]:
        return await asyncio.gather(*(without.token.current() for _ in range(20)))

    assert anyio.run(together) == [Credential.of("flox_pat_1")] * 20
    assert anyio.run(together_without) == [ANONYMOUS] * 20
    assert len(without.unusable) == 1


def test_the_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("flox_pat_1")
    said = queue.SimpleQueue[str]()
    token = ClusterToken(path, TokenEvents(said.put, print))

    async def follow() -> None:
        assert (await token.current()).token == "flox_pat_1"
        following = asyncio.create_task(token.follow())
        path.unlink()
        await anyio.to_thread.run_sync(lambda: said.get(timeout=20))
        following.cancel()

    anyio.run(follow)
    assert token.at_hand() is ANONYMOUS


def test_expiry_is_told_a_week_ahead_and_daily(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(HANDLE)  # expires at 1772438400, five days from now
    world = World(path)
    world.now -= 7 * 24 * 3600
    assert world.current().token == HANDLE
    assert (world.token.expires_at, world.expiring) == (1772438400, [])
    world.now += 7 * 24 * 3600
    for _ in range(3):
        world.current()
    assert len(world.expiring) == 1
    world.now += 24 * 3600
    world.current()
    assert len(world.expiring) == 2
    assert "expires at 2026-03-02 08:00 UTC" in world.expiring[0]
    world.now = 1772438401
    assert world.current().token == HANDLE, "an expired token is still sent, so that FloxHub can say who it was"
    assert "expired at" in world.expiring[-1]
    path.write_text("flox_pat_new")
    world.current()
    assert (world.token.expires_at, len(world.expiring)) == (0, 3)


def test_without_a_file_nobody_in_particular_asks() -> None:
    world = World(None)
    assert (world.current(), world.token.at_hand(), world.unusable) == (ANONYMOUS, ANONYMOUS, [])
