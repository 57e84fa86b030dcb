"""A container's runtime specification, the value that `config.json` holds.

Belongs here: the shapes of what we read and write of it. Does not: the file itself (`file.py`), what its annotations
mean (`annotations.py`), or which changes to make (`edits.py`). Everything that we do not know passes through untouched.
Source: https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, plain_json, read_object
from shim_hooks.errors import BundleInvalid

MAX_BYTES = 8 * 1024 * 1024


class _NotASpec(FormatError):
    """What the readers of `flox_formats` raise before it becomes BundleInvalid."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount to add. `options` are those of fstab, as the specification has them."""

    destination: str
    kind: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """`rootfs` is absolute or relative to the bundle; `env` and `mount_points` are in the specification's order.

    `user` is uid and gid of the container's first process, which runs `args`; `user_on_node` is who that is outside of
    the container's user namespace, and the same where it has none of its own. `bind_sources` says for the destination
    of a bind mount what of the host is mounted there.
    """

    document: Mapping[str, object]
    annotations: Mapping[str, str]
    args: tuple[str, ...]
    env: tuple[str, ...]
    user: tuple[int, int]
    user_on_node: tuple[int, int]
    mount_points: tuple[str, ...]
    bind_sources: Mapping[str, str]
    rootfs: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises BundleInvalid for bytes that are no specification of a container that can be run."""
        try:
            return cls._of(read_object(data, what="config.json", max_bytes=MAX_BYTES, error=_NotASpec))
        except _NotASpec as problem:
            raise BundleInvalid(str(problem)) from problem

    @classmethod
    def _of(cls, document: Mapping[str, object]) -> Self:
        fields = Fields(document, where="config.json", error=_NotASpec)
        if not fields.has("process"):
            raise fields.refuse("process", "is missing: there is nothing to run")
        process = fields.member("process")
        user, linux = process.member("user"), fields.member("linux")
        uid, gid = user.integer_or_none("uid") or 0, user.integer_or_none("gid") or 0
        mounts = fields.objects("mounts")
        return cls(
            document=document,
            annotations=fields.text_members("annotations"),
            args=process.texts("args"),
            env=process.texts("env"),
            user=(uid, gid),
            user_on_node=(_mapped(uid, linux.objects("uidMappings")), _mapped(gid, linux.objects("gidMappings"))),
            mount_points=tuple(_normal(mount.text("destination")) for mount in mounts),
            bind_sources=dict(_bind_sources(mounts)),
            rootfs=fields.member("root").text("path"),
        )

    def to_bytes(self) -> bytes:
        """Raises BundleInvalid for what is nested so deeply that it could just be read."""
        try:
            return plain_json(self.document)
        except RecursionError as problem:
            raise BundleInvalid("config.json: nested too deeply") from problem

    def with_env(self, env: Iterable[str]) -> Self:
        entries = tuple(env)
        return replace(self, document=self._with_process("env", list(entries)), env=entries)

    def with_args(self, args: Iterable[str]) -> Self:
        words = tuple(args)
        return replace(self, document=self._with_process("args", list(words)), args=words)

    def with_mounts(self, *, first: Sequence[Mount] = (), last: Sequence[Mount] = ()) -> Self:
        """Mounts are made in order: a later one covers earlier ones at and below its destination."""
        mounts = [*map(_mount, first), *self._mounts, *map(_mount, last)]
        bound = {_normal(mount.destination): mount.source for mount in (*first, *last) if mount.kind == "bind"}
        return replace(
            self,
            document={**self.document, "mounts": mounts},
            mount_points=(*map(_point, first), *self.mount_points, *map(_point, last)),
            bind_sources={**self.bind_sources, **bound},
        )

    def without_mount(self, destination: str) -> Self:
        if destination not in self.mount_points:
            return self
        kept = [mount for mount, at in zip(self._mounts, self.mount_points, strict=True) if at != destination]
        return self._of({**self.document, "mounts": kept})

    def with_annotation(self, name: str, value: str) -> Self:
        annotations = {**self.annotations, name: value}
        return replace(self, document={**self.document, "annotations": annotations}, annotations=annotations)

    @property
    def _mounts(self) -> list[object]:
        mounts = self.document.get("mounts") or []
        assert isinstance(mounts, list)
        return mounts

    def _with_process(self, key: str, value: object) -> Mapping[str, object]:
        process = self.document["process"]
        assert isinstance(process, dict)
        return {**self.document, "process": {**process, key: value}}


def _point(mount: Mount) -> str:
    return _normal(mount.destination)


def _mapped(number: int, mappings: Iterable[Fields]) -> int:
    """What a user namespace makes of an id; one that it does not map, the runtime refuses in better words."""
    for mapping in mappings:
        inside, outside, size = (mapping.integer_or_none(key) or 0 for key in ("containerID", "hostID", "size"))
        if inside <= number < inside + size:
            return outside + number - inside
    return number


def _mount(mount: Mount) -> dict[str, object]:
    return {
        "destination": mount.destination,
        "type": mount.kind,
        "source": mount.source,
        "options": list(mount.options),
    }


def _bind_sources(mounts: Iterable[Fields]) -> Iterator[tuple[str, str]]:
    for mount in mounts:
        source = mount.text_or_none("source")
        if source is not None and (
            mount.text_or_none("type") == "bind" or {"bind", "rbind"} & set(mount.texts("options"))
        ):
            yield _normal(mount.text("destination")), source


def _normal(destination: str) -> str:
    """As runtimes take it: from the container's root, whatever it begins with."""
    return posixpath.normpath("/" + destination.lstrip("/"))
