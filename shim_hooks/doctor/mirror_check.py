"""The mirror: does a pull of an image `flox/empty…` on this node come out at our registry.

Belongs here: finding hosts.toml as containerd finds it, and asking the hosts in its order. The file's text is in
`hosts.py`.
"""

from pathlib import Path

from flox_formats.digest import Digest
from shim_hooks.doctor.containerd_settings import ContainerdSettings
from shim_hooks.doctor.finding import Finding
from shim_hooks.doctor.hosts import DOCKER_HUB, Host, Hosts, HostsInvalid
from shim_hooks.doctor.registry_check import EMPTY, MANIFEST_TYPES, MAX_BYTES
from shim_hooks.errors import NodeError, RegistryRefused
from shim_hooks.registry.http import RegistryHttp

MIRROR = "mirror"
_FOLDERS = ("docker.io", "_default")
_MAX_HOSTS_BYTES = 1024 * 1024


async def check_mirror(
    containerd: ContainerdSettings, *, registry_url: str, ours: Digest | None, deadline_s: float
) -> list[Finding]:
    """`ours` is the digest that the registry itself gives for the same image, None when it could not be asked."""
    try:
        found = _hosts(containerd)
    except HostsInvalid as problem:
        return [Finding.bad(MIRROR, str(problem), _mend(containerd, registry_url))]
    except OSError as problem:
        said = f"{problem.filename} could not be read: {problem.strerror}"
        return [Finding.doubtful(MIRROR, said, "run this as root")]
    if found is None:
        said = "nothing sends pulls of docker.io to a registry of your own: there is no docker.io/hosts.toml"
        return [Finding.bad(MIRROR, said, _mend(containerd, registry_url))]
    hosts, where = found
    return await _ask_in_order(hosts, where, registry_url, ours, deadline_s)


def _hosts(containerd: ContainerdSettings) -> tuple[Hosts, str] | None:
    """The first folder that has a file counts, as in containerd. Raises OSError, HostsInvalid."""
    for root in containerd.config_paths:
        for name in _FOLDERS:
            file = Path(root) / name / "hosts.toml"
            try:
                with file.open(encoding="utf-8") as stream:
                    return Hosts.parse(stream.read(_MAX_HOSTS_BYTES)), str(file)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except UnicodeDecodeError as problem:
                raise HostsInvalid(f"{file} is no text: {problem}") from problem
    if not containerd.config_paths and containerd.mirrors:
        return Hosts.of_endpoints(containerd.mirrors), "containerd's registry.mirrors"
    return None


async def _ask_in_order(
    hosts: Hosts, where: str, registry_url: str, ours: Digest | None, deadline_s: float
) -> list[Finding]:
    findings = list[Finding]()
    ours_is_named = False
    for host in hosts.hosts:
        ours_is_named |= host.base_url == registry_url
        if not host.serves_pulls:
            said = f"{where}: {host.base_url} may not be asked for both pull and resolve"
            findings.append(Finding.doubtful(MIRROR, said, 'capabilities = ["pull", "resolve"]'))
            continue
        if host.base_url == DOCKER_HUB:
            break
        try:
            digest = await _digest_at(host, deadline_s)
        except RegistryRefused:
            continue  # containerd goes on, too
        except NodeError as problem:
            findings.append(_silent(host, where, problem))
            continue
        if host.base_url == registry_url or digest == ours:
            return [
                *findings,
                Finding.good(MIRROR, f"a pull of {EMPTY} on this node reaches {host.base_url} ({where})"),
            ]
        if ours is None:
            said = f"a pull reaches {host.base_url}; whether that is the registry cannot be said while it is silent"
            return [*findings, Finding.doubtful(MIRROR, said, "mend the registry first")]
        said = f"a pull of {EMPTY} reaches {host.base_url}, which has another image of that name than {registry_url}"
        return [*findings, Finding.bad(MIRROR, said, f"in {where}: {_host_toml(registry_url)}")]
    said = f"{where} leads no pull of {EMPTY} to the registry: " + (
        "it is named and does not serve it" if ours_is_named else f"{registry_url} is not named in it"
    )
    return [*findings, Finding.bad(MIRROR, said, f"in {where}, before other hosts:\n{_host_toml(registry_url)}")]


def _silent(host: Host, where: str, problem: NodeError) -> Finding:
    said = f"{where}: {problem}"
    if host.own_trust:
        return Finding.doubtful(
            MIRROR, f"{said}; containerd may reach it by the certificates or headers it has there", ""
        )
    return Finding.doubtful(
        MIRROR, f"{said}; each pull of the node waits for it first", f"take {host.base_url} out of it"
    )


async def _digest_at(host: Host, deadline_s: float) -> Digest:
    http = RegistryHttp(host.base_url, connect_timeout_s=deadline_s, idle_timeout_s=deadline_s)
    try:
        data = await http.read(
            f"/v2/{EMPTY.replace(':', '/manifests/')}",
            asking=f"pulling {EMPTY} as containerd does",
            accept=MANIFEST_TYPES,
            limit=MAX_BYTES,
            deadline_s=deadline_s,
            parameters={"ns": "docker.io"},
        )
    finally:
        await http.aclose()
    return Digest.of(data)


def _mend(containerd: ContainerdSettings, registry_url: str) -> str:
    if containerd.config_paths:
        return f"in {containerd.config_paths[0]}/docker.io/hosts.toml:\n{_host_toml(registry_url)}"
    table = (
        'plugins."io.containerd.grpc.v1.cri"' if containerd.version == 2 else 'plugins."io.containerd.cri.v1.images"'
    )
    return (
        f'in containerd\'s configuration:\n[{table}.registry]\n  config_path = "/etc/containerd/certs.d"\n'
        f"in /etc/containerd/certs.d/docker.io/hosts.toml:\n{_host_toml(registry_url)}"
    )


def _host_toml(registry_url: str) -> str:
    return f'[host."{registry_url}"]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "200ms"'
