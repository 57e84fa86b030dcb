import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.signature import PublicKey, SecretKey, Signature, SignatureInvalid, TrustedKeys

# RFC 8032, section 7.1, test 1: an empty message.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNED = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
    "655141438e7a100b"
)
CACHE_NIXOS_ORG = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
BASE64_32 = "6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="


def test_the_rfcs_example() -> None:
    key = SecretKey("rfc", SEED)
    assert key.public == PublicKey("rfc", PUBLIC)
    assert key.sign(b"") == Signature("rfc", SIGNED)
    assert key.public.made(Signature("rfc", SIGNED), b"")


def test_reads_and_prints_a_public_key() -> None:
    key = PublicKey.parse(CACHE_NIXOS_ORG)
    assert (key.name, len(key.data)) == ("cache.nixos.org-1", 32)
    assert str(key) == CACHE_NIXOS_ORG


def test_keys_and_signatures_round_trip() -> None:
    key = SecretKey.generate("acme-1")
    signature = key.sign(b"message")
    assert SecretKey.parse(f"{key}\n") == key
    assert PublicKey.parse(str(key.public)) == key.public
    assert Signature.parse(str(signature)) == signature


def test_a_secret_key_does_not_show_itself() -> None:
    key = SecretKey.generate("acme-1")
    assert repr(key) == "SecretKey(name='acme-1')"
    with pytest.raises(SignatureInvalid) as caught:
        SecretKey.parse(f"{str(key)[:-4]}!!!!")
    assert str(key)[10:30] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(BASE64_32, id="no-name"),
        pytest.param(f":{BASE64_32}", id="empty-name"),
        pytest.param("acme:", id="no-data"),
        pytest.param("acme:====", id="only-padding"),
        pytest.param(f"ac me:{BASE64_32}", id="space-in-name"),
        pytest.param(f"a:b:{BASE64_32}", id="colon-in-name"),
        pytest.param(f"acme:{BASE64_32[:-1]}", id="no-padding"),
        pytest.param(f"acme:{BASE64_32[:-2]}Z=", id="bits-beyond-the-last-byte"),
        pytest.param(f"acme:{BASE64_32}\n", id="newline"),
        pytest.param(f"acme: {BASE64_32}", id="space"),
        pytest.param("acme:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShj-_", id="url-alphabet"),
        pytest.param("acme:" + "A" * 1_000_000, id="long-text"),
    ],
)
def test_refuses(text: str) -> None:
    for parse in (PublicKey.parse, Signature.parse):
        with pytest.raises(SignatureInvalid, match="<key name>:<base64>") as caught:
            parse(text)
        assert len(str(caught.value)) < 500


def test_refuses_keys_of_another_size() -> None:
    with pytest.raises(SignatureInvalid, match="public key 'acme': want 32 bytes of ed25519, got 3"):
        PublicKey.parse("acme:AAAA")
    with pytest.raises(SignatureInvalid, match="secret key 'acme': want 64 bytes of ed25519, got 32"):
        SecretKey.parse(f"acme:{BASE64_32}")


def test_refuses_a_secret_key_of_two_halves() -> None:
    mixed = SecretKey("acme", SEED)
    text = str(Signature("acme", SEED + SecretKey.generate("acme").public.data))
    assert str(mixed) != text
    with pytest.raises(SignatureInvalid, match="halves do not belong together"):
        SecretKey.parse(text)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "é", "x" * 256])
def test_refuses_to_generate_under_a_name_that_is_none(name: str) -> None:
    with pytest.raises(SignatureInvalid):
        SecretKey.generate(name)


ACME, OTHER = SecretKey.generate("acme"), SecretKey.generate("other")
IMPOSTOR = SecretKey.generate("acme")


@pytest.mark.parametrize(
    ("signatures", "believed"),
    [
        pytest.param([ACME.sign(b"word")], True, id="trusted"),
        pytest.param([OTHER.sign(b"word"), ACME.sign(b"word")], True, id="trusted-among-others"),
        pytest.param([], False, id="none"),
        pytest.param([OTHER.sign(b"word")], False, id="unknown-key"),
        pytest.param([IMPOSTOR.sign(b"word")], False, id="same-name-other-key"),
        pytest.param([ACME.sign(b"another word")], False, id="other-message"),
        pytest.param([Signature("other", ACME.sign(b"word").data)], False, id="under-another-name"),
        pytest.param([Signature("acme", ACME.sign(b"word").data[:63])], False, id="cut-off"),
        pytest.param([Signature("acme", b"\0" * 64)], False, id="zeros"),
        pytest.param([Signature("acme", b"\0" * 2000)], False, id="another-kind"),
    ],
)
def test_trusted_keys(signatures: list[Signature], believed: bool) -> None:
    assert TrustedKeys([ACME.public]).signed(b"word", signatures) is believed


def test_two_keys_may_share_a_name() -> None:
    trusted = TrustedKeys([ACME.public, IMPOSTOR.public, ACME.public])
    assert trusted.signed(b"word", [IMPOSTOR.sign(b"word")])
    assert trusted.names == ("acme",)


def test_no_keys_trust_nobody() -> None:
    assert not TrustedKeys([]).signed(b"word", [ACME.sign(b"word")])


@given(st.text() | st.from_regex(r"[a-z]{0,3}:[A-Za-z0-9+/]{0,90}={0,2}", fullmatch=True))
def test_any_text_is_a_signature_or_refused(text: str) -> None:
    for parse in (PublicKey.parse, Signature.parse, SecretKey.parse):
        try:
            value = parse(text)
        except SignatureInvalid:
            continue
        assert str(value) == text


P = 2**255 - 19
ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), byteorder="little"
)


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(0, id="zeros"),
        pytest.param(1, id="the-identity"),
        pytest.param(P - 1, id="order-2"),
        pytest.param(ORDER_8, id="order-8"),
        pytest.param(P - ORDER_8, id="order-8-negative"),
        pytest.param(P, id="zero-spelt-otherwise"),
        pytest.param(P + 1, id="the-identity-spelt-otherwise"),
        pytest.param(2**255, id="other-sign"),
    ],
)
def test_refuses_a_key_that_anyone_can_sign_for(y: int) -> None:
    with pytest.raises(SignatureInvalid, match="public key 'acme': anyone could sign for it"):
        PublicKey.parse(str(PublicKey("acme", y.to_bytes(32, "little"))))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.binary())
def test_any_bytes_as_a_key_convince_nobody(key: bytes, data: bytes, message: bytes) -> None:
    try:
        public = PublicKey.parse(str(PublicKey("acme", key)))
    except SignatureInvalid:
        return
    assert not public.made(Signature("acme", data), message)
