"""Closure documents: what an environment's store paths are, and by which blobs they come (design 4.3).

Belongs here: the document that is a closure artifact's config. Does not: the OCI manifest around it (registry's), and
whether any of it may be believed (`verify_path` of `narinfo.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, TypeVar

from flox_formats.digest import Digest
from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object
from flox_formats.narinfo import MAX_SIGNATURES, Compression, most_compressed
from flox_formats.signature import Signature
from flox_formats.store_path import StorePath
from flox_formats.system import System

MEDIA_TYPE = "application/vnd.floxbridge.closure.v1+json"
ARTIFACT_TYPE = "application/vnd.floxbridge.closure.v1"
MAX_BYTES = 64 * 1024 * 1024
MAX_PATHS = 100_000

_MAX_SIZE = 2**63 - 1
T = TypeVar("T")


class ClosureInvalid(FormatError):
    """Not a closure document, or not a closure."""


@dataclass(frozen=True, slots=True)
class ClosureRoot:
    """One selected output of the lockfile (FH §6.1). A lower `priority` wins."""

    install_id: str
    output: str | None
    store_path: StorePath
    priority: int


@dataclass(frozen=True, slots=True)
class ClosurePath:
    """One store path. `blob` is its NAR, compressed as `compression` says; `blob_size` and `nar_size` are bytes.

    No blob is larger than its NAR can get. `references` are sorted, each once; the other fields are the binary cache's
    words, as in a narinfo.
    """

    store_path: StorePath
    nar_hash: Digest
    nar_size: int
    references: tuple[StorePath, ...]
    signatures: tuple[Signature, ...]
    content_address: str | None
    blob: Digest
    blob_size: int
    compression: Compression


@dataclass(frozen=True, slots=True)
class ClosureDocument:
    """Roots in the lockfile's order, paths sorted by store path; every root and every reference is among the paths.

    Anything else raises ClosureInvalid, whether read or made.
    """

    system: System
    roots: tuple[ClosureRoot, ...]
    paths: tuple[ClosurePath, ...]

    def __post_init__(self) -> None:
        _check_order(self.paths)
        _check_sizes(self.paths)
        _check_roots(self.roots)
        known = {path.store_path for path in self.paths}
        for root in self.roots:
            if root.store_path not in known:
                raise ClosureInvalid(f"closure: {root.store_path}, wanted by {root.install_id!r}, is not in it")
        for path in self.paths:
            for reference in path.references:
                if reference not in known:
                    raise ClosureInvalid(f"closure: {reference}, which {path.store_path} refers to, is not in it")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        fields = Fields(
            read_object(data, what="closure", max_bytes=MAX_BYTES, error=ClosureInvalid),
            where="closure",
            error=ClosureInvalid,
        )
        paths = fields.objects("paths")
        if len(paths) > MAX_PATHS:
            raise ClosureInvalid(f"closure: {len(paths)} paths, more than the {MAX_PATHS} that are read")
        return cls(
            system=_value(fields, "system", _system),
            roots=tuple(map(_root, fields.objects("roots"))),
            paths=tuple(map(_path, paths)),
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same closure gives the same bytes."""
        return canonical_json(
            {
                "system": self.system.value,
                "roots": [_root_members(root) for root in self.roots],
                "paths": [_path_members(path) for path in self.paths],
            }
        )

    @property
    def nar_size(self) -> int:
        """Bytes of all NARs, uncompressed: about what the closure takes on a disk."""
        return sum(path.nar_size for path in self.paths)

    def by_store_path(self) -> Mapping[StorePath, ClosurePath]:
        return {path.store_path: path for path in self.paths}


def _check_order(paths: tuple[ClosurePath, ...]) -> None:
    for before, after in pairwise(paths):
        if not before.store_path < after.store_path:
            how = "twice" if before.store_path == after.store_path else f"after {before.store_path}, so not sorted"
            raise ClosureInvalid(f"closure: {after.store_path} comes {how}")
    for path in paths:
        if list(path.references) != sorted(set(path.references)):
            raise ClosureInvalid(f"closure: the references of {path.store_path} are not sorted, or not each there once")


def _check_sizes(paths: tuple[ClosurePath, ...]) -> None:
    for path in paths:
        if path.blob_size > most_compressed(path.nar_size):
            sizes = f"{path.blob_size} bytes, for a NAR of {path.nar_size}"
            raise ClosureInvalid(
                f"closure: the blob of {path.store_path} has {sizes}: no compression makes it so large"
            )


def _check_roots(roots: tuple[ClosureRoot, ...]) -> None:
    seen = set[tuple[str, str | None]]()
    for root in roots:
        output = root.install_id, root.output
        if output in seen:
            raise ClosureInvalid(f"closure: output {root.output!r} of {root.install_id!r} is there twice")
        seen.add(output)


def _root(fields: Fields) -> ClosureRoot:
    return ClosureRoot(
        install_id=fields.text("installId"),
        output=fields.text_or_none("output"),
        store_path=_value(fields, "storePath", StorePath.parse),
        priority=_size(fields, "priority"),
    )


def _path(fields: Fields) -> ClosurePath:
    blob = fields.member("blob")
    signatures = _values(fields, "signatures", Signature.parse)
    if len(signatures) > MAX_SIGNATURES:
        raise fields.refuse("signatures", f"are {len(signatures)}, more than the {MAX_SIGNATURES} that are read")
    return ClosurePath(
        store_path=_value(fields, "storePath", StorePath.parse),
        nar_hash=_value(fields, "narHash", Digest.parse),
        nar_size=_size(fields, "narSize"),
        references=_values(fields, "references", StorePath.parse),
        signatures=signatures,
        content_address=fields.text_or_none("contentAddress"),
        blob=_value(blob, "digest", Digest.parse),
        blob_size=_size(blob, "size"),
        compression=_value(fields, "compression", _compression),
    )


def _value(fields: Fields, key: str, parse: Callable[[str], T]) -> T:
    text = fields.text(key)
    try:
        return parse(text)
    except FormatError as error:
        raise fields.refuse(key, f"is not right: {error}") from error


def _values(fields: Fields, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
    texts = fields.texts(key)
    try:
        return tuple(map(parse, texts))
    except FormatError as error:
        raise fields.refuse(key, f"are not right: {error}") from error


def _size(fields: Fields, key: str) -> int:
    number = fields.integer(key)
    if number > _MAX_SIZE:
        raise fields.refuse(key, f"is more than {_MAX_SIZE}")
    return number


def _system(text: str) -> System:
    try:
        return System(text)
    except ValueError:
        raise ClosureInvalid(f"want one of {', '.join(System)}, got {text[:100]!r}") from None


def _compression(text: str) -> Compression:
    try:
        return Compression(text)
    except ValueError:
        raise ClosureInvalid(f"want one of {', '.join(Compression)}, got {text[:100]!r}") from None


def _root_members(root: ClosureRoot) -> dict[str, object]:
    return {
        "installId": root.install_id,
        "output": root.output,
        "storePath": str(root.store_path),
        "priority": root.priority,
    }


def _path_members(path: ClosurePath) -> dict[str, object]:
    return {
        "storePath": str(path.store_path),
        "narHash": str(path.nar_hash),
        "narSize": path.nar_size,
        "references": list(map(str, path.references)),
        "signatures": list(map(str, path.signatures)),
        "contentAddress": path.content_address,
        "blob": {"digest": str(path.blob), "size": path.blob_size},
        "compression": path.compression.value,
    }
