"""The oras command finds, pulls and copies what refers to an environment image, as people and policies would."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from registry_proxy.images import audit_trail
from registry_proxy.images.content import LOCKFILE, SBOM
from tests.conftest import cannot_run
from tests.echoip import ENVIRONMENT, EchoIp

ORAS = Path(__file__).resolve().parents[2] / "build" / "oras" / "usr" / "bin" / "oras"


def oras(*arguments: str) -> str:
    if not ORAS.exists():
        cannot_run("no build/oras; `make test` unpacks it on Debian")
    done = subprocess.run([str(ORAS), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def discovered(echoip: EchoIp, *flags: str, reference: str = ":live") -> list[dict[str, Any]]:
    image = f"{echoip.host}/flox/empty/{ENVIRONMENT}{reference}"
    assert oras("resolve", "--plain-http", image).strip() == echoip.registry.digest(ENVIRONMENT)
    return referrers("--plain-http", *flags, image)


def referrers(*arguments: str) -> list[dict[str, Any]]:
    """What `oras discover` lists; from version 1.3 on it calls them by another name."""
    told = json.loads(oras("discover", "--format", "json", *arguments))
    found: list[dict[str, Any]] = told["manifests"] if "manifests" in told else told["referrers"]
    return found


def test_discovers_what_refers_to_the_index(echoip: EchoIp) -> None:
    found = discovered(echoip)
    assert [it["artifactType"] for it in found] == [LOCKFILE, SBOM, audit_trail.ARTIFACT_TYPE]
    assert {it["annotations"]["dev.flox.environment"] for it in found} == {ENVIRONMENT}


@pytest.mark.parametrize("artifact_type", [LOCKFILE, SBOM, audit_trail.ARTIFACT_TYPE])
def test_discovers_by_artifact_type(echoip: EchoIp, artifact_type: str) -> None:
    (found,) = discovered(echoip, "--artifact-type", artifact_type)
    assert found["artifactType"] == artifact_type


@pytest.mark.parametrize(
    ("artifact_type", "name"),
    [
        pytest.param(LOCKFILE, "manifest.lock", id="lockfile"),
        pytest.param(audit_trail.ARTIFACT_TYPE, "audit-trail.jsonl", id="audit-trail"),
    ],
)
def test_pulls_each_as_a_file(echoip: EchoIp, artifact_type: str, name: str, tmp_path: Path) -> None:
    (found,) = discovered(echoip, "--artifact-type", artifact_type)
    oras("pull", "--plain-http", "--output", str(tmp_path), found["reference"])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text().startswith("{")


def test_copies_the_image_with_all_that_refers_to_it_and_its_closure(echoip: EchoIp, tmp_path: Path) -> None:
    image = f"{echoip.host}/flox/empty/{ENVIRONMENT}:live"
    layout = tmp_path / "layout"
    oras("copy", "--recursive", "--from-plain-http", image, "--to-oci-layout", f"{layout}:live")
    there = referrers("--oci-layout", f"{layout}:live")
    assert {it["digest"] for it in there} == {it["digest"] for it in discovered(echoip)}
    (platform,) = echoip.index(ENVIRONMENT)["manifests"]
    closures = referrers("--oci-layout", f"{layout}@{platform['digest']}")
    assert [it["digest"] for it in closures] == [echoip.closure_of(platform["digest"])]
