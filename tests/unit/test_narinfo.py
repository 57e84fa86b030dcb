import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.narinfo import (
    MAX_BYTES,
    Compression,
    NarInfo,
    NarInfoInvalid,
    PathUntrusted,
    path_fingerprint,
    verify_path,
)
from flox_formats.signature import PublicKey, SecretKey, Signature, TrustedKeys
from flox_formats.store_path import StorePath

# As https://cache.nixos.org serves it, signature included.
CURL = b"""\
StorePath: /nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin
URL: nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz
Compression: xz
FileHash: sha256:05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56
FileSize: 68852
NarHash: sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0
NarSize: 196040
References: 0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0 6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc-2.34-115 \
j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12 yxvjs9drzsphm9pcf42a4byzj1kb9m7k-openssl-1.1.1n
Deriver: 5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv
Sig: cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==
"""
PUBLIC_CACHE = TrustedKeys([PublicKey.parse("cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=")])
CURL_PATH = "/nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin"
ZLIB = "j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12"


def edited(key: str, line: str | None) -> bytes:
    """The narinfo above with another line, or none, for `key`; with one more, if it has no such key."""
    lines = CURL.decode().splitlines(keepends=True)
    kept = [old for old in lines if not old.startswith(f"{key}:")]
    return "".join([*kept, *([] if line is None else [line + "\n"])]).encode()


def verify(info: NarInfo, trusted: TrustedKeys) -> None:
    verify_path(
        info.store_path,
        info.nar_hash,
        info.nar_size,
        info.references,
        info.signatures,
        info.content_address,
        trusted,
    )


def test_reads_the_public_caches_narinfo() -> None:
    info = NarInfo.parse(CURL)
    assert str(info.store_path) == CURL_PATH
    assert info.url == "nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz"
    assert (info.compression, info.file_size, info.nar_size) == (Compression.XZ, 68852, 196040)
    assert info.file_hash == Digest.parse_nix("sha256:05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56")
    assert [path.name for path in info.references] == ["curl-7.82.0", "glibc-2.34-115", "zlib-1.2.12", "openssl-1.1.1n"]
    assert info.deriver == "5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv"
    assert [signature.key_name for signature in info.signatures] == ["cache.nixos.org-1"]
    assert info.to_bytes() == CURL


def test_believes_the_public_caches_signature() -> None:
    verify(NarInfo.parse(CURL), PUBLIC_CACHE)


@pytest.mark.parametrize(
    ("key", "line", "field", "value"),
    [
        pytest.param("Compression", None, "compression", Compression.BZIP2, id="no-compression-is-bzip2"),
        pytest.param("Compression", "Compression: ", "compression", Compression.BZIP2, id="empty-compression-is-bzip2"),
        pytest.param("Compression", "Compression: zstd", "compression", Compression.ZSTD, id="zstd"),
        pytest.param("Compression", "Compression: none", "compression", Compression.NONE, id="uncompressed"),
        pytest.param("FileHash", None, "file_hash", None, id="no-file-hash"),
        pytest.param("FileSize", None, "file_size", None, id="no-file-size"),
        pytest.param("References", None, "references", (), id="no-references"),
        pytest.param("References", "References: ", "references", (), id="empty-references"),
        pytest.param("References", "References:", "references", (), id="empty-references-without-space"),
        pytest.param(
            "References", f"References: {ZLIB} {ZLIB}", "references", (StorePath.from_base_name(ZLIB),), id="repeated"
        ),
        pytest.param("Deriver", None, "deriver", None, id="no-deriver"),
        pytest.param("Deriver", "Deriver: unknown-deriver", "deriver", None, id="unknown-deriver"),
        pytest.param("Sig", None, "signatures", (), id="no-signature"),
        pytest.param("CA", "CA: fixed:r:sha256:0", "content_address", "fixed:r:sha256:0", id="content-address"),
        pytest.param("System", "System: x86_64-linux", "nar_size", 196040, id="unknown-key"),
        pytest.param("URL", "URL: nar/a.nar?hash=b", "url", "nar/a.nar?hash=b", id="url-with-query"),
        pytest.param("URL", "URL: a..b.nar", "url", "a..b.nar", id="url-with-dots-in-a-name"),
        pytest.param("NarSize", "NarSize: 4096", "nar_size", 4096, id="small"),
    ],
)
def test_reads_what_caches_vary(key: str, line: str | None, field: str, value: object) -> None:
    info = NarInfo.parse(edited(key, line))
    assert getattr(info, field) == value
    assert NarInfo.parse(info.to_bytes()) == info


