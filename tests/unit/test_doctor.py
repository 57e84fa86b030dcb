"""The doctor's pure parts: what it reads, and what it thinks of it."""

import json
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floxbridge_demo.containerd_config import ContainerdPlaces, config_toml, hosts_toml
from shim_hooks.doctor.containerd_check import handler_toml, judge
from shim_hooks.doctor.containerd_settings import ContainerdSettings, ContainerdSettingsInvalid, passes
from shim_hooks.doctor.finding import Finding, Verdict, as_json, as_text, healthy
from shim_hooks.doctor.hosts import DOCKER_HUB, Hosts, HostsInvalid
from shim_hooks.doctor.launcher_check import is_dynamic
from shim_hooks.doctor.launcher_settings import LauncherSettings
from shim_hooks.doctor.registry_check import judge_clock
from shim_hooks.doctor.store_check import judge_room
from shim_hooks.store.room import Room

LAUNCHER = Path("/opt/floxbridge-runc")
HERE = Path("/p")
PLACES = ContainerdPlaces(HERE, HERE, HERE, HERE, Path("/certs"), HERE, HERE, "native")


def dumped(version: int) -> str:
    return config_toml(version, PLACES, sandbox_image="pause", launcher=LAUNCHER)


# ---- launcher.conf ----


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        pytest.param("", LauncherSettings(), id="empty"),
        pytest.param("# nothing\n\n  \t\r\n", LauncherSettings(), id="comments"),
        pytest.param(" runtime = crun \r\n", LauncherSettings(runtime="crun"), id="blanks"),
        pytest.param("socket=/a=b", LauncherSettings(socket="/a=b"), id="equals-in-a-value"),
        pytest.param("deadline_ms=0007", LauncherSettings(deadline_ms=7), id="zeros"),
        pytest.param("runtime=a\nruntime=b", LauncherSettings(runtime="b"), id="last-counts"),
    ],
)
def test_launcher_settings(text: str, settings: LauncherSettings) -> None:
    assert LauncherSettings.parse(text.encode(), "F") == settings


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"runtime", "F: want key=value, got 'runtime'", id="no-value"),
        pytest.param(b"runtime=bin/runc", "F: runtime=bin/runc is neither an absolute path nor a bare name", id="path"),
        pytest.param(b"runtime=", "F: runtime= is neither an absolute path nor a bare name", id="empty"),
        pytest.param(b"socket=run", "F: socket=run is not an absolute path of at most 107 bytes", id="socket"),
        pytest.param(b"deadline_ms=2s", "F: deadline_ms=2s is not a number from 1 to 3600000", id="unit"),
        pytest.param(b"deadline_ms=0", "F: deadline_ms=0 is not a number from 1 to 3600000", id="zero"),
        pytest.param(
            b"a=1\nb=2", "F: no setting is called 'a'; there are runtime, socket and deadline_ms", id="first-counts"
        ),
        pytest.param(b"#" * 5000, "F is longer than 4096 bytes or no text", id="long"),
        pytest.param(b"#\0", "F is longer than 4096 bytes or no text", id="nul"),
    ],
)
def test_launcher_settings_with_a_problem(data: bytes, problem: str) -> None:
    assert LauncherSettings.parse(data, "F").problem == problem


@given(st.binary(max_size=5000))
def test_any_bytes_are_launcher_settings(data: bytes) -> None:
    settings = LauncherSettings.parse(data, "F")
    assert 1 <= settings.deadline_ms <= 3_600_000
    assert len(settings.problem) < 300


# ---- containerd ----


