"""Every setting of the node's half: flag `--registry-url`, variable `FLOXBRIDGE_NODE_REGISTRY_URL`, key `registry_url`.

The launcher has three of its own, in a file of its own: `launcher/floxbridge_runc.c` says which.
"""

from dataclasses import dataclass
from pathlib import Path

from flox_formats.known_keys import KNOWN_KEYS, PUBLIC_KEYS
from flox_formats.settings import count, seconds, setting, text, texts
from flox_formats.signature import PublicKey
from flox_formats.url import HttpUrl

PREFIX = "FLOXBRIDGE_NODE_"


def _path(value: object) -> Path:
    return Path(text(value)).absolute()


def _url(value: object) -> str:
    return HttpUrl.parse_bare(text(value), instead="a private environment is opened by its pod's own token").place


def _keys(value: object) -> tuple[str, ...]:
    return tuple(str(PublicKey.parse(key)) for key in texts(value))


def _percent(value: object) -> int:
    number = count(value)
    if number > 100:
        raise ValueError("want a percentage, from 0 to 100")
    return number


def _address(value: object) -> tuple[str, int]:
    host, _, port = text(value).rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"want HOST:PORT, got {value!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


@dataclass(frozen=True)
class Settings:
    """Seconds end in `_s`. A list given by flag or variable replaces the default list."""

    registry_url: str = setting("http://127.0.0.1:5000", _url, "the registry to fetch environments from")
    state_dir: Path = setting(Path("/var/lib/floxbridge"), _path, "folder of the node's store, on a disk of its size")
    socket: Path = setting(Path("/run/floxbridge/agent.sock"), _path, "where the launcher finds the agent")
    trusted_key: tuple[str, ...] = setting(
        KNOWN_KEYS, _keys, "public key NAME:BASE64 that vouches for packages (repeatable)"
    )
    public_key: tuple[str, ...] = setting(
        PUBLIC_KEYS, _keys, "key of a cache that anybody may ask: all containers may see what it signed (repeatable)"
    )
    connect_timeout_s: float = setting(0.2, seconds, "how long a connection to the registry may take to open")
    lookup_timeout_s: float = setting(
        5.0, seconds, "how long the registry may take to say what is live; it waits 3 s for FloxHub itself"
    )
    stop_grace_s: float = setting(10.0, seconds, "how long containers being created have when the agent is stopped")
    store_max_bytes: int | None = setting(
        None, count, "largest size of the store; beyond it goes what was used least recently and is not in use"
    )
    store_min_free_percent: int = setting(
        10, _percent, "how much of the disk, bytes and inodes, shall stay free, at the cost of what is not in use"
    )
    metrics_listen: tuple[str, int] | None = setting(
        None, _address, "HOST:PORT for /metrics and /healthz of the agent; port 0 takes a free one"
    )
    containerd_socket: Path | None = setting(
        None, _path, "containerd's socket: environments are fetched when their images are pulled (needs grpcio)"
    )
