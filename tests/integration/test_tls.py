"""HTTPS from files, and what happens when somebody replaces them."""

import asyncio
import datetime
import ipaddress
import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flox_formats.settings import SettingsInvalid
from registry_proxy.log import Log
from registry_proxy.server import serve
from registry_proxy.tls import TlsEvents, TlsFiles
from tests.integration.registry_rig import World, running_registry
from tests.integration.test_observability import Scraped, registry_process
from tests.integration.wire import DEADLINE_S, Wire

EMPTY = "/v2/flox/empty/manifests/live"
AWAY = "http://127.0.0.1:9"
BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Pair:
    """A certificate for 127.0.0.1 that vouches for itself, and its key; both PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def make(cls, password: bytes | None = None, *, begin: datetime.datetime = BEGIN, days: float = 36500) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + datetime.timedelta(days=days))
            .add_extension(addresses, critical=False)
            .sign(key, hashes.SHA256())
        )
        locked = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
        pem = serialization.Encoding.PEM
        return cls(certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked))

    def write(self, folder: Path) -> None:
        (folder / "tls.crt").write_bytes(self.certificate)
        (folder / "tls.key").write_bytes(self.key)

    def trusting(self) -> ssl.SSLContext:
        """A client that believes this certificate only."""
        context = ssl.create_default_context()
        context.load_verify_locations(cadata=self.certificate.decode())
        return context

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode())


def files(folder: Path) -> tuple[str, ...]:
    return (
        *("--tls-cert-file", str(folder / "tls.crt"), "--tls-key-file", str(folder / "tls.key")),
        *("--floxhub-url", AWAY),
    )


def shown(url: object) -> bytes:
    """The certificate that a new connection is shown."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with Wire(url, tls=anyone) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        return wire.socket.getpeercert(binary_form=True) or b""


def test_serves_over_tls(world: World, tmp_path: Path) -> None:
    pair = Pair.make()
    pair.write(tmp_path)
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    settings = world.settings(hub_dir=None, floxhub_url=AWAY, tls_cert_file=cert, tls_key_file=key)
    with running_registry(settings) as client:
        url = client.base_url
        with Wire(url) as plain:
            plain.get("/v2/")
            plain.rest()
        with Wire(url, tls=pair.trusting()) as wire:
            for _ in range(2):
                wire.get(EMPTY)
                assert wire.answer().status == 200
        assert str(url).startswith("https://")


def test_what_is_no_tls_leaves_no_line(world: World, tmp_path: Path) -> None:
    pair = Pair.make()
    pair.write(tmp_path)
    with registry_process(world, *files(tmp_path)) as (client, program):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xff\xff", b""):
            with Wire(client.base_url) as wire:
                wire.send(garbage)
                wire.socket.shutdown(socket.SHUT_WR)
                wire.rest()
        with pytest.raises(ssl.SSLError):
            Wire(client.base_url, tls=Pair.make().trusting())
        with Wire(client.base_url, tls=pair.trusting()) as wire:
            wire.get(EMPTY)
            assert wire.answer().status == 200
    events = [json.loads(line)["event"] for line in program.log.read_text().splitlines()]
    assert events == ["listening", "request", "draining", "stopped"]


def test_new_files_are_for_new_connections(world: World, tmp_path: Path) -> None:
    old, new = Pair.make(), Pair.make()
    old.write(tmp_path)
    with registry_process(world, *files(tmp_path)) as (client, program):
        with Wire(client.base_url, tls=old.trusting()) as before:
            assert shown(client.base_url) == old.der
            new.write(tmp_path)
            program.wait_for("tls_reloaded", deadline_s=DEADLINE_S)
            assert shown(client.base_url) == new.der
            before.get(EMPTY)
            assert before.answer().status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(client.base_url, tls=old.trusting())


