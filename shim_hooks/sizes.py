"""Bytes and points in time, as people read them."""

from datetime import UTC, datetime


def shown_bytes(size: int) -> str:
    for unit, unit_size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= unit_size:
            return f"{size / unit_size:.1f} {unit}"
    return f"{size} bytes"


def shown_time(seconds: float) -> str:
    """Of seconds since the epoch, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