@pytest.mark.parametrize(
    ("key", "line", "problem"),
    [
        pytest.param("URL", None, "URL missing", id="no-url"),
        pytest.param("NarHash", None, "NarHash missing", id="no-nar-hash"),
        pytest.param("NarSize", None, "NarSize missing", id="no-nar-size"),
        pytest.param("NarSize", "NarSize: 0", "0 is not the size of a NAR", id="no-bytes"),
        pytest.param("NarSize", "NarSize: -1", "want a number of bytes, got '-1'", id="negative-size"),
        pytest.param("NarSize", "NarSize: 1e3", "want a number of bytes", id="float-size"),
        pytest.param("NarSize", "NarSize: " + "9" * 5000, "want a number of bytes", id="huge-size"),
        pytest.param(
            "FileSize", "FileSize: 999999", "FileSize is 999999, too much for a NarSize of 196040", id="grown"
        ),
        pytest.param("NarHash", "NarHash: sha256:0", "NarHash: want a digest", id="bad-hash"),
        pytest.param("NarHash", "NarHash: md5:0", "NarHash: want a hash sha256", id="other-hash"),
        pytest.param(
            "Compression", "Compression: br", "want one of none, xz, zstd, bzip2, gzip, got 'br'", id="brotli"
        ),
        pytest.param("Compression", "Compression: XZ", "want one of none, xz", id="upper-case"),
        pytest.param("References", f"References: /nix/store/{ZLIB}", "References: want the last part", id="full-path"),
        pytest.param("Sig", "Sig: acme", "Sig: want a signature", id="bad-signature"),
        pytest.param("URL", "URL: ", "URL: want a path below the cache", id="empty-url"),
        pytest.param("URL", "URL: https://evil.example/a.nar", "URL: want a path below", id="other-host"),
        pytest.param("URL", "URL: file:a.nar", "URL: want a path below", id="scheme"),
        pytest.param("URL", "URL: //evil.example/a.nar", "URL: want a path below", id="other-host-without-scheme"),
        pytest.param("URL", "URL: /etc/passwd", "URL: want a path below", id="absolute"),
        pytest.param("URL", "URL: nar/../../a", "URL: want a path below", id="up"),
        pytest.param("URL", "URL: ..", "URL: want a path below", id="only-up"),
        pytest.param("URL", "URL: nar/%2e%2E/a", "URL: want a path below", id="up-escaped"),
        pytest.param("URL", "URL: nar/..%2fa", "URL: want a path below", id="up-slash-escaped"),
        pytest.param("URL", "URL: nar\\..\\a", "URL: want a path below", id="backslash"),
        pytest.param("URL", "URL: %2fetc/passwd", "URL: want a path below", id="absolute-escaped"),
        pytest.param("URL", "URL: nar/a b", "URL: want a path below", id="space"),
        pytest.param("URL", "URL: nar/a\r", "URL: want a path below", id="carriage-return"),
        pytest.param("Extra", "no colon", "want lines 'Key: value', got 'no colon'", id="no-colon"),
        pytest.param("Extra", "", "want lines 'Key: value', got ''", id="blank-line"),
        pytest.param("Extra", "NarSize: 196040", "NarSize is there twice", id="twice"),
    ],
)
def test_refuses_and_names_the_store_path(key: str, line: str | None, problem: str) -> None:
    with pytest.raises(NarInfoInvalid) as caught:
        NarInfo.parse(edited(key, line))
    assert str(caught.value).startswith(f"narinfo of {CURL_PATH}: ")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "cut off", id="empty"),
        pytest.param(CURL[:-1], "cut off", id="no-last-newline"),
        pytest.param(b"A: b\n", "StorePath, URL, NarHash, NarSize missing", id="every-key-missing"),
        pytest.param(edited("StorePath", None), "StorePath missing", id="no-store-path"),
        pytest.param(b"<html>\n", "want lines 'Key: value'", id="html"),
        pytest.param(b"StorePath: \xff\n", "not UTF-8", id="not-utf-8"),
        pytest.param(b"A: b\n" * MAX_BYTES, "more than the 1048576", id="too-large"),
        pytest.param(CURL + CURL.splitlines(keepends=True)[-1] * 100, "101 signatures, more than the 100", id="signed"),
    ],
)
def test_refuses(data: bytes, problem: str) -> None:
    with pytest.raises(NarInfoInvalid, match=problem):
        NarInfo.parse(data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_narinfo_or_refused(data: bytes) -> None:
    for candidate in (data, data + b"\n", CURL + data + b"\n"):
        try:
            info = NarInfo.parse(candidate)
        except NarInfoInvalid:
            continue
        assert NarInfo.parse(info.to_bytes()) == info


@given(st.integers(0, len(CURL) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_narinfo_is_refused_or_not_believed_differently(place: int, inserted: bytes, removed: int) -> None:
    """Whatever still passes the signature says the same of the content as the true one."""
    try:
        info = NarInfo.parse(CURL[:place] + inserted + CURL[place + removed :])
        verify(info, PUBLIC_CACHE)
    except (NarInfoInvalid, PathUntrusted):
        return
    assert info.fingerprint() == NarInfo.parse(CURL).fingerprint()


ACME, OTHER = SecretKey.generate("acme-1"), SecretKey.generate("other-1")
CONTENT = Digest.of(b"a NAR")
LIBX = StorePath(hash="0" * 32, name="libx")
ADDRESSED = StorePath.content_addressed("web", CONTENT, [LIBX])
ADDRESS = f"fixed:r:{CONTENT.to_nix()}"


def word(key: SecretKey, **changed: object) -> Signature:
    """`key`'s signature on `LIBX`, or on something else."""
    said = {"store_path": LIBX, "nar_hash": CONTENT, "nar_size": 5, "references": (LIBX,), **changed}
    return key.sign(path_fingerprint(**said))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signatures", "problem"),
    [
        pytest.param([], "without any signature, but trusted are acme-1", id="unsigned"),
        pytest.param([word(OTHER)], "signed by other-1, but trusted are acme-1", id="unknown-key"),
        pytest.param([word(ACME, nar_size=6)], "the signature by acme-1 does not match", id="other-size"),
        pytest.param([word(ACME, nar_hash=Digest.of(b""))], "the signature by acme-1 does not match", id="other-hash"),
        pytest.param([word(ACME, references=())], "the signature by acme-1 does not match", id="other-references"),
        pytest.param([word(ACME, store_path=ADDRESSED)], "the signature by acme-1 does not match", id="other-path"),
    ],
)
def test_does_not_believe(signatures: list[Signature], problem: str) -> None:
    with pytest.raises(PathUntrusted) as caught:
        verify_path(LIBX, CONTENT, 5, [LIBX], signatures, None, TrustedKeys([ACME.public]))
    assert str(caught.value).startswith(f"{LIBX}: {problem}")


def test_says_when_no_key_is_trusted() -> None:
    with pytest.raises(PathUntrusted, match="signed by acme-1, but no key is trusted"):
        verify_path(LIBX, CONTENT, 5, [LIBX], [word(ACME)], None, TrustedKeys([]))


def test_believes_one_trusted_signature_among_others() -> None:
    verify_path(LIBX, CONTENT, 5, [LIBX], [word(OTHER), word(ACME)], None, TrustedKeys([ACME.public]))


def test_believes_a_content_address_without_any_key() -> None:
    verify_path(ADDRESSED, CONTENT, 5, [LIBX], [], ADDRESS, TrustedKeys([]))


@pytest.mark.parametrize(
    ("path", "nar_hash", "references", "address"),
    [
        pytest.param(ADDRESSED, Digest.of(b"other"), [LIBX], ADDRESS, id="other-content"),
        pytest.param(ADDRESSED, Digest.of(b""), [LIBX], f"fixed:r:{Digest.of(b'').to_nix()}", id="other-address"),
        pytest.param(ADDRESSED, CONTENT, [], ADDRESS, id="other-references"),
        pytest.param(LIBX, CONTENT, [LIBX], ADDRESS, id="other-path"),
        pytest.param(ADDRESSED, CONTENT, [LIBX], None, id="no-address"),
        pytest.param(ADDRESSED, CONTENT, [LIBX], f"text:{CONTENT.to_nix()}", id="text-address"),
        pytest.param(ADDRESSED, CONTENT, [LIBX], f"fixed:{CONTENT.to_nix()}", id="flat-address"),
    ],
)
def test_does_not_believe_an_address_that_gives_another_path(
    path: StorePath, nar_hash: Digest, references: list[StorePath], address: str | None
) -> None:
    with pytest.raises(PathUntrusted, match="without any signature"):
        verify_path(path, nar_hash, 5, references, [], address, TrustedKeys([]))


def test_an_address_that_proves_nothing_does_not_spoil_a_signature() -> None:
    verify_path(LIBX, CONTENT, 5, [LIBX], [word(ACME)], "text:sha256:0", TrustedKeys([ACME.public]))
