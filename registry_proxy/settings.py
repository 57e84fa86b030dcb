"""Every setting of the registry: flag `--resolve-ttl-s`, variable `FLOXBRIDGE_RESOLVE_TTL_S`, key `resolve_ttl_s`."""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.errors import FormatError
from flox_formats.known_keys import KNOWN_KEYS
from flox_formats.scripted_activation import BASH, is_bash
from flox_formats.settings import SettingsInvalid, flag, positive_count, positive_seconds, seconds, setting, text, texts
from flox_formats.signature import PublicKey
from flox_formats.store_path import StorePath
from flox_formats.system import System
from flox_formats.url import place_of
from registry_proxy.floxhub.urls import DEFAULT_BASE_URL, FloxHubUrls
from registry_proxy.nix.cache_url import parse_cache_url

PREFIX = "FLOXBRIDGE_"
EMBEDDED_BASE_URL = "http://floxhub.localhost"
"""What images say of an embedded hub: a name that stays, where its port may not."""

# FH §7: most packages are in the first cache, Flox's own in the second.
_CACHES = ("https://cache.nixos.org", "https://cache.flox.dev")

# bash-interactive 5.3p3 of nixpkgs, which the first cache has.
_SHELLS = (
    "x86_64-linux=/nix/store/hkbylipx1iiawqdcjv858p501wv81bpm-bash-interactive-5.3p3",
    "aarch64-linux=/nix/store/rlgii39vy2cp7y4rgxz6l0bl7115nk7a-bash-interactive-5.3p3",
)


def _address(value: object) -> tuple[str, int]:
    host, colon, port = text(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"want HOST:PORT, got {value!r}")
    return host.strip("[]"), int(port)


def _path(value: object) -> Path:
    return Path(text(value)).absolute()


def _floxhub_url(value: object) -> str:
    url = text(value)
    FloxHubUrls.parse(url)
    return url


def _caches(value: object) -> tuple[str, ...]:
    caches = texts(value)
    for url in caches:
        parse_cache_url(url)
    places = [place_of(url) for url in dict.fromkeys(caches)]
    if len(set(places)) < len(places):
        raise ValueError("want each cache once, and not again with another login or query")
    return caches


def _keys(value: object) -> tuple[str, ...]:
    keys = texts(value)
    for key in keys:
        PublicKey.parse(key)
    return keys


def activation_shells(texts_: tuple[str, ...]) -> dict[System, StorePath]:
    """`SYSTEM=/nix/store/…` as a mapping. Raises ValueError."""
    shells: dict[System, StorePath] = {}
    for entry in texts_:
        system, _, path = entry.partition("=")
        try:
            shell = StorePath.parse(path)
        except FormatError as problem:
            raise ValueError(f"want SYSTEM=/nix/store/HASH-NAME, got {entry[:200]!r}: {problem}") from problem
        if system not in tuple(System):
            raise ValueError(f"want one of {', '.join(System)} before the '=', got {system[:50]!r}")
        if not is_bash(shell):
            raise ValueError(f"want a store path named bash-VERSION, with a {BASH}, got {path[:200]!r}")
        shells[System(system)] = shell
    return shells


def _shells(value: object) -> tuple[str, ...]:
    shells = texts(value)
    activation_shells(shells)
    return shells


