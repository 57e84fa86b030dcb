"""The edits of a bundle, each on its own and all in order."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.bundle.edits import (
    EDITS,
    OwnStore,
    Placement,
    apply_edits,
    mount_the_store,
    provide_tmp,
    run_through_activation,
    set_environment,
    take_our_variables_out,
)
from shim_hooks.bundle.pinned import PinnedGeneration
from shim_hooks.bundle.spec import Spec
from shim_hooks.environment.activation import ActivationScript
from shim_hooks.environment.mode import Mode
from shim_hooks.store.container_stores import MutableStore

GENERATION = PinnedGeneration(EnvironmentName.parse("acme/web"), 12, Digest.of(b"lock"))


def placement(
    *,
    has_tmp: bool = True,
    variables: dict[str, str] | None = None,
    number: int = 12,
    script: ActivationScript | None = None,
    mutable: MutableStore | None = None,
    own: OwnStore | None = None,
    folders: tuple[str, ...] = ("store",),
) -> Placement:
    return Placement(
        generation=PinnedGeneration(GENERATION.environment, number, GENERATION.lockfile),
        folders=tuple(Path("/var/lib/floxbridge", folder) for folder in folders),
        variables={"PATH": "/e/bin:/bin", "FLOX_ENV": "/e"} if variables is None else variables,
        removed_variables=frozenset({"FLOX_SHELL"}),
        rootfs_has_tmp=has_tmp,
        script=script,
        mutable=mutable,
        own=own,
    )


def spec(*, env: list[str] | None = None, mounts: list[str] | None = None) -> Spec:
    document = {
        "ociVersion": "1.1.0",
        "process": {"args": ["echoip"], "env": env or []},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": place, "type": "bind", "source": "/s"} for place in mounts or []],
    }
    return Spec.parse(json.dumps(document).encode())


def test_our_variables_are_taken_out() -> None:
    edited = take_our_variables_out(
        spec(env=["FLOXBRIDGE_GENERATION=1", "A=FLOXBRIDGE_LOCKFILE", "FLOXBRIDGE_LOCKFILE", "FLOXBRIDGE_LISTEN=:80"]),
        placement(),
    )
    assert edited.env == ("A=FLOXBRIDGE_LOCKFILE", "FLOXBRIDGE_LISTEN=:80")


def test_the_store_is_mounted_last_and_read_only() -> None:
    edited = mount_the_store(spec(mounts=["/proc", "/nix"]), placement())
    assert edited.mount_points == ("/proc", "/nix", "/nix/store")
    assert edited.document["mounts"][-1] == {  # type: ignore[index]
        "destination": "/nix/store",
        "type": "bind",
        "source": "/var/lib/floxbridge/store",
        "options": ["rbind", "rprivate", "ro", "nosuid", "nodev"],
    }


@pytest.mark.parametrize("mutable", [False, True])
def test_what_only_its_containers_may_see_lies_above_what_all_see(mutable: bool) -> None:
    changes = MutableStore(Path("/u"), Path("/w")) if mutable else None
    own = OwnStore(Path("/image"), Path("/hidden"))
    for image, more in ((None, ""), (own, ":/hidden:/image")):
        edited = mount_the_store(spec(), placement(folders=("private/1", "store"), mutable=changes, own=image))
        mount = edited.document["mounts"][-1]  # type: ignore[index]
        layers = f"lowerdir=/var/lib/floxbridge/private/1:/var/lib/floxbridge/store{more}"
        written = ["upperdir=/u", "workdir=/w"] if mutable else ["ro"]
        assert (mount["type"], mount["options"]) == ("overlay", ["nosuid", "nodev", layers, *written])


def test_the_store_is_mounted_once() -> None:
    once = mount_the_store(spec(mounts=["/nix/store/", "/nix/store/../store"]), placement())
    assert once.mount_points == ("/nix/store",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([], ["PATH=/e/bin:/bin", "FLOX_ENV=/e"], id="nothing"),
        pytest.param(["HOME=/root", "PATH=/bin"], ["HOME=/root", "PATH=/e/bin:/bin", "FLOX_ENV=/e"], id="replaced"),
        pytest.param(["PATH=/a", "B=1", "PATH=/b"], ["B=1", "PATH=/e/bin:/bin", "FLOX_ENV=/e"], id="twice"),
        pytest.param(
            ["FLOX_SHELL=x", "FLOX_SHELLS=x"], ["FLOX_SHELLS=x", "PATH=/e/bin:/bin", "FLOX_ENV=/e"], id="gone"
        ),
        pytest.param(["no equals", "B=a=b"], ["no equals", "B=a=b", "PATH=/e/bin:/bin", "FLOX_ENV=/e"], id="odd"),
    ],
)
def test_variables_are_set_once(before: list[str], after: list[str]) -> None:
    assert list(set_environment(spec(env=before), placement()).env) == after


@pytest.mark.parametrize(
    ("mounts", "has_tmp", "after"),
    [
        pytest.param(["/proc"], True, ["/proc"], id="image-has-it"),
        pytest.param(["/proc"], False, ["/tmp", "/proc"], id="nobody-has-it"),
        pytest.param(["/tmp/"], False, ["/tmp"], id="pod-mounts-it"),
        pytest.param(["/tmp/cache"], False, ["/tmp", "/tmp/cache"], id="pod-mounts-below"),
    ],
)
def test_tmp(mounts: list[str], has_tmp: bool, after: list[str]) -> None:
    assert list(provide_tmp(spec(mounts=mounts), placement(has_tmp=has_tmp)).mount_points) == after


def test_all_of_them() -> None:
    edited = apply_edits(
        spec(env=["FLOXBRIDGE_GENERATION=12", "TERM=xterm"], mounts=["/proc"]), placement(has_tmp=False)
    )
    assert edited.env == ("TERM=xterm", "PATH=/e/bin:/bin", "FLOX_ENV=/e")
    assert edited.mount_points == ("/tmp", "/proc", "/nix/store")
    assert PinnedGeneration.of_mark(edited.annotations) == GENERATION
    assert edited.document["process"]["args"] == ["echoip"]  # type: ignore[index]
    assert edited.document["ociVersion"] == "1.1.0"


ENV = st.lists(
    st.sampled_from(["PATH", "FLOX_ENV", "FLOX_SHELL", "FLOXBRIDGE_LOCKFILE", "A"]).map(lambda name: f"{name}=1")
)
MOUNTS = st.lists(st.sampled_from(["/proc", "/nix", "/nix/store", "/tmp", "/tmp/x", "nix/store/"]))


@given(ENV, MOUNTS, st.booleans(), st.integers(11, 13))
def test_a_second_time_changes_nothing(env: list[str], mounts: list[str], has_tmp: bool, number: int) -> None:
    once = apply_edits(spec(env=env, mounts=mounts), placement(has_tmp=has_tmp))
    assert apply_edits(once, placement(has_tmp=has_tmp)) == once
    other = apply_edits(once, placement(has_tmp=has_tmp, number=number))
    assert (other.env, other.mount_points) == (once.env, once.mount_points)


@given(ENV, MOUNTS, st.booleans())
def test_so_does_each_edit_alone(env: list[str], mounts: list[str], has_tmp: bool) -> None:
    for edit in EDITS:
        once = edit(spec(env=env, mounts=mounts), placement(has_tmp=has_tmp))
        assert edit(once, placement(has_tmp=has_tmp)) == once


SCRIPT = ActivationScript("/b/bin/bash", "/e/start.bash", "/e/record", Mode.DEV)


def test_a_command_is_run_through_the_script() -> None:
    document = {
        "process": {"args": ["echoip", "-v"], "user": {"uid": 7, "gid": 8, "additionalGids": [9]}},
        "root": {"path": "r"},
    }
    edited = run_through_activation(Spec.parse(json.dumps(document).encode()), placement(script=SCRIPT))
    assert edited.args == ("/b/bin/bash", "-p", "/e/start.bash", "dev", "echoip", "-v")
    assert edited.user == (7, 8)
    mount: dict[str, object] = edited.document["mounts"][0]  # type: ignore[index]
    assert (mount["destination"], mount["type"]) == ("/e/record", "tmpfs")
    assert {"uid=7", "gid=8", "mode=0700"} <= set(mount["options"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("args", "script"),
    [pytest.param(["echoip"], None, id="static"), pytest.param([], SCRIPT, id="without-a-command")],
)
def test_a_command_that_needs_no_script(args: list[str], script: ActivationScript | None) -> None:
    before = Spec.parse(json.dumps({"process": {"args": args}, "root": {"path": "r"}}).encode())
    assert run_through_activation(before, placement(script=script)) == before


MUTABLE = MutableStore(Path("/s/c/upper"), Path("/s/c/work"))
OWN = OwnStore(Path("/b/rootfs/nix/store"), None)
HIDING = OwnStore(Path("/b/rootfs/nix/store"), Path("/s/c/hidden"))
NODE = "/var/lib/floxbridge/store"
WRITABLE = ["upperdir=/s/c/upper", "workdir=/s/c/work"]


@pytest.mark.parametrize(
    ("mutable", "own", "layers"),
    [
        pytest.param(MUTABLE, None, [f"lowerdir={NODE}", *WRITABLE], id="mutable"),
        pytest.param(None, OWN, [f"lowerdir={NODE}:/b/rootfs/nix/store", "ro"], id="own"),
        pytest.param(None, HIDING, [f"lowerdir={NODE}:/s/c/hidden:/b/rootfs/nix/store", "ro"], id="own-hidden"),
        pytest.param(MUTABLE, OWN, [f"lowerdir={NODE}:/b/rootfs/nix/store", *WRITABLE], id="own-and-mutable"),
    ],
)
def test_a_store_of_layers(mutable: MutableStore | None, own: OwnStore | None, layers: list[str]) -> None:
    edited = mount_the_store(spec(), placement(mutable=mutable, own=own))
    assert edited.document["mounts"][-1] == {  # type: ignore[index]
        "destination": "/nix/store",
        "type": "overlay",
        "source": "overlay",
        "options": ["nosuid", "nodev", *layers],
    }
