"""The bytes of images: frozen by digest, since a changed byte is a new digest for every environment of every user."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from flox_formats.json_document import canonical_json
from flox_formats.lockfile import Lockfile
from flox_formats.system import System
from registry_proxy.images.content import INDEX, MANIFEST
from registry_proxy.images.empty_image import EmptyImage
from registry_proxy.images.empty_layer import ENTRIES, empty_layer, layer_diff_id, make_layer
from registry_proxy.images.environment_image import EnvironmentImage

_LOCKFILES = Path(__file__).parents[1] / "fixtures" / "lockfiles"


def _image(**manifest: object) -> EnvironmentImage:
    package = {
        "install_id": "hello",
        "priority": 5,
        "outputs_to_install": ["out"],
        "attr_path": "hello",
        "locked_url": "https://example.org/nixpkgs",
    }
    path = "/nix/store/lxra5fkapsdbdjqi6wa205s7vmqh1vxb-hello-2.12.3"
    lockfile = {
        "lockfile-version": 1,
        "manifest": {"schema-version": "1.10.0", "install": {"hello": {"pkg-path": "hello"}}, **manifest},
        "packages": [{**package, "system": system, "outputs": {"out": path}} for system in System],
    }
    generation = Generation(number=12, parent=None, created=1772438400, last_live=None, description="")
    return EnvironmentImage(
        EnvironmentName("Acme", "Web"),
        "https://hub.flox.dev/Acme/Web",
        generation,
        Lockfile.parse(canonical_json(lockfile)),
    )


def test_the_kept_layer_holds_exactly_the_entries_of_the_design() -> None:
    assert gzip.decompress(empty_layer().data) == gzip.decompress(make_layer())
    with tarfile.open(fileobj=io.BytesIO(empty_layer().data)) as archive:
        found = {entry.name: entry for entry in archive}
    assert {(name.rstrip("/"), mode) for name, mode, _ in ENTRIES} == {(e.name, e.mode) for e in found.values()}
    assert all((entry.mtime, entry.uid, entry.gid) == (0, 0, 0) for entry in found.values())
    assert len(empty_layer().data) <= 1024


def test_the_generic_image_keeps_its_digest() -> None:
    assert str(EmptyImage().index.digest) == "sha256:a40efbae265032a88597349c1ffc343f2106636ebc4e5ee0e495d6b51124b600"


def test_an_environment_image_keeps_its_digest() -> None:
    assert str(_image().index.digest) == "sha256:f7c95708629fe71f7f5eb0e16034210a7d79c2a6796a2d8365e6c6ddd78ae2c3"


def test_index_has_a_manifest_for_each_linux_system() -> None:
    image = _image()
    index = json.loads(image.index.data)
    assert index["mediaType"] == INDEX
    assert [entry["platform"] for entry in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    assert [entry["digest"] for entry in index["manifests"]] == [
        str(image.manifests[System.X86_64_LINUX].digest),
        str(image.manifests[System.AARCH64_LINUX].digest),
    ]


@pytest.mark.parametrize("system", list(System))
def test_manifest_and_config_name_the_generation(system: System) -> None:
    image = _image()
    manifest, config = json.loads(image.manifests[system].data), json.loads(image.configs[system].data)
    assert manifest["mediaType"] == MANIFEST
    assert manifest["config"]["digest"] == str(image.configs[system].digest)
    assert (
        manifest["annotations"]
        == json.loads(image.index.data)["annotations"]
        == {
            "dev.flox.environment": "Acme/Web",
            "dev.flox.generation": "12",
            "dev.flox.lockfile": str(image.lockfile.digest),
            "org.opencontainers.image.created": "2026-03-02T08:00:00Z",
            "org.opencontainers.image.source": "https://hub.flox.dev/Acme/Web",
            "org.opencontainers.image.title": "Acme/Web",
            "org.opencontainers.image.version": "12",
        }
    )
    assert config["architecture"] == system.oci_architecture
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer_diff_id()]}
    assert config["config"] == {
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "FLOXBRIDGE_ENVIRONMENT=Acme/Web",
            "FLOXBRIDGE_GENERATION=12",
            f"FLOXBRIDGE_LOCKFILE={image.lockfile.digest}",
        ]
    }


def test_containerize_config_reaches_the_image() -> None:
    wish = {
        "cmd": ["serve", "--port", "80"],
        "user": "1000:1000",
        "working-dir": "/srv",
        "exposed-ports": ["80/tcp"],
        "volumes": ["/data"],
        "labels": {"team": "web"},
        "stop-signal": "SIGINT",
    }
    image = _image(containerize={"config": wish})
    config = json.loads(image.configs[System.X86_64_LINUX].data)["config"]
    del config["Env"]
    assert config == {
        "Cmd": ["serve", "--port", "80"],
        "User": "1000:1000",
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"team": "web"},
        "StopSignal": "SIGINT",
    }


@pytest.mark.parametrize(
    ("wished", "found"),
    [
        pytest.param("root", "root", id="root"),
        pytest.param("1000", "1000", id="uid"),
        pytest.param("app", "10000:10000", id="a-name-that-passwd-lacks"),
        pytest.param("app:app", "10000:10000", id="name-and-group"),
    ],
)
def test_user(wished: str, found: str) -> None:
    image = _image(containerize={"config": {"user": wished}})
    assert json.loads(image.configs[System.X86_64_LINUX].data)["config"]["User"] == found


def test_sections_that_images_do_not_show_change_the_digest_by_the_lockfile_alone() -> None:
    one, other = _image(vars={"A": "1"}), _image(vars={"A": "2"})
    assert one.index.digest != other.index.digest
    assert one.lockfile.digest != other.lockfile.digest


def test_every_fixture_for_linux_gives_an_image_that_refers_to_itself() -> None:
    generation = Generation(number=1, parent=None, created=0, last_live=None, description="")
    made = 0
    for path in sorted(_LOCKFILES.glob("*.lock")):
        lockfile = Lockfile.parse(path.read_bytes())
        if not lockfile.linux_systems():
            continue
        image = EnvironmentImage(EnvironmentName("acme", "web"), "https://hub.flox.dev/acme/web", generation, lockfile)
        known = {str(content.digest) for content in (*image.manifest_contents, *image.blob_contents)}
        for manifest in image.manifests.values():
            document = json.loads(manifest.data)
            assert {document["config"]["digest"], *(layer["digest"] for layer in document["layers"])} <= known
        made += 1
    assert made >= 3
