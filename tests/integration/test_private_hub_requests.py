"""Requests to a hub with private environments, byte by byte: what each gives to whom."""

from collections.abc import Callable

import pytest

from tests.integration.private_hub_rig import (
    CREDENTIALS,
    PACK,
    Asked,
    Hub,
    Served,
    command,
    fetch,
    fetch_v0,
    info_refs,
    line,
    ls_refs,
)

# What becomes of a request without a token, with a good one that has no right, and with the right one.
HIDDEN = ("challenged", "without", "with")
LEFT_OUT = ("without", "without", "with")
OPEN = ("with", "with", "with")
NEVER = ("challenged", "without", "without")


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize(
    ("ask", "outcomes"),
    [
        pytest.param(info_refs("secret", "acme", "version=2"), ("without", "without", "without"), id="info-refs-v2"),
        pytest.param(info_refs("secret", "acme", ""), LEFT_OUT, id="info-refs-v0"),
        pytest.param(info_refs("secret", "acme", "version=1"), LEFT_OUT, id="info-refs-v1"),
        pytest.param(info_refs("only", "vault", "version=2"), ("challenged", "without", "without"), id="vault-v2"),
        pytest.param(info_refs("only", "vault", ""), HIDDEN, id="vault-v0"),
        pytest.param(ls_refs(), LEFT_OUT, id="list-all"),
        pytest.param(ls_refs("refs/heads/"), LEFT_OUT, id="list-heads"),
        pytest.param(ls_refs("refs/"), LEFT_OUT, id="list-refs"),
        pytest.param(ls_refs("refs/heads/web"), ("without", "without", "without"), id="list-public"),
        pytest.param(ls_refs("secret", "refs/heads/secret"), HIDDEN, id="list-private"),
        pytest.param(ls_refs("refs/heads/web", "refs/heads/secret"), HIDDEN, id="list-private-and-public"),
        pytest.param(ls_refs("refs/heads/sec"), HIDDEN, id="list-what-begins-so"),
        pytest.param(ls_refs("refs/heads/none"), NEVER, id="list-missing-as-if-private"),
        pytest.param(fetch("secret"), HIDDEN, id="fetch-private-tip"),
        pytest.param(fetch("secret", "deepen 1"), HIDDEN, id="fetch-private-tip-depth-1"),
        pytest.param(fetch("secret~1"), HIDDEN, id="fetch-private-ancestor"),
        pytest.param(fetch("secret", packed=True), HIDDEN, id="fetch-private-tip-gzip"),
        pytest.param(fetch("only", owner="vault"), HIDDEN, id="fetch-where-all-is-private"),
        pytest.param(fetch("secret:2/env/manifest.toml"), HIDDEN, id="fetch-private-file"),
        pytest.param(fetch("secret^{tree}"), HIDDEN, id="fetch-private-tree"),
        pytest.param(fetch_v0("secret"), HIDDEN, id="fetch-private-tip-v0"),
        pytest.param(fetch_v0("only", "vault"), HIDDEN, id="fetch-where-all-is-private-v0"),
        pytest.param(fetch("web"), OPEN, id="fetch-public-tip"),
        pytest.param(fetch("web~2"), OPEN, id="fetch-public-ancestor"),
        pytest.param(fetch("web", packed=True), OPEN, id="fetch-public-tip-gzip"),
        pytest.param(fetch_v0("web"), OPEN, id="fetch-public-tip-v0"),
        pytest.param(fetch("web", "deepen-not refs/heads/none"), NEVER, id="fetch-but-not-a-missing-branch"),
        pytest.param(fetch("web", "want-ref refs/heads/secret"), NEVER, id="fetch-by-name-is-not-offered"),
        pytest.param(
            lambda hub: Asked(command("fetch", f"want {'1' * 40}", "done"), PACK), NEVER, id="fetch-what-is-not-there"
        ),
    ],
)
def test_requests(served: Served, credential: str, ask: Callable[[Hub], Asked], outcomes: tuple[str, str, str]) -> None:
    """A token that is not accepted is challenged whatever is asked; else somebody could think that it was."""
    asked, token = ask(served.hub), CREDENTIALS[credential]
    answer = asked.send(served, token)
    wanted = dict(zip(("no", "foreign", "right"), outcomes, strict=True)).get(credential, "challenged")
    if wanted == "challenged":
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
    else:
        assert answer.status_code == 200
    assert (asked.revealed.encode() in answer.content) is (wanted == "with")
    assert token is None or token not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"garbage", 400, id="garbage"),
        pytest.param(line("want " + "A" * 40), 400, id="upper-case"),
        pytest.param(b"0000" * 1_048_577, 413, id="too-large"),
        pytest.param(b"0000", 200, id="probe"),
        pytest.param(b"", 200, id="empty"),
    ],
)
def test_what_is_no_request_is_refused(served: Served, body: bytes, status: int) -> None:
    answer = Asked(body, "").send(served, None)
    assert answer.status_code == status


def test_what_a_caller_says_to_have_tells_nothing(served: Served) -> None:
    """Git answers which commits it has, and leaves out what they have of what is wanted."""

    def acknowledged(have: str, credential: str) -> bytes:
        """The answer as far as it does not depend on how fast git was."""
        want = f"want {served.hub.commit('web')}"
        asked = Asked(command("fetch", want, f"have {have}"), "")
        head, found, _ = asked.send(served, CREDENTIALS[credential]).content.partition(b"0000")
        assert found
        return head

    secret, public, nothing = served.hub.commit("secret"), served.hub.commit("web~1"), "1" * 40
    for credential in ("no", "foreign"):
        assert acknowledged(secret, credential) == acknowledged(nothing, credential)
        assert b"NAK" in acknowledged(secret, credential)
        assert f"ACK {public}".encode() in acknowledged(public, credential)
    assert f"ACK {secret}".encode() in acknowledged(secret, "right")
