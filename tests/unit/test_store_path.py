import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.nix_base32 import ALPHABET
from flox_formats.store_path import StorePath, StorePathInvalid

HASH = "syd87l2rxw8cbsxmxl853h0r6pdwhwjr"

PATHS = st.builds(
    StorePath,
    st.text(ALPHABET, min_size=32, max_size=32),
    st.from_regex(r"[0-9A-Za-z+_?=][0-9A-Za-z+\-._?=]{0,40}", fullmatch=True),
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("curl-7.82.0-bin", id="ordinary"),
        pytest.param("x", id="one-letter"),
        pytest.param("0+-._?=", id="every-sign"),
        pytest.param(".config", id="leading-dot"),
        pytest.param("...", id="three-dots"),
        pytest.param("-", id="dash"),
        pytest.param("n" * 211, id="longest"),
    ],
)
def test_reads_and_prints(name: str) -> None:
    path = StorePath.parse(f"/nix/store/{HASH}-{name}")
    assert path == StorePath(HASH, name) == StorePath.from_base_name(path.base_name)
    assert str(path) == f"/nix/store/{HASH}-{name}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{HASH}-x", id="base-name-only"),
        pytest.param("/nix/store", id="store-only"),
        pytest.param(f"/nix/store/{HASH}", id="no-name"),
        pytest.param(f"/nix/store/{HASH}-", id="empty-name"),
        pytest.param(f"/nix/store/{HASH}-x/bin", id="file-below"),
        pytest.param(f"/nix/store/{HASH}-x/", id="trailing-slash"),
        pytest.param(f"/nix/store//{HASH}-x", id="two-slashes"),
        pytest.param(f"/gnu/store/{HASH}-x", id="other-store"),
        pytest.param(f"nix/store/{HASH}-x", id="relative"),
        pytest.param(f"/nix/store/{HASH[1:]}-x", id="short-hash"),
        pytest.param(f"/nix/store/{HASH}0-x", id="long-hash"),
        pytest.param(f"/nix/store/{HASH.upper()}-x", id="upper-case-hash"),
        pytest.param(f"/nix/store/e{HASH[1:]}-x", id="letter-outside-base32"),
        pytest.param(f"/nix/store/{HASH}-x y", id="space"),
        pytest.param(f"/nix/store/{HASH}-x\n", id="newline"),
        pytest.param(f"/nix/store/{HASH}-é", id="accent"),
        pytest.param(f"/nix/store/{HASH}-.", id="dot"),
        pytest.param(f"/nix/store/{HASH}-..", id="dots"),
        pytest.param(f"/nix/store/{HASH}-.-x", id="dot-dash"),
        pytest.param(f"/nix/store/{HASH}-..-x", id="dots-dash"),
        pytest.param(f"/nix/store/{HASH}-" + "n" * 212, id="long-name"),
        pytest.param("/nix/store/" * 1_000_000, id="long-text"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(StorePathInvalid, match="want a store path") as caught:
        StorePath.parse(text)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["", "x", f"/nix/store/{HASH}-x", f"{HASH}-x/..", f"{HASH}-..", f"../{HASH}-x"])
def test_refuses_as_base_name(text: str) -> None:
    with pytest.raises(StorePathInvalid):
        StorePath.from_base_name(text)


@given(st.lists(PATHS, max_size=10))
def test_sorts_as_the_text_does(paths: list[StorePath]) -> None:
    assert [str(path) for path in sorted(paths)] == sorted(map(str, paths))


@given(st.text() | st.from_regex(r"/nix/store/[0-9a-z]{31,33}-.{0,20}", fullmatch=True))
def test_any_text_is_a_store_path_or_refused(text: str) -> None:
    try:
        assert str(StorePath.parse(text)) == text
    except StorePathInvalid:
        return


def test_content_addressed_depends_on_name_content_and_references() -> None:
    """The values themselves are compared with Nix's in tests/interop."""
    content, reference = Digest.of(b"content"), StorePath(HASH, "libx")
    made = [
        StorePath.content_addressed("web", content),
        StorePath.content_addressed("web2", content),
        StorePath.content_addressed("web", Digest.of(b"other")),
        StorePath.content_addressed("web", content, [reference]),
        StorePath.content_addressed("web", content, [reference, StorePath(HASH, "liby")]),
    ]
    assert len({path.hash for path in made}) == len(made)


def test_content_addressed_does_not_depend_on_the_order_of_references() -> None:
    one, two = StorePath(HASH, "one"), StorePath(HASH, "two")
    content = Digest.of(b"content")
    assert StorePath.content_addressed("web", content, [one, two]) == StorePath.content_addressed(
        "web", content, [two, one, two]
    )


def test_content_addressed_refuses_a_name_that_is_none() -> None:
    with pytest.raises(StorePathInvalid):
        StorePath.content_addressed("../web", Digest.of(b""))
