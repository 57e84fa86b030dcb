"""Bills of materials: what is in them, that they are valid, and that the same image and closure give the same bytes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from flox_formats.closure import ClosureDocument, ClosurePath, ClosureRoot
from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName
from flox_formats.generations import Generation
from flox_formats.json_document import canonical_json
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import Compression
from flox_formats.store_path import StorePath
from flox_formats.system import System
from registry_proxy.images.content import SBOM
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.images.sbom import sbom, sbom_artifact
from tests.real_lockfiles import REAL_LOCKFILES

_HELLO = "/nix/store/lxra5fkapsdbdjqi6wa205s7vmqh1vxb-hello-2.12.3"
_GLIBC = "/nix/store/0jsvhyvxslhyq14isbx2xajasisp7xdg-glibc-2.40-66"
_BASE = "https://github.com/flox/nixpkgs?rev="
_REVISION = "2fcb964de67fcf60b43471c55d5d99e61a9ccb5a"
_VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
_FIXTURES = Path(__file__).parents[1] / "fixtures" / "lockfiles"


def image(**package: Any) -> EnvironmentImage:
    """One package, `hello`, with these members more, for each system."""
    entry = {
        "install_id": "hi",
        "priority": 5,
        "outputs": {"out": _HELLO},
        "outputs_to_install": ["out"],
        "locked_url": _BASE + _REVISION,
        **package,
    }
    lockfile = {
        "lockfile-version": 1,
        "manifest": {"schema-version": "1.10.0", "install": {"hi": {"pkg-path": "hello"}}},
        "packages": [{**entry, "system": system} for system in System],
    }
    return image_of(Lockfile.parse(canonical_json(lockfile)))


def image_of(lockfile: Lockfile) -> EnvironmentImage:
    generation = Generation(number=12, parent=None, created=1772438400, last_live=None, description="")
    return EnvironmentImage(EnvironmentName("Acme", "Web"), "https://hub.flox.dev/Acme/Web", generation, lockfile)


def path(text: str, *references: str) -> ClosurePath:
    nar = Digest.of(text.encode())
    refers = tuple(sorted(map(StorePath.parse, references)))
    return ClosurePath(StorePath.parse(text), nar, 1000, refers, (), None, nar, 500, Compression.XZ)


def closure(system: System = System.X86_64_LINUX) -> ClosureDocument:
    """hello, which refers to itself and to glibc."""
    paths = [path(_HELLO, _HELLO, _GLIBC), path(_GLIBC)]
    root = ClosureRoot("hi", "out", StorePath.parse(_HELLO), 5)
    return ClosureDocument(system, (root,), tuple(sorted(paths, key=lambda it: it.store_path)))


def bill(made: EnvironmentImage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sbom(made, closure()))
    return document


def is_valid(data: bytes) -> bool:
    return _VALIDATOR.validate_str(data.decode()) is None


def component(made: EnvironmentImage, name: str) -> dict[str, Any]:
    (found,) = (it for it in bill(made)["components"] if it["bom-ref"].endswith(name))
    return dict(found)


def properties(found: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it["value"] for it in found["properties"]}


def test_a_bill_keeps_its_digest() -> None:
    digest = Digest.of(sbom(image(license="GPL-3.0-or-later", version="2.12.3"), closure()))
    assert str(digest) == "sha256:ed48e1d75585a0b00cc4580e468f7ed3305cc98d677bdaaa2f20e300ab9e3830"


def test_it_is_about_the_image() -> None:
    made = image()
    about = bill(made)["metadata"]
    assert about["timestamp"] == "2026-03-02T08:00:00+00:00"
    assert about["tools"] == {"components": [{"name": "floxbridge", "type": "application"}]}
    environment = about["component"]
    assert (environment["group"], environment["name"], environment["version"]) == ("Acme", "Web", "12")
    assert environment["bom-ref"] == str(made.index.digest)
    assert environment["purl"] == f"pkg:oci/web@{made.index.digest}?arch=amd64"
    assert properties(environment) == {"flox:lockfile": str(made.lockfile.digest), "nix:system": "x86_64-linux"}


def test_a_component_has_what_lockfile_and_closure_say_of_it() -> None:
    found = component(
        image(pname="hello", version="2.12.3", description="Says hi", license="GPL-3.0-or-later", attr_path="hello"),
        "hello-2.12.3",
    )
    nar = Digest.of(_HELLO.encode())
    assert (found["name"], found["version"], found["description"]) == ("hello", "2.12.3", "Says hi")
    assert found["purl"] == "pkg:nix/hello@2.12.3"
    assert found["licenses"] == [{"license": {"acknowledgement": "declared", "id": "GPL-3.0-or-later"}}]
    assert found["hashes"] == [{"alg": "SHA-256", "content": nar.hex}]
    assert found["externalReferences"] == [{"type": "vcs", "url": _BASE + _REVISION}]
    assert properties(found) == {
        "flox:install_id": "hi",
        "nix:attr_path": "hello",
        "nix:nar_hash": nar.to_nix(),
        "nix:nar_size": "1000",
        "nix:output": "out",
        "nix:source": _BASE + _REVISION,
        "nix:source_revision": _REVISION,
        "nix:store_path": _HELLO,
    }


def test_a_path_of_no_locked_package_has_what_its_name_says() -> None:
    found = component(image(), "glibc-2.40-66")
    assert (found["name"], found["version"]) == ("glibc", "2.40-66")
    assert set(properties(found)) == {"nix:store_path", "nix:nar_hash", "nix:nar_size"}


def test_dependencies_are_the_references_without_the_path_itself() -> None:
    made = image()
    hello, glibc = (text.removeprefix("/nix/store/") for text in (_HELLO, _GLIBC))
    found = {it["ref"]: it.get("dependsOn", []) for it in bill(made)["dependencies"]}
    assert found == {str(made.index.digest): [hello], hello: [glibc], glibc: []}


def test_the_environment_depends_on_what_it_needs_and_no_package_refers_to() -> None:
    bash = "/nix/store/1m8xmzkascsj3r7v5qhgha0q4q61bi2k-bash-5.3"
    paths = sorted((*closure().paths, path(bash, _GLIBC)), key=lambda it: it.store_path)
    document = json.loads(sbom(image(), replace(closure(), paths=tuple(paths))))
    about = document["metadata"]["component"]["bom-ref"]
    (found,) = (it["dependsOn"] for it in document["dependencies"] if it["ref"] == about)
    assert found == [text.removeprefix("/nix/store/") for text in (bash, _HELLO)]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param("MIT", [{"license": "MIT"}], id="id"),
        pytest.param("mit", [{"license": "MIT"}], id="id-in-another-case"),
        pytest.param("MIT OR Apache-2.0", [{"expression": "MIT OR Apache-2.0"}], id="expression"),
        pytest.param("[ MIT, Apache-2.0 ]", [{"license": "Apache-2.0"}, {"license": "MIT"}], id="list-in-a-text"),
        pytest.param(
            "[ MIT, MIT OR ISC ]", [{"license": "MIT"}, {"license": "MIT OR ISC"}], id="no-expression-in-a-list"
        ),
        pytest.param("Acme's own", [{"license": "Acme's own"}], id="name"),
        pytest.param("(" * 5000, [{"license": "(" * 5000}], id="nested"),
        pytest.param(" ", [], id="blank"),
    ],
)
def test_licenses(said: str, found: list[dict[str, str]]) -> None:
    made = image(license=said)
    assert is_valid(sbom(made, closure()))
    stated = component(made, "hello-2.12.3").get("licenses", [])
    plain = [
        {"expression": it["expression"]}
        if "expression" in it
        else {"license": it["license"].get("id") or it["license"]["name"]}
        for it in stated
    ]
    assert sorted(plain, key=str) == sorted(found, key=str)


@pytest.mark.parametrize(
    ("url", "reference", "revision"),
    [
        pytest.param(_BASE + _REVISION, True, _REVISION, id="base-catalog"),
        pytest.param(f"github:acme/kit/{_REVISION}?narHash=sha256-PDF%3D", True, _REVISION, id="flake"),
        pytest.param("https://git.example.com/acme/ours", True, None, id="no-revision"),
        pytest.param("no url", False, None, id="no-url"),
        pytest.param("https://example.org/%zz", False, None, id="bad-escape"),
        pytest.param("https://example.org/[", False, None, id="bad-character"),
    ],
)
def test_source(url: str, reference: bool, revision: str | None) -> None:
    made = image(locked_url=url)
    assert is_valid(sbom(made, closure()))
    found = component(made, "hello-2.12.3")
    assert properties(found)["nix:source"] == url
    assert properties(found).get("nix:source_revision") == revision
    assert found.get("externalReferences", []) == ([{"type": "vcs", "url": url}] if reference else [])


def test_each_system_has_a_bill_and_a_serial_number_of_its_own() -> None:
    made = image()
    bills = [json.loads(sbom(made, closure(system))) for system in System]
    assert len({it["serialNumber"] for it in bills}) == 2
    assert sbom(made, closure()) == sbom(image(), closure())


def test_the_artifact_names_file_and_platform() -> None:
    artifact = sbom_artifact(image(), closure(System.AARCH64_LINUX))
    assert artifact.artifact_type == artifact.file.media_type == SBOM
    assert artifact.annotations["org.opencontainers.image.title"] == "sbom.aarch64-linux.cdx.json"
    assert artifact.annotations["dev.flox.platform"] == "linux/arm64"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(deadline=None, max_examples=40)
@given(name=_TEXT, version=_TEXT, license=_TEXT, description=_TEXT, locked_url=_TEXT, rev=_TEXT)
def test_whatever_a_lockfile_says_the_bill_is_valid(**package: str) -> None:
    package["pname"] = package["name"]
    assert is_valid(sbom(image(**package), closure()))


@pytest.mark.parametrize("file", [*sorted(_FIXTURES.glob("*.lock")), *REAL_LOCKFILES], ids=lambda file: file.stem)
def test_bills_of_real_lockfiles_are_valid(file: Path) -> None:
    lockfile = Lockfile.parse(file.read_bytes())
    made = image_of(lockfile)
    for system in lockfile.linux_systems():
        roots = tuple(
            ClosureRoot(it.install_id, it.output, it.store_path, it.priority)
            for it in lockfile.selected_outputs(system)
        )
        paths = sorted({path(str(root.store_path)) for root in roots}, key=lambda it: it.store_path)
        data = sbom(made, ClosureDocument(system, roots, tuple(paths)))
        assert is_valid(data)