@pytest.mark.parametrize("version", [1, 2])
def test_the_manuals_configuration_is_good(version: int) -> None:
    settings = ContainerdSettings.parse(dumped(version))
    assert settings.config_paths == (PurePosixPath("/certs"),)
    assert [finding.verdict for finding in judge(settings, LAUNCHER)] == [Verdict.GOOD]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("old", "new", "says", "mends"),
    [
        pytest.param('"runtimes"."flox"', '"runtimes"."nix"', "no runtime handler 'flox'", "[plug", id="no-handler"),
        pytest.param("flox.dev/*", "*", "keep", 'pod_annotations = ["flox.dev/*"]', id="annotations"),
        pytest.param("io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "runtime_type", ".v2", id="type"),
        pytest.param("/opt/floxbridge-runc", "/opt/other", "runs /opt/other", "BinaryName", id="other-binary"),
        pytest.param("BinaryName", "Binary", "names no BinaryName", "BinaryName", id="no-binary"),
        pytest.param('"io.containerd.nri.v1.nri"', '"cri"', "switched off", "disabled_plugins", id="no-cri"),
        pytest.param('_name = "runc"', '_name = "flox"', "every pod without", "default_runtime", id="default"),
    ],
)
def test_a_wrong_configuration(version: int, old: str, new: str, says: str, mends: str) -> None:
    text = dumped(version)
    assert old in text
    findings = judge(ContainerdSettings.parse(text.replace(old, new)), LAUNCHER)
    found = [finding for finding in findings if says in finding.says]
    assert [finding.verdict for finding in found] == [Verdict.BAD], findings
    assert mends in found[0].mend


def test_what_mends_is_what_is_read() -> None:
    """The lines for a missing handler, put where they belong, are a handler that is good."""
    bare = ContainerdSettings.parse(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = true'
    )
    (finding,) = judge(bare, LAUNCHER)
    assert finding.mend == handler_toml(bare, LAUNCHER)
    table = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = true'
    mended = ContainerdSettings.parse(f"version = 2\n{finding.mend}\n{table}")
    assert [it.verdict for it in judge(mended, LAUNCHER)] == [Verdict.GOOD]


def test_cgroup_drivers_that_differ() -> None:
    text = dumped(2).replace(f'BinaryName = "{LAUNCHER}"', f'BinaryName = "{LAUNCHER}"\nSystemdCgroup = true')
    (finding,) = judge(ContainerdSettings.parse(text), LAUNCHER)
    assert (finding.verdict, finding.says) == (
        Verdict.BAD,
        "SystemdCgroup is true for flox and false for the node's own runtime",
    )


@pytest.mark.parametrize(
    ("pattern", "passed"),
    [
        pytest.param("flox.dev/*", True, id="ours"),
        pytest.param("*/*", True, id="both"),
        pytest.param("flox.dev/environment", True, id="one"),
        pytest.param("*.dev/env*m?nt", True, id="inner"),
        pytest.param("*", False, id="star-and-slash"),
        pytest.param("flox.dev/", False, id="nothing"),
        pytest.param("example.com/*", False, id="other"),
        pytest.param("flox.dev/*/*", False, id="more-slashes"),
        pytest.param("*.dev/*x", False, id="other-end"),
    ],
)
def test_annotation_patterns(pattern: str, passed: bool) -> None:
    assert passes((pattern,), "flox.dev/environment") is passed


@pytest.mark.parametrize(
    "text",
    ["=", "version = 1", "", "version = 2\nplugins = 1", 'version = 3\ndisabled_plugins = "cri"', "a" * 10 + "." * 5],
)
def test_no_configuration_of_containerd(text: str) -> None:
    with pytest.raises(ContainerdSettingsInvalid):
        ContainerdSettings.parse(text)


@given(st.text(max_size=200), st.integers(0, 2000))
def test_any_text_is_a_configuration_or_invalid(text: str, place: int) -> None:
    good = dumped(1)
    for candidate in (text, good[:place] + text + good[place:]):
        try:
            judge(ContainerdSettings.parse(candidate), LAUNCHER)
        except ContainerdSettingsInvalid:
            continue


# ---- hosts.toml ----


def test_hosts_in_their_order() -> None:
    (ours, upstream) = Hosts.parse(hosts_toml("http://127.0.0.1:5000")).hosts
    assert (ours.base_url, ours.serves_pulls, ours.own_trust) == ("http://127.0.0.1:5000", True, False)
    assert upstream.base_url == DOCKER_HUB


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        pytest.param("", [DOCKER_HUB], id="empty"),
        pytest.param('server = "https://docker.io"', [DOCKER_HUB], id="hub-by-its-other-name"),
        pytest.param('[host."b:5000"]\n[host."http://a/v2/"]', ["https://b:5000", "http://a", DOCKER_HUB], id="order"),
    ],
)
def test_base_urls(text: str, urls: list[str]) -> None:
    assert [host.base_url for host in Hosts.parse(text).hosts] == urls


