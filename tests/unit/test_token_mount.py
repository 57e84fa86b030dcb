"""The token of a pod, read from what kubelet mounts, and from what a pod could put in its place."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim_hooks.bundle.spec import Spec
from shim_hooks.bundle.token_mount import find_token
from shim_hooks.errors import Refused
from shim_hooks.floxhub_token import FloxHubToken, TokenMalformed

TOKEN = FloxHubToken("flox_pat_abc")


def spec(source: Path, destination: str = "/var/run/secrets/flox.dev", **mount: object) -> Spec:
    mounts = [{"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", "ro"], **mount}]
    return Spec.parse(json.dumps({"process": {}, "root": {"path": "r"}, "mounts": mounts}).encode())


def kubelets(volume: Path, data: bytes = b"flox_pat_abc\n") -> Path:
    """A secret as kubelet's atomic writer keeps it."""
    generation = volume / "..2026_01_31_12_00_00.123456789"
    generation.mkdir(parents=True)
    (generation / "floxhub-token").write_bytes(data)
    (volume / "..data").symlink_to(generation.name)
    (volume / "floxhub-token").symlink_to("..data/floxhub-token")
    return volume


@pytest.mark.parametrize("folder", ["/var/run/secrets/flox.dev", "/run/secrets/flox.dev", "//run/secrets/flox.dev/"])
def test_a_mounted_secret(tmp_path: Path, folder: str) -> None:
    assert find_token(spec(kubelets(tmp_path / "v"), folder)) == TOKEN


def test_a_plain_folder_and_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "floxhub-token").write_text("flox_pat_abc")
    assert find_token(spec(tmp_path)) == TOKEN
    file = "/run/secrets/flox.dev/floxhub-token"
    assert find_token(spec(tmp_path / "floxhub-token", file)) == TOKEN
    assert find_token(spec(tmp_path / "floxhub-token", file, type="none", options=["bind"])) == TOKEN


@pytest.mark.parametrize(
    ("destination", "mount"),
    [
        pytest.param("/var/run/secrets/kubernetes.io", {}, id="another-secret"),
        pytest.param("/var/run/secrets", {}, id="a-folder-above"),
        pytest.param("/var/run/secrets/flox.dev", {"type": "tmpfs", "options": []}, id="no-bind-mount"),
    ],
)
def test_nothing_is_mounted(tmp_path: Path, destination: str, mount: dict[str, object]) -> None:
    assert find_token(spec(kubelets(tmp_path / "v"), destination, **mount)) is None


def _link(target: str) -> Callable[[Path], None]:
    return lambda volume: (volume / "floxhub-token").symlink_to(target)


def _data(target: str) -> Callable[[Path], None]:
    def make(volume: Path) -> None:
        (volume / "..data").symlink_to(target)
        (volume / "floxhub-token").symlink_to("..data/floxhub-token")

    return make


def _linked_in_data(volume: Path) -> None:
    kubelets(volume)
    (volume / "..data" / "floxhub-token").unlink()
    (volume / "..data" / "floxhub-token").symlink_to("../../outside/floxhub-token")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(_link("/etc/hostname"), "leads out of its volume", id="to-the-host"),
        pytest.param(_link("../outside/floxhub-token"), "leads out of its volume", id="beside"),
        pytest.param(_link("..data/../../outside/floxhub-token"), "leads out of its volume", id="through-data"),
        pytest.param(_data("../outside"), "leads out of its volume", id="data-beside"),
        pytest.param(_data("/etc"), "leads out of its volume", id="data-to-the-host"),
        pytest.param(_data(".."), "leads out of its volume", id="data-above"),
        pytest.param(_linked_in_data, "leads out of its volume", id="link-in-data"),
        pytest.param(lambda volume: os.mkfifo(volume / "floxhub-token"), "Invalid argument|not a file", id="fifo"),
        pytest.param(lambda volume: (volume / "floxhub-token").mkdir(), "not a file", id="folder"),
        pytest.param(lambda volume: None, "No such file", id="nothing"),
        pytest.param(lambda volume: (volume / "floxhub-token").write_text(""), "want a FloxHub token", id="empty"),
        pytest.param(
            lambda volume: (volume / "floxhub-token").write_text("s3cret x"), "want a FloxHub", id="two-words"
        ),
        pytest.param(lambda volume: (volume / "floxhub-token").write_bytes(b"\xff"), "want a FloxHub", id="no-text"),
        pytest.param(lambda volume: (volume / "floxhub-token").write_text("s" * 9000), "want a FloxHub", id="too-long"),
    ],
)
def test_refuses(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    kubelets(tmp_path / "outside")
    volume = tmp_path / "v"
    volume.mkdir()
    make(volume)
    with pytest.raises(Refused, match=f"mounted at /var/run/secrets/flox.dev.*({words})") as refused:
        find_token(spec(volume))
    assert "s3cret" not in str(refused.value)


@given(st.binary(max_size=50))
def test_any_bytes_are_a_token_or_none(data: bytes) -> None:
    try:
        token = FloxHubToken.parse(data)
    except TokenMalformed:
        return
    assert token.text.encode() == data.strip()
    assert repr(token) == "FloxHubToken()"
