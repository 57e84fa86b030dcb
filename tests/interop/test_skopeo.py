"""skopeo looks at environment images and copies them, and their closures, without knowing what they are."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from flox_formats.closure import ARTIFACT_TYPE, ClosureDocument
from tests.conftest import needs
from tests.echoip import ENVIRONMENT, EchoIp


def skopeo(*arguments: str) -> str:
    needs("skopeo")
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def image(echoip: EchoIp, reference: str) -> str:
    return f"docker://{echoip.host}/flox/empty/{ENVIRONMENT}{reference}"


@pytest.mark.parametrize("reference", [":live", ":latest", ":1"])
def test_inspects(echoip: EchoIp, reference: str) -> None:
    told = json.loads(skopeo("inspect", "--tls-verify=false", image(echoip, reference)))
    assert told["Digest"] == echoip.registry.digest(ENVIRONMENT)
    assert "FLOXBRIDGE_ENVIRONMENT=limeytexan/echoip" in told["Env"]
    assert {"1", "live", "latest"} <= set(told["RepoTags"])


def test_the_bytes_are_those_that_were_hashed(echoip: EchoIp) -> None:
    raw = skopeo("inspect", "--raw", "--tls-verify=false", image(echoip, ":live"))
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == echoip.registry.digest(ENVIRONMENT)


def test_copies_the_image_to_a_layout(echoip: EchoIp, tmp_path: Path) -> None:
    copied = copy(image(echoip, ":live"), tmp_path / "layout", "--all")
    assert copied == echoip.registry.digest(ENVIRONMENT)


def test_copies_the_closure_to_a_layout(echoip: EchoIp, tmp_path: Path) -> None:
    index = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", image(echoip, ":live")))
    closure = echoip.closure_of(index["manifests"][0]["digest"])
    assert copy(image(echoip, f"@{closure}"), tmp_path / "layout") == closure

    manifest = json.loads(blob(tmp_path / "layout", closure))
    assert manifest["artifactType"] == ARTIFACT_TYPE
    document = ClosureDocument.parse(blob(tmp_path / "layout", manifest["config"]["digest"]))
    assert {it.store_path for it in document.roots} == {echoip.packages.echoip.path}
    assert all(len(blob(tmp_path / "layout", str(it.blob))) == it.blob_size for it in document.paths)


def test_says_why_there_is_no_such_image(echoip: EchoIp) -> None:
    needs("skopeo")
    nobody = f"docker://{echoip.host}/flox/empty/limeytexan/nothing:live"
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", nobody], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "limeytexan/nothing" in done.stderr


def copy(source: str, layout: Path, *flags: str) -> str:
    """Gives the digest that lies in the layout."""
    skopeo("copy", *flags, "--src-tls-verify=false", source, f"oci:{layout}:copied")
    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(descriptor["digest"])


def blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
