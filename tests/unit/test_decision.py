"""The table of design 8.2: what a container gets."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from shim_hooks.bundle.decision import Decision, InEnvironment, Untouched, decide
from shim_hooks.bundle.pinned import MARK, PinnedGeneration
from shim_hooks.bundle.spec import Spec
from shim_hooks.environment.mode import Mode
from shim_hooks.environment.realised import Wanted
from shim_hooks.errors import Refused

WEB = EnvironmentName.parse("acme/web")
LOCK, OTHER_LOCK = Digest.of(b"lock"), Digest.of(b"other")
CONTAINER = {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "main"}
SANDBOX = {"io.kubernetes.cri.container-type": "sandbox"}
PODMAN = {"io.container.manager": "libpod"}


def image(environment: str = "acme/web", generation: int = 12) -> list[str]:
    return [
        f"FLOXBRIDGE_ENVIRONMENT={environment}",
        f"FLOXBRIDGE_GENERATION={generation}",
        f"FLOXBRIDGE_LOCKFILE={LOCK}",
    ]


DEBIAN = ["PATH=/usr/bin:/bin"]


def decided(annotations: dict[str, str], env: list[str], mounts: tuple[str, ...] = ()) -> Decision:
    document = {
        "process": {"env": env},
        "root": {"path": "rootfs"},
        "annotations": annotations,
        "mounts": [{"destination": place} for place in mounts],
    }
    return decide(Spec.parse(json.dumps(document).encode()))


def flox(**annotations: str) -> dict[str, str]:
    return {f"flox.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        pytest.param(SANDBOX, "the pod's sandbox", id="sandbox"),
        pytest.param({**SANDBOX, **flox(environment="no name")}, "the pod's sandbox", id="sandbox-of-a-bad-pod"),
        pytest.param({**CONTAINER, **flox(skip_containers="a, main")}, "listed in", id="skipped"),
        pytest.param(
            {**CONTAINER, **flox(skip_containers="main", activate_mode="?")}, "listed in", id="skipped-in-a-bad-pod"
        ),
    ],
)
def test_left_alone(annotations: dict[str, str], reason: str) -> None:
    decision = decided(annotations, image())
    assert isinstance(decision, Untouched)
    assert decision.reason.startswith(reason)


def test_what_asks_for_nothing_is_left_alone_under_podman() -> None:
    """As the container is that holds a pod's namespaces: podman does not say which that is."""
    decision = decided(PODMAN, [*DEBIAN, "FLOXBRIDGE_LISTEN=:80"], ("/nix/store",))
    assert decision == Untouched("a container of podman's that asks for no environment")


@pytest.mark.parametrize(
    ("annotations", "env"),
    [
        pytest.param({"flox.dev/enviroment": "acme/web"}, DEBIAN, id="misspelt-annotation"),
        pytest.param({}, image()[:1], id="half-an-image"),
        pytest.param({MARK: "x"}, DEBIAN, id="bad-mark"),
    ],
)
def test_what_asks_for_something_is_not_left_alone_under_podman(annotations: dict[str, str], env: list[str]) -> None:
    with pytest.raises(Refused):
        decided({**PODMAN, **annotations}, env)


@pytest.mark.parametrize(
    ("annotations", "env", "generation", "lockfile"),
    [
        pytest.param(flox(environment="acme/web:3"), DEBIAN, 3, None, id="annotation-with-number"),
        pytest.param(flox(environment="acme/web:3"), image(), 3, None, id="annotation-beats-the-images-number"),
        pytest.param(flox(environment="acme/web:12"), image(), 12, LOCK, id="annotation-and-image-agree"),
        pytest.param(flox(environment="acme/web"), image(), 12, LOCK, id="the-images-generation"),
        pytest.param(flox(environment="acme/web"), DEBIAN, None, None, id="the-live-generation"),
        pytest.param({}, image(), 12, LOCK, id="image-alone"),
        pytest.param({}, [*image(), "FLOXBRIDGE_GENERATION=13"], 13, LOCK, id="the-last-value-counts"),
    ],
)
@pytest.mark.parametrize("runtime", [CONTAINER, PODMAN, {}], ids=["cri", "podman", "docker"])
def test_which_generation(
    annotations: dict[str, str],
    env: list[str],
    generation: int | None,
    lockfile: Digest | None,
    runtime: dict[str, str],
) -> None:
    decision = decided({**runtime, **annotations}, env)
    assert decision == InEnvironment(
        Wanted(WEB, generation, lockfile, Mode.RUN), exec_too=True, nix_mutable=False, warnings=()
    )