@pytest.mark.parametrize(
    ("values", "serves", "own_trust"),
    [
        pytest.param("", True, False, id="all-by-default"),
        pytest.param('capabilities = ["pull"]', False, False, id="pull-alone"),
        pytest.param('capabilities = ["resolve", "pull"]', True, False, id="both"),
        pytest.param('ca = "/x.pem"', True, True, id="ca"),
    ],
)
def test_capabilities(values: str, serves: bool, own_trust: bool) -> None:
    host = Hosts.parse(f'[host."http://a"]\n{values}').hosts[0]
    assert (host.serves_pulls, host.own_trust) == (serves, own_trust)


@given(st.text(max_size=200) | st.text(max_size=20).map(lambda url: f"server = {json.dumps(url)}"))
def test_any_text_is_hosts_or_invalid(text: str) -> None:
    try:
        hosts = Hosts.parse(text).hosts
    except HostsInvalid:
        return
    assert all(host.base_url.startswith("http") for host in hosts)


# ---- judging ----

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "verdict", "words"),
    [
        pytest.param("Fri, 02 Jan 2026 03:04:00 GMT", Verdict.GOOD, "within", id="same"),
        pytest.param("Fri, 02 Jan 2026 03:00:05 GMT", Verdict.DOUBTFUL, "240 s ahead of", id="ahead"),
        pytest.param("Sat, 03 Jan 2026 03:04:05 GMT", Verdict.BAD, "86400 s behind", id="a-day"),
        pytest.param("", Verdict.DOUBTFUL, "does not say", id="none"),
        pytest.param("yesterday", Verdict.DOUBTFUL, "does not say", id="no-date"),
        pytest.param("Fri, 02 Jan 2026 03:04:00 -0000", Verdict.DOUBTFUL, "does not say", id="no-zone"),
    ],
)
def test_clock(date: str, verdict: Verdict, words: str) -> None:
    finding = judge_clock(date, NOW)
    assert finding.verdict is verdict
    assert words in finding.says


GIB = 1024**3


@pytest.mark.parametrize(
    ("room", "verdict"),
    [
        pytest.param(Room(100 * GIB, 50 * GIB, 10**7, 10**6), Verdict.GOOD, id="much"),
        pytest.param(Room(100 * GIB, 50 * GIB, 0, 0), Verdict.GOOD, id="inodes-not-counted"),
        pytest.param(Room(100 * GIB, 9 * GIB, 0, 0), Verdict.DOUBTFUL, id="evicted"),
        pytest.param(Room(10 * GIB, 4 * GIB, 0, 0), Verdict.DOUBTFUL, id="little"),
        pytest.param(Room(10 * GIB, 1000, 0, 0), Verdict.BAD, id="nothing"),
        pytest.param(Room(100 * GIB, 50 * GIB, 10**7, 50_000), Verdict.DOUBTFUL, id="few-inodes"),
        pytest.param(Room(100 * GIB, 50 * GIB, 10**7, 10), Verdict.BAD, id="no-inodes"),
    ],
)
def test_room(room: Room, verdict: Verdict) -> None:
    assert judge_room(room, Path("/s")).verdict is verdict


@given(st.binary(max_size=200).map(lambda data: b"\x7fELF\x02\x01" + data))
def test_any_bytes_are_static_or_not(data: bytes) -> None:
    assert is_dynamic(data) in (True, False)


FINDINGS = [
    Finding.good("registry", "is there"),
    Finding.bad("agent", "is away\x1b[31m", "start it\nor not"),
    Finding.doubtful("disk", "small", "buy"),
]


def test_as_text() -> None:
    assert as_text(FINDINGS).splitlines() == [
        "good      registry  is there",
        "bad       agent     is away?[31m",
        "                    mend: start it",
        "                          or not",
        "doubtful  disk      small",
        "                    mend: buy",
        "1 of 3 bad: containers in Flox environments will fail on this node",
    ]
    assert as_text(FINDINGS[:1]).endswith("\nnothing is bad")


def test_as_json() -> None:
    document = json.loads(as_json(FINDINGS))
    assert document["healthy"] is healthy(FINDINGS) is False
    assert document["findings"][2] == {"subject": "disk", "verdict": "doubtful", "says": "small", "mend": "buy"}
