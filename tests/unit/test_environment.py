import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.environment import (
    MAX_GENERATION,
    MAX_PART_LENGTH,
    EnvironmentName,
    EnvironmentRef,
    EnvironmentRefInvalid,
)
from tests.conftest import needs

LONGEST = "n" * MAX_PART_LENGTH


@pytest.mark.parametrize(
    ("text", "owner", "name", "generation"),
    [
        pytest.param("acme/web", "acme", "web", None, id="live"),
        pytest.param("acme/web:12", "acme", "web", 12, id="pinned"),
        pytest.param("acme/web:1", "acme", "web", 1, id="first"),
        pytest.param(f"acme/web:{MAX_GENERATION}", "acme", "web", MAX_GENERATION, id="largest"),
        pytest.param("Acme/Web", "Acme", "Web", None, id="case-kept"),
        pytest.param("flox/quotes-app:2", "flox", "quotes-app", 2, id="documented-example"),
        pytest.param("a.b_c-d/e.f_g-h", "a.b_c-d", "e.f_g-h", None, id="every-character"),
        pytest.param("_/_", "_", "_", None, id="underscore"),
        pytest.param("acme/HEAD", "acme", "HEAD", None, id="head"),
        pytest.param("acme/web.lockfile", "acme", "web.lockfile", None, id="lock-inside"),
        pytest.param(f"{LONGEST}/{LONGEST}", LONGEST, LONGEST, None, id="longest"),
    ],
)
def test_reads_and_prints(text: str, owner: str, name: str, generation: int | None) -> None:
    ref = EnvironmentRef.parse(text)
    assert ref == EnvironmentRef(EnvironmentName(owner, name), generation)
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("acme", id="no-slash"),
        pytest.param("acme/", id="no-name"),
        pytest.param("/web", id="no-owner"),
        pytest.param("acme/web/x", id="two-slashes"),
        pytest.param("acme/web:", id="empty-generation"),
        pytest.param("acme/web:0", id="zero"),
        pytest.param("acme/web:012", id="leading-zero"),
        pytest.param("acme/web:+1", id="plus"),
        pytest.param("acme/web:-1", id="minus"),
        pytest.param("acme/web:1.0", id="float"),
        pytest.param("acme/web:live", id="word"),
        pytest.param("acme/web:1:2", id="two-colons"),
        pytest.param("acme/web:١", id="other-digits"),  # Arabic-Indic one: int() would read it
        pytest.param(f"acme/web:{MAX_GENERATION + 1}", id="too-large"),
        pytest.param("acme/web:" + "9" * 100_000, id="huge"),
        pytest.param("acme/web:1\n", id="newline-after-number"),
        pytest.param("acme/web\n", id="newline"),
        pytest.param(" acme/web", id="space"),
        pytest.param("acme/.web", id="leading-dot"),
        pytest.param("acme/-web", id="leading-dash"),
        pytest.param("-acme/web", id="owner-leading-dash"),
        pytest.param("../web", id="owner-dots"),
        pytest.param("acme/..", id="name-dots"),
        pytest.param("acme/w..b", id="dots-inside"),
        pytest.param("acme/web.", id="trailing-dot"),
        pytest.param("acme/web.lock", id="lock"),
        pytest.param("acme/wéb", id="accent"),
        pytest.param("acme/we b", id="space-inside"),
        pytest.param("acme/we~b", id="tilde"),
        pytest.param("acme/we@{b", id="reflog"),
        pytest.param("acme/we\0b", id="nul"),
        pytest.param(f"acme/{LONGEST}x", id="long-name"),
        pytest.param(f"{LONGEST}x/web", id="long-owner"),
        pytest.param("x" * 1_000_000, id="long-text"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(EnvironmentRefInvalid) as caught:
        EnvironmentRef.parse(text)
    assert len(str(caught.value)) < 1000


def test_a_name_alone_has_no_generation() -> None:
    with pytest.raises(EnvironmentRefInvalid, match="letters, digits"):
        EnvironmentName.parse("acme/web:1")


def test_a_name_made_by_hand_is_checked_too() -> None:
    with pytest.raises(EnvironmentRefInvalid, match=r"owner '\.\.' may not begin"):
        EnvironmentName("..", "web")


def test_names_sort_by_owner_and_then_name() -> None:
    names = [EnvironmentName.parse(text) for text in ("b/a", "a/b", "a/a")]
    assert [str(name) for name in sorted(names)] == ["a/a", "a/b", "b/a"]


@given(st.text() | st.from_regex(r"[a-z.-]{0,9}/[a-z.-]{0,9}(:[0-9+]{0,12})?", fullmatch=True))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        ref = EnvironmentRef.parse(text)
    except EnvironmentRefInvalid:
        return
    assert str(ref) == text


def test_every_name_is_a_branch_that_git_takes() -> None:
    needs("git")
    git = shutil.which("git")
    for name in ("a.b_c-d", "web.lockfile", "_", "HEAD", "a.-b", LONGEST):
        EnvironmentName("acme", name)
        subprocess.run([str(git), "check-ref-format", f"refs/heads/{name}"], check=True, timeout=10)
