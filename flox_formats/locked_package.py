"""One package of a lockfile, for one system, in any of its three spellings.

Belongs here: telling the kinds apart, and their keys. Which of the outputs are installed is in `outputs.py`.
Source: FH §5.2. Only what selects and names store paths is required; the rest is for people, and often absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from flox_formats.json_document import Fields, Json
from flox_formats.lockfile_errors import LockfileInvalid
from flox_formats.store_path import StorePath, StorePathInvalid

DEFAULT_PRIORITY = 5
MAX_PRIORITY = 2**63 - 1


class PackageKind(StrEnum):
    CATALOG = "catalog"
    FLAKE = "flake"
    STORE_PATH = "store path"


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """`store_path` is set for a store path package, which has no outputs. A lower `priority` wins when linking."""

    kind: PackageKind
    install_id: str
    system: str
    priority: int
    outputs: Mapping[str, StorePath] = field(hash=False)
    outputs_to_install: tuple[str, ...] | None
    store_path: StorePath | None
    name: str | None
    pname: str | None
    version: str | None
    description: str | None
    licenses: tuple[str, ...]
    locked_url: str | None
    attr_path: str | None
    rev: str | None
    unfree: bool | None
    broken: bool | None

    @classmethod
    def read(cls, entry: Json, *, where: str) -> Self:
        """Reads an element of `packages`; `where` names it until its install id is known. Raises LockfileInvalid."""
        opened = Fields(entry, where=where, error=LockfileInvalid)
        install_id, system = opened.text("install_id"), opened.text("system")
        fields = Fields(entry, where=f"lockfile: package {install_id[:100]!r} for {system[:50]}", error=LockfileInvalid)
        kind = _kind(fields)
        return cls(
            kind=kind,
            install_id=install_id,
            system=system,
            priority=_priority(fields, kind),
            outputs={} if kind is PackageKind.STORE_PATH else _outputs(fields),
            outputs_to_install=_outputs_to_install(fields),
            store_path=_store_path(fields, "store_path", fields.text_or_none("store_path")),
            name=fields.text_or_none("name"),
            pname=fields.text_or_none("pname"),
            version=fields.text_or_none("version"),
            description=fields.text_or_none("description"),
            licenses=_licenses(fields),
            locked_url=fields.text_or_none("locked_url") or fields.text_or_none("locked-url"),
            attr_path=fields.text_or_none("attr_path") or fields.text_or_none("locked-flake-attr-path"),
            rev=fields.text_or_none("rev"),
            unfree=fields.boolean_or_none("unfree"),
            broken=fields.boolean_or_none("broken"),
        )


def _kind(fields: Fields) -> PackageKind:
    for key, kind in (
        ("store_path", PackageKind.STORE_PATH),
        ("locked-url", PackageKind.FLAKE),
        ("locked_url", PackageKind.CATALOG),
    ):
        if fields.has(key):
            return kind
    raise fields.refuse("locked_url", "is missing, and so are 'locked-url' and 'store_path': the package is of no kind")


def _priority(fields: Fields, kind: PackageKind) -> int:
    """Flake packages may lack it."""
    if kind is PackageKind.FLAKE and not fields.has("priority"):
        return DEFAULT_PRIORITY
    priority = fields.integer("priority")
    if priority > MAX_PRIORITY:
        raise fields.refuse("priority", f"is more than {MAX_PRIORITY}")
    return priority


def _outputs(fields: Fields) -> dict[str, StorePath]:
    if not fields.has("outputs"):
        raise fields.refuse("outputs", "is missing: nobody can tell which store paths the package has")
    paths: dict[str, StorePath] = {}
    for name, text in fields.text_members("outputs").items():
        path = _store_path(fields, f"outputs.{name}", text)
        assert path is not None
        paths[name] = path
    return paths


def _store_path(fields: Fields, key: str, text: str | None) -> StorePath | None:
    try:
        return None if text is None else StorePath.parse(text)
    except StorePathInvalid as problem:
        raise fields.refuse(key, f"is wrong: {problem}") from None


def _outputs_to_install(fields: Fields) -> tuple[str, ...] | None:
    """Both spellings occur, and names may be repeated (FH §6.1)."""
    for key in ("outputs_to_install", "outputs-to-install"):
        if fields.has(key):
            return fields.texts(key)
    return None


def _licenses(fields: Fields) -> tuple[str, ...]:
    one = fields.text_or_none("license")
    return (one,) if one is not None else fields.texts("licenses")