@dataclass(frozen=True)
class Settings:
    """Seconds end in `_s`. A list given by flag or variable replaces the default list.

    Raises SettingsInvalid for settings that contradict each other.
    """

    listen: tuple[str, int] = setting(("127.0.0.1", 5000), _address, "HOST:PORT to listen on; port 0 takes a free one")
    state_dir: Path = setting(
        Path("/var/lib/floxbridge-registry"), _path, "folder for what was fetched and made; can be lost without harm"
    )
    floxhub_url: str | None = setting(
        None,
        _floxhub_url,
        f"FloxHub's base URL, part of every image; {DEFAULT_BASE_URL}, or with hub_dir {EMBEDDED_BASE_URL}",
    )
    floxhub_git_url: str | None = setting(None, _floxhub_url, "where FloxHub's git is, if not where the base URL says")
    floxhub_token_file: Path | None = setting(
        None, _path, "file with the cluster's own FloxHub token; re-read on change"
    )
    hub_dir: Path | None = setting(None, _path, "serve a FloxHub of one's own from this folder, and ask that")
    hub_tokens_file: Path | None = setting(
        None, _path, "file with the tokens of that FloxHub, for private environments"
    )
    nix_cache: tuple[str, ...] = setting(_CACHES, _caches, "binary cache to fetch packages from, in order (repeatable)")
    trusted_key: tuple[str, ...] = setting(
        KNOWN_KEYS, _keys, "public key NAME:BASE64 that vouches for packages (repeatable)"
    )
    activation_bash: tuple[str, ...] = setting(
        _SHELLS,
        _shells,
        "SYSTEM=/nix/store/…: the bash that runs the hooks of environments without one; the same for all replicas "
        "(repeatable)",
    )
    resolve_ttl_s: float = setting(2.0, seconds, "how long the answer which generation is live is good")
    pinned_ttl_s: float = setting(60.0, seconds, "how long the answer what generation N is is good")
    missing_ttl_s: float = setting(2.0, seconds, "how long the answer that something does not exist is good")
    max_stale_s: float | None = setting(
        None, seconds, "oldest last known answer which generation is live, while FloxHub is silent"
    )
    offline: bool = setting(False, flag, "never ask FloxHub: serve the last known answers only")
    lookup_timeout_s: float = setting(3.0, positive_seconds, "how long a request waits for FloxHub")
    fetch_timeout_s: float = setting(60.0, positive_seconds, "how long one conversation with FloxHub may take in all")
    connect_timeout_s: float = setting(
        2.0, positive_seconds, "how long a connection to FloxHub or a cache may take to open"
    )
    cache_timeout_s: float = setting(30.0, positive_seconds, "how long a binary cache may be silent")
    max_questions: int = setting(32, positive_count, "narinfo requests under way at once")
    access_log: bool = setting(True, flag, "log a line a request")
    tls_cert_file: Path | None = setting(
        None, _path, "serve HTTPS with this certificate chain (PEM); re-read on change"
    )
    tls_key_file: Path | None = setting(None, _path, "the certificate's private key (PEM); re-read on change")
    idle_timeout_s: float = setting(75.0, positive_seconds, "how long a connection may be open without a whole request")
    drain_grace_s: float = setting(5.0, seconds, "how long, once told to stop, only /readyz says no")
    drain_timeout_s: float = setting(30.0, seconds, "how long answers under way may then still take")

    def __post_init__(self) -> None:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise SettingsInvalid("TLS takes both --tls-cert-file and --tls-key-file, or neither")
        if self.hub_dir is not None and self.floxhub_git_url is not None:
            raise SettingsInvalid(
                "--hub-dir serves FloxHub from a folder, --floxhub-git-url asks another: give one of them"
            )
        if self.hub_dir is not None and self.tls_cert_file is not None:
            raise SettingsInvalid(
                "--hub-dir is asked over the registry's own port, which with TLS would have to trust its own "
                "certificate: run `floxbridge hub serve` beside it and give --floxhub-git-url"
            )

    @property
    def floxhub_base_url(self) -> str:
        """The base URL in force."""
        return self.floxhub_url or (DEFAULT_BASE_URL if self.hub_dir is None else EMBEDDED_BASE_URL)

    def floxhub_urls(self, own_url: str | None) -> FloxHubUrls:
        """`own_url` is where this process serves, for the hub that it embeds. Raises SettingsInvalid."""
        git_url = self.floxhub_git_url if self.hub_dir is None else f"{own_url}/git"
        return FloxHubUrls.parse(self.floxhub_base_url, git_url)
