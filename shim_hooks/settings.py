"""Every setting of the node's half: flag `--registry-url`, variable `FLOXBRIDGE_NODE_REGISTRY_URL`, key `registry_url`.

The launcher has three of its own, in a file of its own: `launcher/floxbridge_runc.c` says which.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flox_formats.known_keys import KNOWN_KEYS
from flox_formats.settings import seconds, setting, text, texts
from flox_formats.signature import PublicKey

PREFIX = "FLOXBRIDGE_NODE_"


def _path(value: object) -> Path:
    return Path(text(value)).absolute()


def _url(value: object) -> str:
    url = text(value)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"want http://HOST:PORT or https://HOST, got {url!r}")
    return url.rstrip("/")


def _keys(value: object) -> tuple[str, ...]:
    return tuple(str(PublicKey.parse(key)) for key in texts(value))


@dataclass(frozen=True)
class Settings:
    """Seconds end in `_s`. A list given by flag or variable replaces the default list."""

    registry_url: str = setting("http://127.0.0.1:5000", _url, "the registry to fetch environments from")
    state_dir: Path = setting(Path("/var/lib/floxbridge"), _path, "folder of the node's store, on a disk of its size")
    socket: Path = setting(Path("/run/floxbridge/agent.sock"), _path, "where the launcher finds the agent")
    trusted_key: tuple[str, ...] = setting(
        KNOWN_KEYS, _keys, "public key NAME:BASE64 that vouches for packages (repeatable)"
    )
    connect_timeout_s: float = setting(0.2, seconds, "how long a connection to the registry may take to open")
    lookup_timeout_s: float = setting(
        5.0, seconds, "how long the registry may take to say what is live; it waits 3 s for FloxHub itself"
    )
    stop_grace_s: float = setting(10.0, seconds, "how long containers being created have when the agent is stopped")
