"""The runtime specification: what is read of it, and that the rest passes through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim_hooks.bundle.spec import Mount, Spec
from shim_hooks.errors import BundleInvalid

MINIMAL = {"process": {}, "root": {"path": "rootfs"}}


def spec(**members: object) -> Spec:
    return Spec.parse(json.dumps({**MINIMAL, **members}).encode())


def test_reads_what_containerd_writes() -> None:
    read = spec(
        process={"env": ["PATH=/bin", "A=1", "A=2", "odd"], "args": ["x"]},
        mounts=[{"destination": "/proc"}, {"destination": "data/../tmp/"}, {"destination": "//x/./y"}],
        annotations={"k": "v"},
    )
    assert read.env == ("PATH=/bin", "A=1", "A=2", "odd")
    assert read.mount_points == ("/proc", "/tmp", "/x/y")
    assert (dict(read.annotations), read.rootfs) == ({"k": "v"}, "rootfs")


def test_null_is_absent_as_in_every_go_program() -> None:
    read = spec(process={"env": None}, mounts=None, annotations=None)
    assert (read.env, read.mount_points, dict(read.annotations)) == ((), (), {})
    assert read.with_mounts(last=[Mount("/m", "bind", "/s", ("ro",))]).mount_points == ("/m",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"#!/bin/sh", "not JSON", id="text"),
        pytest.param(b"\xff\xfe", "not JSON", id="no-utf8"),
        pytest.param(b"[]", "want a JSON object, got list", id="list"),
        pytest.param(b"{}", "'process' is missing", id="nothing-to-run"),
        pytest.param(b'{"process":[]}', "'process' is not an object", id="process"),
        pytest.param(b'{"process":{"env":{}}}', "process: 'env' is not an array", id="env"),
        pytest.param(b'{"process":{"env":[1]}}', "env[0] is not a string", id="env-entry"),
        pytest.param(b'{"process":{},"mounts":[{}]}', "mounts[0]: 'destination' is missing", id="mount"),
        pytest.param(b'{"process":{},"mounts":["/x"]}', "mounts[0] is not an object", id="mount-text"),
        pytest.param(b'{"process":{},"annotations":{"a":1}}', "annotations.a is not a string", id="annotation"),
        pytest.param(b'{"process":{}}', "'path' is missing", id="no-root"),
        pytest.param(b'{"process":{},"root":{"path":"r"},"x":1e400}', "too large a number", id="too-large"),
        pytest.param(b'{"process":{},"x":' + b"[" * 100_000, "nested too deeply", id="too-deep"),
        pytest.param(b" " * (9 * 1024 * 1024), "more than the", id="too-long"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(BundleInvalid) as refused:
        Spec.parse(data)
    assert words in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("process", "root", "mounts", "annotations", "env", "path", "destination")
ALMOST = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4) | st.lists(inner, max_size=2)
)


@given(st.binary(max_size=60) | ALMOST.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_specification_or_refused(data: bytes) -> None:
    try:
        read = Spec.parse(data)
    except BundleInvalid:
        return
    assert json.loads(read.to_bytes()) == json.loads(data)


@given(JSON)
def test_what_we_do_not_know_passes_through(unknown: object) -> None:
    document = {
        **MINIMAL,
        "process": {"x": unknown, "env": ["A=1"]},
        "mounts": [{"destination": "/a", "x": unknown}],
        "linux": unknown,
    }
    data = json.dumps(document).encode()
    try:
        read = Spec.parse(data)
    except BundleInvalid:  # NaN, infinities and lone surrogates
        return
    changed = read.with_env(["B=2"]).with_annotation("k", "v").with_mounts(first=[Mount("/t", "tmpfs", "t", ())])
    written = json.loads(changed.without_mount("/t").to_bytes())
    assert written == {
        **json.loads(data),
        "process": {"x": json.loads(data)["process"]["x"], "env": ["B=2"]},
        "annotations": {"k": "v"},
    }


MAPPINGS = [{"containerID": 0, "hostID": 200_000, "size": 1000}, {"containerID": 5000, "hostID": 7, "size": 1}]


@pytest.mark.parametrize(
    ("linux", "user", "expected"),
    [
        pytest.param(None, {"uid": 3, "gid": 4}, (3, 4), id="no-linux"),
        pytest.param({}, {"uid": 3, "gid": 4}, (3, 4), id="no-user-namespace"),
        pytest.param({"uidMappings": MAPPINGS, "gidMappings": MAPPINGS}, {}, (200_000, 200_000), id="root"),
        pytest.param(
            {"uidMappings": MAPPINGS, "gidMappings": MAPPINGS}, {"uid": 999, "gid": 5000}, (200_999, 7), id="both"
        ),
        pytest.param({"uidMappings": MAPPINGS}, {"uid": 1000, "gid": 1}, (1000, 1), id="not-mapped"),
    ],
)
def test_who_its_user_is_on_the_node(linux: object, user: object, expected: tuple[int, int]) -> None:
    document = {"process": {"args": ["x"], "user": user}, "root": {"path": "r"}, "linux": linux}
    assert Spec.parse(json.dumps(document).encode()).user_on_node == expected
