import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest, DigestInvalid
from flox_formats.nix_base32 import ALPHABET, NixBase32Invalid, decode, encode

EMPTY_HEX = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_BASE32 = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"


def test_the_digest_of_nothing_in_each_spelling() -> None:
    digest = Digest.of(b"")
    assert str(digest) == f"sha256:{EMPTY_HEX}"
    assert digest.to_nix() == f"sha256:{EMPTY_BASE32}"
    assert digest == Digest.parse(f"sha256:{EMPTY_HEX}")
    assert digest == Digest.parse_nix(f"sha256:{EMPTY_BASE32}") == Digest.parse_nix(f"sha256:{EMPTY_HEX}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("sha256:", id="no-value"),
        pytest.param(EMPTY_HEX, id="no-algorithm"),
        pytest.param(f"sha512:{EMPTY_HEX}", id="other-algorithm"),
        pytest.param(f"SHA256:{EMPTY_HEX}", id="upper-case-algorithm"),
        pytest.param(f"sha256:{EMPTY_HEX.upper()}", id="upper-case"),
        pytest.param(f"sha256:{EMPTY_HEX[:-1]}", id="short"),
        pytest.param(f"sha256:{EMPTY_HEX}0", id="long"),
        pytest.param(f"sha256:{EMPTY_HEX}\n", id="newline"),
        pytest.param(f"sha256:{EMPTY_HEX[:-1]}/", id="slash"),
        pytest.param(f"sha256:{EMPTY_BASE32}", id="nix-spelling"),
        pytest.param("sha256:" + "0" * 1_000_000, id="long-text"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(f"md5:{EMPTY_BASE32}", id="other-algorithm"),
        pytest.param(f"sha256:{EMPTY_BASE32[:-1]}", id="short"),
        pytest.param(f"sha256:{EMPTY_BASE32[:-1]}e", id="letter-outside-base32"),
        pytest.param(f"sha256:z{EMPTY_BASE32[1:]}", id="bits-beyond-the-last-byte"),
        pytest.param("sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", id="sri"),
        pytest.param("sha256:" + "0" * 1_000_000, id="long-text"),
    ],
)
def test_refuses_as_nix_spelling(text: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse_nix(text)
    assert len(str(caught.value)) < 300


@given(st.binary())
def test_both_spellings_round_trip(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.parse(str(digest)) == Digest.parse_nix(digest.to_nix()) == digest


@given(st.text() | st.from_regex(r"sha256:[0-9a-z]{51,65}", fullmatch=True))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse_nix(text)
    except DigestInvalid:
        return
    assert text in (str(digest), digest.to_nix())


@given(st.binary(max_size=100))
def test_base32_round_trips(data: bytes) -> None:
    assert decode(encode(data)) == data


@given(st.text(max_size=60) | st.text(ALPHABET, max_size=60))
def test_base32_has_one_spelling_or_is_refused(text: str) -> None:
    try:
        data = decode(text)
    except NixBase32Invalid:
        return
    assert encode(data) == text
