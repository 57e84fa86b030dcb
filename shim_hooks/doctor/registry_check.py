"""The registry, as this node reaches it: is it there, does it answer, what time is it there.

Belongs here: a few real questions over HTTP. Does not: how the pulls of containerd get there (`mirror_check.py`).
"""

from datetime import datetime
from email.utils import parsedate_to_datetime

from flox_formats.digest import Digest
from shim_hooks.doctor.finding import Finding
from shim_hooks.errors import ContentRejected, NodeError, RegistryRefused, RegistryUnavailable
from shim_hooks.registry.http import RegistryHttp

REGISTRY, FLOXHUB, CLOCK = "registry", "floxhub", "clock"
EMPTY = "flox/empty:1.0.0"
MANIFEST_TYPES = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
MAX_BYTES = 1024 * 1024
_NOBODYS = "floxbridge/doctor"
_SKEW_S = 60
_FAR_S = 3600


async def check_registry(
    registry_url: str, *, connect_timeout_s: float, deadline_s: float, now: datetime
) -> tuple[Digest | None, list[Finding]]:
    """The digest of the empty image, when there is a registry that has it. `now` is this node's clock, with a zone."""
    http = RegistryHttp(registry_url, connect_timeout_s=connect_timeout_s, idle_timeout_s=deadline_s)
    mend = f"see the log of the registry, and that this node can connect: curl {registry_url}/readyz"
    try:
        await _read(http, "/healthz", f"asking whether {registry_url} is up", deadline_s)
        await _read(http, "/readyz", f"asking whether {registry_url} is ready", deadline_s)
        manifest = await _read(http, f"/v2/{EMPTY.replace(':', '/manifests/')}", f"looking up {EMPTY}", deadline_s)
        findings = [Finding.good(REGISTRY, f"{registry_url} is ready and serves {EMPTY}")]
        findings.append(await _floxhub(http, deadline_s))
        date = await http.date("/healthz", asking="asking what time it is", deadline_s=deadline_s)
        return Digest.of(manifest), [*findings, judge_clock(date, now)]
    except NodeError as problem:
        return None, [Finding.bad(REGISTRY, str(problem), mend)]
    finally:
        await http.aclose()


async def _read(http: RegistryHttp, path: str, asking: str, deadline_s: float) -> bytes:
    return await http.read(path, asking=asking, accept=f"{MANIFEST_TYPES}, */*", limit=MAX_BYTES, deadline_s=deadline_s)


async def _floxhub(http: RegistryHttp, deadline_s: float) -> Finding:
    """Asks for an environment that hardly anybody has: a plain no has come from FloxHub itself."""
    path = f"/v2/flox/empty/{_NOBODYS}/manifests/live"
    try:
        await _read(http, path, f"looking for environment {_NOBODYS}", deadline_s)
    except (RegistryRefused, ContentRejected):
        pass
    except RegistryUnavailable as problem:
        said = f"the registry cannot ask FloxHub, so only what it knows already can be had: {problem}"
        return Finding.doubtful(FLOXHUB, said, "see the log of the registry")
    return Finding.good(FLOXHUB, "the registry has an answer from FloxHub")


def judge_clock(date: str, now: datetime) -> Finding:
    """Pure. `date` as HTTP's header has it, whose seconds are whole."""
    mend = "timedatectl set-ntp true"
    try:
        theirs = parsedate_to_datetime(date)
        skew_s = round((now - theirs).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return Finding.doubtful(CLOCK, f"the registry does not say what time it is ({date[:40]!r})", mend)
    if abs(skew_s) <= _SKEW_S:
        return Finding.good(CLOCK, f"within {_SKEW_S} s of the registry's")
    said = f"this node is {abs(skew_s)} s {'ahead of' if skew_s > 0 else 'behind'} the registry"
    if abs(skew_s) >= _FAR_S:
        return Finding.bad(CLOCK, f"{said}: certificates and tokens look expired, or not valid yet", mend)
    return Finding.doubtful(CLOCK, said, mend)
