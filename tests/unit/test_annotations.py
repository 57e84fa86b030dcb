"""Annotations of the pod and of the runtime."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.environment import EnvironmentRef
from shim_hooks.bundle.annotations import Container, PodWishes, skipped_containers
from shim_hooks.environment.mode import Mode
from shim_hooks.errors import Refused

NOTHING = PodWishes(None, Mode.RUN, False, frozenset(), False, ())


def test_what_a_pod_says_by_saying_nothing() -> None:
    assert PodWishes.parse({"kubernetes.io/x": "flox.dev/environment"}) == NOTHING


def test_all_of_them() -> None:
    assert PodWishes.parse(
        {
            "flox.dev/environment": "acme/Web.app:12",
            "flox.dev/activate-mode": "dev",
            "flox.dev/nix-mutable": "true",
            "flox.dev/skip-containers": "vault-agent",
            "flox.dev/skip-containers-exec": "build, helper",
            "flox.dev/disable-metrics": "true",
            "flox.dev/trust": "x",
            "flox.dev/": "x",
        }
    ) == PodWishes(
        EnvironmentRef.parse("acme/Web.app:12"),
        Mode.DEV,
        True,
        frozenset({"build", "helper"}),
        True,
        ("flox.dev/", "flox.dev/trust"),
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        pytest.param("environment", "", "want an environment owner/name", id="empty"),
        pytest.param("environment", "web", "want an environment owner/name", id="no-owner"),
        pytest.param("environment", "acme/web:live", "want a generation number", id="word-for-number"),
        pytest.param("environment", "acme/web:0", "want a generation number", id="zero"),
        pytest.param("environment", "acme/web\nx", "may hold only", id="new-line"),
        pytest.param("activate-mode", "Run", "want run or dev, got 'Run'", id="mode"),
        pytest.param("nix-mutable", "yes", 'want "true" or "false", got \'yes\'', id="boolean"),
        pytest.param("disable-metrics", "", 'want "true" or "false", got \'\'', id="empty-boolean"),
    ],
)
def test_refuses(key: str, value: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        PodWishes.parse({f"flox.dev/{key}": value})
    assert str(refused.value).startswith(f"annotation flox.dev/{key}: ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("a", {"a"}, id="one"),
        pytest.param("vault-agent,vault-agent-init", {"vault-agent", "vault-agent-init"}, id="two"),
        pytest.param(" a ,\tb\n,,", {"a", "b"}, id="white-space"),
        pytest.param("", set(), id="none"),
    ],
)
def test_lists_of_containers(text: str, names: set[str]) -> None:
    assert skipped_containers({"flox.dev/skip-containers": text}) == names


@pytest.mark.parametrize(
    ("annotations", "container"),
    [
        pytest.param(
            {
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.container-name": "web",
                "io.kubernetes.cri.image-name": "docker.io/flox/empty:1.0.0",
            },
            Container(False, False, "web", "docker.io/flox/empty:1.0.0"),
            id="containerd",
        ),
        pytest.param(
            {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-name": "pod"},
            Container(True, False, None, None),
            id="containerd-sandbox",
        ),
        pytest.param(
            {
                "io.kubernetes.cri-o.ContainerType": "container",
                "io.kubernetes.cri-o.ContainerName": "k8s_web_pod_default_9d6f_0",
                "io.kubernetes.container.name": "web",
                "io.kubernetes.cri-o.ImageName": "docker.io/flox/empty:1.0.0",
            },
            Container(False, False, "web", "docker.io/flox/empty:1.0.0"),
            id="cri-o",
        ),
        pytest.param(
            {"io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.container.name": "POD"},
            Container(True, False, "POD", None),
            id="cri-o-sandbox",
        ),
        pytest.param({"io.container.manager": "libpod"}, Container(False, True, None, None), id="podman"),
        pytest.param({}, Container(False, False, None, None), id="docker"),
    ],
)
def test_what_the_runtime_says(annotations: dict[str, str], container: Container) -> None:
    assert Container.of(annotations) == container


KEYS = st.sampled_from(["environment", "activate-mode", "nix-mutable", "skip-containers-exec", "disable-metrics", "x"])


@given(st.dictionaries(KEYS.map("flox.dev/".__add__), st.text(max_size=20)))
def test_any_annotations_are_wishes_or_refused(annotations: dict[str, str]) -> None:
    with contextlib.suppress(Refused):
        PodWishes.parse(annotations)
