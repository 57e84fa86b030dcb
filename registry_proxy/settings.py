"""Every setting of the registry: flag `--resolve-ttl-s`, variable `FLOXBRIDGE_RESOLVE_TTL_S`, key `resolve_ttl_s`."""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.errors import FormatError
from flox_formats.known_keys import KNOWN_KEYS
from flox_formats.scripted_activation import BASH, is_bash
from flox_formats.settings import count, flag, seconds, setting, text, texts
from flox_formats.store_path import StorePath
from flox_formats.system import System

PREFIX = "FLOXBRIDGE_"

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
    """Seconds end in `_s`. A list given by flag or variable replaces the default list."""

    listen: tuple[str, int] = setting(("127.0.0.1", 5000), _address, "HOST:PORT to listen on; port 0 takes a free one")
    state_dir: Path = setting(
        Path("/var/lib/floxbridge-registry"), _path, "folder for what was fetched and made; can be lost without harm"
    )
    floxhub_url: str | None = setting(None, text, "FloxHub's base URL (https://hub.flox.dev); part of every image")
    floxhub_git_url: str | None = setting(None, text, "where FloxHub's git is, if not where the base URL says")
    floxhub_token_file: Path | None = setting(
        None, _path, "file with the cluster's own FloxHub token; re-read on change"
    )
    hub_dir: Path | None = setting(None, _path, "serve a FloxHub of one's own from this folder, and ask that")
    hub_tokens_file: Path | None = setting(
        None, _path, "file with the tokens of that FloxHub, for private environments"
    )
    nix_cache: tuple[str, ...] = setting(_CACHES, texts, "binary cache to fetch packages from, in order (repeatable)")
    trusted_key: tuple[str, ...] = setting(
        KNOWN_KEYS, texts, "public key NAME:BASE64 that vouches for packages (repeatable)"
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
    lookup_timeout_s: float = setting(3.0, seconds, "how long a request waits for FloxHub")
    fetch_timeout_s: float = setting(60.0, seconds, "how long one conversation with FloxHub may take in all")
    connect_timeout_s: float = setting(2.0, seconds, "how long a connection to FloxHub or a cache may take to open")
    cache_timeout_s: float = setting(30.0, seconds, "how long a binary cache may be silent")
    max_questions: int = setting(32, count, "narinfo requests under way at once")
    access_log: bool = setting(True, flag, "log a line a request")
    tls_cert_file: Path | None = setting(
        None, _path, "serve HTTPS with this certificate chain (PEM); re-read on change"
    )
    tls_key_file: Path | None = setting(None, _path, "the certificate's private key (PEM); re-read on change")
    idle_timeout_s: float = setting(75.0, seconds, "how long a connection may be open without a whole request")
    drain_grace_s: float = setting(5.0, seconds, "how long, once told to stop, only /readyz says no")
    drain_timeout_s: float = setting(30.0, seconds, "how long answers under way may then still take")
