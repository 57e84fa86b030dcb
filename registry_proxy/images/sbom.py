"""The bill of materials of an environment on one system: CycloneDX 1.6, from its lockfile and its closure.

Belongs here: which facts go where in the document. The library knows CycloneDX, and takes a while to import: do so when
a bill is made. Nothing in a bill is random or of today: the same image and closure give the same bytes with
one version of the library (its list of SPDX ids grows), which the lock file pins.
Specification: https://cyclonedx.org/docs/1.6/json/
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema.schema import SchemaVersion1Dot6
from packageurl import PackageURL

from flox_formats.closure import ClosureDocument, ClosurePath
from flox_formats.digest import Digest
from flox_formats.json_document import canonical_json
from flox_formats.locked_package import LockedPackage
from flox_formats.store_path import StorePath
from registry_proxy.images.annotations import PLATFORM
from registry_proxy.images.artifact import Artifact
from registry_proxy.images.content import SBOM, Content
from registry_proxy.images.environment_image import EnvironmentImage
from registry_proxy.images.licenses import licenses

_SERIALS = UUID("6f1d3c1e-6a5e-5d0c-9f5b-0d8a4b1f7c52")
_VERSION = re.compile(r"(.+?)-([^a-zA-Z].*)")  # Nix's rule: from the first dash that no letter follows
_REVISION = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")
_URL = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class _Origin:
    """Which output of which locked package a store path is."""

    package: LockedPackage
    output: str | None


def sbom_artifact(image: EnvironmentImage, closure: ClosureDocument) -> Artifact:
    """`closure` is the image's on one of its systems."""
    return Artifact.about(
        image,
        SBOM,
        Content(SBOM, sbom(image, closure)),
        title=f"sbom.{closure.system}.cdx.json",
        more={PLATFORM: closure.system.oci_platform},
    )


def sbom(image: EnvironmentImage, closure: ClosureDocument) -> bytes:
    """In the closure's order. The library writes each part and the document around them, we put them together: its own
    way of that compares every component with every other."""
    origins = _origins(image, closure)
    environment = _environment(image, closure)
    document = json.loads(JsonV1Dot6(_around(image, environment)).output_as_string())
    document["components"] = [_json(_component(path, origins.get(path.store_path))) for path in closure.paths]
    document["dependencies"] = [
        _depends(str(environment.bom_ref), _wanted(closure)),
        *(_depends(path.store_path.base_name, path.references) for path in closure.paths),
    ]
    del document["serialNumber"]
    document["serialNumber"] = uuid5(_SERIALS, str(Digest.of(canonical_json(document)))).urn
    return canonical_json(document)


def _around(image: EnvironmentImage, environment: Component) -> Bom:
    tools = ToolRepository(components=[Component(name="floxbridge", type=ComponentType.APPLICATION)])
    created = datetime.fromtimestamp(image.generation.created, UTC)
    return Bom(metadata=BomMetaData(component=environment, timestamp=created, tools=tools))


def _json(component: Component) -> dict[str, object]:
    written: dict[str, object] = json.loads(component.as_json(view_=SchemaVersion1Dot6))  # type: ignore[attr-defined]
    return written


def _wanted(closure: ClosureDocument) -> list[StorePath]:
    """What the environment itself needs: its roots, and the shell of its activation, to which no path refers."""
    referred = {reference for path in closure.paths for reference in path.references if reference != path.store_path}
    roots = {root.store_path for root in closure.roots}
    return [it.store_path for it in closure.paths if it.store_path in roots or it.store_path not in referred]


def _depends(reference: str, paths: Iterable[StorePath]) -> dict[str, object]:
    """A path that refers to itself depends on nothing by that."""
    others = [path.base_name for path in paths if path.base_name != reference]
    return {"ref": reference, "dependsOn": others} if others else {"ref": reference}


def _environment(image: EnvironmentImage, closure: ClosureDocument) -> Component:
    """What the bill is about: the environment as an image, of one platform."""
    index = str(image.index.digest)
    return Component(
        type=ComponentType.CONTAINER,
        bom_ref=index,
        group=image.environment.owner,
        name=image.environment.name,
        version=str(image.generation.number),
        purl=PackageURL(
            "oci",
            name=image.environment.name.lower(),
            version=index,
            qualifiers={"arch": closure.system.oci_architecture},
        ),
        external_references=_references("website", image.page),
        properties=_properties({"flox:lockfile": str(image.lockfile.digest), "nix:system": closure.system.value}),
    )


def _component(path: ClosurePath, origin: _Origin | None) -> Component:
    """A store path; of one that a locked package lists, also what the lockfile says of that package."""
    store_path, package = path.store_path, origin.package if origin else None
    name, version = _name_and_version(store_path, package)
    source = (package.locked_url or "") if package else ""
    revision = (package.rev or _revision(source)) if package else None
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=store_path.base_name,
        name=name,
        version=version,
        description=package.description if package else None,
        licenses=licenses(package.licenses) if package else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=path.nar_hash.hex)],
        purl=PackageURL("nix", name=name, version=version),
        external_references=_references("vcs", source),
        properties=_properties(
            {
                "nix:store_path": str(store_path),
                "nix:nar_hash": path.nar_hash.to_nix(),
                "nix:nar_size": str(path.nar_size),
                "nix:output": origin.output if origin else None,
                "nix:attr_path": package.attr_path if package else None,
                "nix:source": source or None,
                "nix:source_revision": revision,
                "flox:install_id": package.install_id if package else None,
            }
        ),
    )


def _origins(image: EnvironmentImage, closure: ClosureDocument) -> Mapping[StorePath, _Origin]:
    """Every output of every locked package; the first in the file wins where two share a path."""
    found: dict[StorePath, _Origin] = {}
    for package in image.lockfile.packages:
        if package.system == closure.system:
            if package.store_path is not None:
                found.setdefault(package.store_path, _Origin(package, None))
            for output, path in package.outputs.items():
                found.setdefault(path, _Origin(package, output))
    return found


def _name_and_version(path: StorePath, package: LockedPackage | None) -> tuple[str, str | None]:
    """As the lockfile has them, else by Nix's rule from the name; an output's suffix then counts as the version's."""
    match = _VERSION.fullmatch(path.name)
    name, version = match.groups() if match else (path.name, None)
    if package is None:
        return name, version
    return _nameable(package.pname) or name, _nameable(package.version) or version


def _nameable(text: str | None) -> str | None:
    """Text of which a package URL leaves something."""
    return (text or "").strip().strip("/").strip() or None


def _revision(url: str) -> str | None:
    match = _REVISION.search(url)
    return match.group() if match else None


def _references(kind: str, url: str) -> Iterator[ExternalReference]:
    """None for text that is no URL: a lockfile may say anything, and a bill must be valid."""
    if _URL.fullmatch(url) and not _BAD_ESCAPE.search(url):
        yield ExternalReference(type=ExternalReferenceType(kind), url=XsUri(url))


def _properties(values: Mapping[str, str | None]) -> Iterator[Property]:
    for name, value in values.items():
        if value is not None:
            yield Property(name=name, value=value)
