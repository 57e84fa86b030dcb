import base64
import json
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from registry_proxy.endpoints.callers import Callers
from registry_proxy.floxhub.cluster_token import ClusterToken
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


def test_the_clusters_token_follows_its_file(tmp_path: Path) -> None:
    problems = list[str]()
    path = tmp_path / "token"
    now = 0.0
    cluster = ClusterToken(path, problem=problems.append, clock=lambda: now)

    def current() -> Credential:
        nonlocal now
        now += 2
        return anyio.run(cluster.current)

    assert current() is ANONYMOUS
    assert len(problems) == 1
    path.write_text("flox_pat_1\n")
    assert current() == Credential.of("flox_pat_1")
    path.write_text("flox_pat_22\n")
    assert current() == Credential.of("flox_pat_22")
    path.write_text("not a token")
    assert current() is ANONYMOUS
    path.unlink()
    assert current() is ANONYMOUS
    assert len(problems) == 2
    assert all("flox_pat" not in problem and "not a token" not in problem for problem in problems)
    path.write_text("flox_pat_1\n")
    assert current() == Credential.of("flox_pat_1")


def test_without_a_file_nobody_in_particular_asks() -> None:
    assert anyio.run(ClusterToken(None, problem=print).current) is ANONYMOUS
