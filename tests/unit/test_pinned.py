"""A generation as its image names it, and as an edited bundle keeps it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.bundle.pinned import ENVIRONMENT, GENERATION, LOCKFILE, MARK, PinnedGeneration
from shim_hooks.errors import Refused

DIGEST = str(Digest.of(b"lock"))
GOOD = {ENVIRONMENT: "acme/web", GENERATION: "12", LOCKFILE: DIGEST}
PINNED = PinnedGeneration(EnvironmentName.parse("acme/web"), 12, Digest.of(b"lock"))


def test_an_environment_image() -> None:
    assert PinnedGeneration.of_image({**GOOD, "PATH": "/bin", "FLOXBRIDGE_LATER": "x"}) == PINNED


def test_any_other_image() -> None:
    assert PinnedGeneration.of_image({"PATH": "/bin", "FLOXBRIDGE_LATER": "x"}) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({ENVIRONMENT: None}, "sets FLOXBRIDGE_GENERATION and not FLOXBRIDGE_ENVIRONMENT", id="no-name"),
        pytest.param({GENERATION: None}, "sets FLOXBRIDGE_ENVIRONMENT and not FLOXBRIDGE_GENERATION", id="no-number"),
        pytest.param({LOCKFILE: None}, "sets FLOXBRIDGE_ENVIRONMENT and not FLOXBRIDGE_LOCKFILE", id="no-lockfile"),
        pytest.param({ENVIRONMENT: "acme/web:3"}, "may hold only", id="name-with-number"),
        pytest.param({ENVIRONMENT: "../../etc"}, "want an environment", id="path"),
        pytest.param({GENERATION: "live"}, "want a generation number", id="word"),
        pytest.param({GENERATION: ""}, "want a generation number", id="empty-number"),
        pytest.param({GENERATION: "1:2"}, "may hold only", id="two-numbers"),
        pytest.param({LOCKFILE: "sha512:00"}, "want a digest", id="other-digest"),
    ],
)
def test_refuses_a_bad_image(changes: dict[str, str | None], words: str) -> None:
    variables = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(Refused) as refused:
        PinnedGeneration.of_image(variables)
    assert words in str(refused.value)


def test_a_mark_is_read_as_it_was_written() -> None:
    assert PinnedGeneration.of_mark({MARK: PINNED.to_mark()}) == PINNED
    assert PinnedGeneration.of_mark({}) is None


@given(st.text(max_size=20) | st.sampled_from(["a/b 1", f"a/b 1 {DIGEST} x", f"a/b  {DIGEST}", f"a/b 0 {DIGEST}"]))
def test_refuses_any_other_mark(text: str) -> None:
    with pytest.raises(Refused):
        PinnedGeneration.of_mark({MARK: text})


@given(st.dictionaries(st.sampled_from([ENVIRONMENT, GENERATION, LOCKFILE]), st.text(max_size=10)))
def test_any_variables_are_read_or_refused(variables: dict[str, str]) -> None:
    try:
        assert PinnedGeneration.of_image(variables) is None
    except Refused:
        assert variables