def test_a_bundle_that_was_edited_gets_the_same_again() -> None:
    mark = PinnedGeneration(WEB, 7, OTHER_LOCK).to_mark()
    decision = decided({**CONTAINER, MARK: mark, **flox(environment="acme/web")}, DEBIAN, ("/nix/store",))
    assert isinstance(decision, InEnvironment)
    assert decision.wanted == Wanted(WEB, 7, OTHER_LOCK, Mode.RUN)


def test_exec_outside_the_environment() -> None:
    decision = decided({**CONTAINER, **flox(skip_containers_exec="main")}, image())
    assert isinstance(decision, InEnvironment)
    assert not decision.exec_too


def test_annotations_that_nobody_knows_are_told() -> None:
    decision = decided({**CONTAINER, **flox(trust="yes", activate_mode="run")}, image())
    assert isinstance(decision, InEnvironment)
    assert decision.warnings == ("annotation flox.dev/trust is not one that floxbridge knows",)


@pytest.mark.parametrize(
    ("annotations", "env", "mounts", "words"),
    [
        pytest.param({}, DEBIAN, (), "container 'main' names no Flox environment: set the annotation", id="neither"),
        pytest.param(flox(skip_containers="other"), DEBIAN, (), "names no Flox environment", id="another-is-skipped"),
        pytest.param(flox(environment=""), image(), (), "annotation flox.dev/environment: want", id="bad-annotation"),
        pytest.param(
            flox(environment="acme/api"),
            image(),
            (),
            "the annotation flox.dev/environment names acme/api and the image is acme/web: change one",
            id="two-environments",
        ),
        pytest.param(flox(environment="acme/Web:12"), image(), (), "names acme/Web and the image is", id="case-counts"),
        pytest.param({}, image()[:2], (), "the image sets FLOXBRIDGE_ENVIRONMENT and not", id="half-an-image"),
        pytest.param({}, image(environment="x"), (), "variables are none of ours", id="bad-image"),
        pytest.param({MARK: "acme/web"}, image(), (), "is floxbridge's own and holds 'acme/web'", id="bad-mark"),
        pytest.param({}, image(), ("/nix/store",), "mounts a volume of its own at /nix/store", id="own-store"),
        pytest.param({}, image(), ("/nix/store/x/",), "of its own at /nix/store/x", id="own-store-path"),
    ],
)
def test_refuses(annotations: dict[str, str], env: list[str], mounts: tuple[str, ...], words: str) -> None:
    with pytest.raises(Refused) as refused:
        decided({**CONTAINER, **annotations}, env, mounts)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        pytest.param({}, "this container names no Flox environment", id="without-a-name"),
        pytest.param(
            {**CONTAINER, "io.kubernetes.cri.image-name": "docker.io/library/debian:12"},
            r"container 'main' \(image docker\.io/library/debian:12\) names no Flox environment",
            id="with-its-image",
        ),
    ],
)
def test_which_container_it_was(annotations: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        decided(annotations, DEBIAN)


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False)])
def test_a_store_that_can_be_written(value: str, expected: bool) -> None:
    decision = decided(flox(environment="acme/web", nix_mutable=value), DEBIAN)
    assert isinstance(decision, InEnvironment)
    assert decision.nix_mutable is expected


KEYS = [*CONTAINER, *flox(environment="", activate_mode="", skip_containers="", nix_mutable="", x=""), MARK]
VALUES = st.sampled_from(["main", "sandbox", "acme/web", "acme/web:3", "run", "true", ""]) | st.text(max_size=10)
ENTRIES = st.sampled_from([*image(), *image("a/b", 1), *DEBIAN, "FLOXBRIDGE_LOCKFILE"]) | st.text(max_size=10)
PLACES = st.sampled_from(["/nix", "/nix/store", "nix//store", "/tmp"]) | st.text(max_size=10)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.lists(ENTRIES), st.lists(PLACES))
def test_any_container_is_decided_or_refused(annotations: dict[str, str], env: list[str], mounts: list[str]) -> None:
    with contextlib.suppress(Refused):
        decided(annotations, env, tuple(mounts))


@pytest.mark.parametrize("mode", Mode)
def test_the_mode(mode: Mode) -> None:
    decision = decided(flox(environment="acme/web", activate_mode=mode.value), DEBIAN)
    assert isinstance(decision, InEnvironment)
    assert decision.wanted.mode is mode
