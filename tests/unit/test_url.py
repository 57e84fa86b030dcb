"""URLs of other programs, and what of them may be seen."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.settings import SettingsInvalid
from flox_formats.url import HttpUrl, place_of, shown_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        pytest.param("http://host", HttpUrl("http://host"), id="host"),
        pytest.param("https://host:8443/a/b/", HttpUrl("https://host:8443/a/b"), id="port-and-path"),
        pytest.param("http://[::1]:5000", HttpUrl("http://[::1]:5000"), id="ipv6"),
        pytest.param("http://10.0.0.1", HttpUrl("http://10.0.0.1"), id="ipv4"),
        pytest.param("https://me:secret@host/a", HttpUrl("https://host/a", ("me", "secret")), id="password"),
        pytest.param("https://me:p@ss@host/a", HttpUrl("https://host/a", ("me", "p@ss")), id="at-in-a-password"),
        pytest.param("https://me:p%40%2Fss@host", HttpUrl("https://host", ("me", "p@/ss")), id="escaped-password"),
        pytest.param("https://token@host", HttpUrl("https://host", ("token", "")), id="user-alone"),
        pytest.param("https://host/a?k=v&w=x", HttpUrl("https://host/a", None, "k=v&w=x"), id="query"),
        pytest.param("https://host/a@b", HttpUrl("https://host/a@b"), id="at-in-a-path"),
    ],
)
def test_reads(text: str, url: HttpUrl) -> None:
    assert HttpUrl.parse(text) == url


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("host", id="no-scheme"),
        pytest.param("ftp://host", id="another-scheme"),
        pytest.param("http://", id="no-host"),
        pytest.param("http://[::1", id="half-a-bracket"),
        pytest.param("http://[::z]", id="no-address-in-brackets"),
        pytest.param("http://999.1.1.1", id="no-ipv4"),
        pytest.param("http://h:99999", id="port-too-large"),
        pytest.param("http://h:0", id="port-zero"),
        pytest.param("http://h:0x1", id="port-in-another-base"),
        pytest.param("http://h/a#b", id="fragment"),
        pytest.param("http://h ost", id="space"),
        pytest.param("http://h\n/", id="newline"),
        pytest.param("http://me:s3cret@", id="password-without-host"),
        pytest.param("http://me:s3c?ret@host", id="password-with-a-question-mark"),
        pytest.param("http://me:s3c/ret@host", id="password-with-a-slash"),
        pytest.param("http://me:s3c#ret@host", id="password-with-a-hash"),
        pytest.param("ftp://me:s3c@ret@host?s3cret", id="password-for-another-scheme"),
    ],
)
def test_refuses_and_repeats_no_secret(text: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        HttpUrl.parse(text)
    assert "s3c" not in str(refused.value)
    assert "ret@" not in str(refused.value)


@pytest.mark.parametrize("text", ["http://me:s3cret@host/a", "http://me@host", "http://host?s3cret=1"])
def test_a_bare_url_is_nothing_but_a_place(text: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"host.*tokens go in a file") as refused:
        HttpUrl.parse_bare(text, instead="tokens go in a file")
    assert "s3cret" not in str(refused.value)
    assert HttpUrl.parse_bare("http://host/a/", instead="").place == "http://host/a"


def test_how_it_prints_shows_the_place_alone() -> None:
    assert repr(HttpUrl.parse("http://me:s3cret@host/a?s3cret=1")) == "HttpUrl(place='http://host/a')"


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://u:{text}@h/x", f"http://h:{text}"):
        with suppress(SettingsInvalid):
            HttpUrl.parse(candidate)


@given(password=st.from_regex(r"[^/?#\s]{3,20}", fullmatch=True), query=st.from_regex(r"[!-~]{3,9}", fullmatch=True))
def test_no_secret_is_in_what_may_be_shown(password: str, query: str) -> None:
    url = f"https://me:{password}@host/nix?{query}"
    assert place_of(url) == "https://host/nix"
    assert shown_url(url) == "https://***@host/nix?***"