def swap_key(folder: Path) -> None:
    (folder / "tls.key").write_bytes(Pair.make().key)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(swap_key, id="key-of-another"),
        pytest.param(lambda folder: (folder / "tls.crt").write_text("-----BEGIN"), id="not-a-certificate"),
        pytest.param(lambda folder: (folder / "tls.key").unlink(), id="gone"),
        pytest.param(lambda folder: Pair.make(b"secret").write(folder), id="key-with-a-password"),
    ],
)
def test_new_files_that_are_no_good_change_nothing(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    old, new = Pair.make(), Pair.make(days=100)
    old.write(tmp_path)
    server = Server(tmp_path)
    until = server.tls.expires_at
    spoil(tmp_path)
    server.tls.look_again()
    server.tls.look_again()
    (problem,) = server.unusable
    assert f"{tmp_path / 'tls.crt'} and {tmp_path / 'tls.key'} cannot be used" in problem
    assert (given_to_a_newcomer(server.tls), server.tls.expires_at, server.reloaded) == (old.der, until, 0)
    new.write(tmp_path)
    server.tls.look_again()
    assert (len(server.unusable), server.reloaded) == (1, 1)
    assert (given_to_a_newcomer(server.tls), server.tls.expires_at) == (new.der, BEGIN.timestamp() + 100 * DAY_S)


class Server:
    """The files of a folder as a server follows them, at a time of the world that a test says, and what it was told."""

    def __init__(self, folder: Path, now: float = BEGIN.timestamp()) -> None:
        self.now, self.reloaded, self.unusable, self.expiring = now, 0, list[str](), list[str]()
        events = TlsEvents(self._reloaded, self.unusable.append, self.expiring.append)
        self.tls = TlsFiles(folder / "tls.crt", folder / "tls.key", events, calendar=lambda: self.now)

    def _reloaded(self) -> None:
        self.reloaded += 1

    def warned(self, *, days: float) -> list[str]:
        """What is said so many days after the certificates began."""
        self.now = BEGIN.timestamp() + days * DAY_S
        self.expiring.clear()
        self.tls.warn_ahead()
        return [*self.expiring]


def test_the_end_is_told_a_week_ahead_daily_and_again_of_a_new_certificate(tmp_path: Path) -> None:
    Pair.make(days=90).write(tmp_path)
    server = Server(tmp_path)
    assert server.tls.expires_at == BEGIN.timestamp() + 90 * DAY_S
    assert server.warned(days=82.9) == []
    (said,) = server.warned(days=83.1)
    assert said.startswith(f"the certificate in {tmp_path / 'tls.crt'} expires at 2020-03-31 00:00 UTC: put a new one")
    assert server.warned(days=83.2) == []
    assert len(server.warned(days=84.2)) == 1
    (expired,) = server.warned(days=91)
    assert "expired at 2020-03-31 00:00 UTC" in expired
    Pair.make(days=92).write(tmp_path)
    server.tls.look_again()
    (said,) = server.warned(days=91.01)
    assert "expires at 2020-04-02 00:00 UTC" in said
    Pair.make(days=365).write(tmp_path)
    server.tls.look_again()
    assert (server.warned(days=92), server.tls.expires_at) == ([], BEGIN.timestamp() + 365 * DAY_S)


def test_a_certificate_of_a_day_is_due_in_its_last_fifth(tmp_path: Path) -> None:
    Pair.make(days=1).write(tmp_path)
    server = Server(tmp_path)
    assert server.warned(days=0.79) == []
    assert len(server.warned(days=0.81)) == 1


def test_of_a_chain_the_certificate_that_is_shown_counts(tmp_path: Path) -> None:
    leaf, issuer = Pair.make(days=90), Pair.make(days=10)
    leaf.write(tmp_path)
    with (tmp_path / "tls.crt").open("ab") as chain:
        chain.write(issuer.certificate)
    server = Server(tmp_path)
    assert (given_to_a_newcomer(server.tls), server.tls.expires_at) == (leaf.der, BEGIN.timestamp() + 90 * DAY_S)


def test_the_end_is_in_the_metrics_and_in_the_log_and_new_files_change_both(world: World, tmp_path: Path) -> None:
    today = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    old, new = Pair.make(begin=today - datetime.timedelta(days=60), days=63), Pair.make()
    name = "floxbridge_tls_certificate_expiry_timestamp_seconds"
    old.write(tmp_path)
    with registry_process(world, *files(tmp_path)) as (client, program):
        warning = program.wait_for("tls_expiring", deadline_s=DEADLINE_S)
        assert str(tmp_path / "tls.crt") in str(warning["message"])
        assert scraped(client.base_url, old)(name) == (today + datetime.timedelta(days=3)).timestamp()
        new.write(tmp_path)
        program.wait_for("tls_reloaded", deadline_s=DEADLINE_S)
        assert scraped(client.base_url, new)(name) == (BEGIN + datetime.timedelta(days=36500)).timestamp()
    assert len(list(program.events("tls_expiring"))) == 1


def scraped(url: object, pair: Pair) -> Scraped:
    with httpx2.Client(base_url=str(url), verify=pair.trusting()) as trusting:
        return Scraped(trusting)


def given_to_a_newcomer(tls: TlsFiles) -> bytes:
    """A handshake without a network."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, client = tls.context.wrap_bio(there, back, server_side=True), anyone.wrap_bio(back, there)
    for side in (client, server, client):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True) or b""


def test_bad_files_are_told_and_good_ones_are_taken_up_later(world: World, tmp_path: Path) -> None:
    old, new = Pair.make(), Pair.make()
    old.write(tmp_path)
    with registry_process(world, *files(tmp_path)) as (client, program):
        swap_key(tmp_path)
        program.wait_for("tls_unusable", deadline_s=DEADLINE_S)
        assert shown(client.base_url) == old.der
        new.write(tmp_path)
        program.wait_for("tls_reloaded", deadline_s=DEADLINE_S)
        assert shown(client.base_url) == new.der


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"tls_key_file": None, "hub_dir": None}, "both --tls-cert-file and --tls-key-file", id="no-key"),
        pytest.param({"tls_key_file": Path("/nope"), "hub_dir": None}, "No such file", id="missing"),
        pytest.param({"tls_key_file": Path("/dev/null"), "hub_dir": None}, "cannot be used", id="empty"),
        pytest.param({}, "floxbridge hub serve", id="with-an-embedded-hub"),
    ],
)
def test_does_not_start_without_what_it_takes(
    world: World, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    Pair.make().write(tmp_path)
    tls: dict[str, Any] = {"tls_cert_file": tmp_path / "tls.crt", "tls_key_file": tmp_path / "tls.key"}
    with pytest.raises(SettingsInvalid, match=said):
        asyncio.run(serve(world.settings(**{**tls, **settings}), Log(), asyncio.Event()))
