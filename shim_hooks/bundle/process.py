"""The process that `exec --process FILE` starts in a container that runs, the value that FILE holds.

Belongs here: what we read and write of it; the rest passes through untouched. Its variables are the container's
original ones, as containerd has them on record, and not those of the edited `config.json`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, plain_json, read_object
from shim_hooks.errors import BundleInvalid

MAX_BYTES = 8 * 1024 * 1024


class _NotAProcess(FormatError):
    """What the readers of `flox_formats` raise before it becomes BundleInvalid."""


@dataclass(frozen=True, slots=True)
class Process:
    document: Mapping[str, object]
    env: tuple[str, ...]
    args: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises BundleInvalid."""
        try:
            document = read_object(data, what="process", max_bytes=MAX_BYTES, error=_NotAProcess)
            fields = Fields(document, where="process", error=_NotAProcess)
            return cls(document, fields.texts("env"), fields.texts("args"))
        except _NotAProcess as problem:
            raise BundleInvalid(str(problem)) from problem

    def to_bytes(self) -> bytes:
        """Raises BundleInvalid for what is nested so deeply that it could just be read."""
        try:
            return plain_json(self.document)
        except RecursionError as problem:
            raise BundleInvalid("process: nested too deeply") from problem

    def with_env(self, env: Iterable[str]) -> Self:
        entries = tuple(env)
        return replace(self, document={**self.document, "env": list(entries)}, env=entries)

    def with_args(self, args: Iterable[str]) -> Self:
        words = tuple(args)
        return replace(self, document={**self.document, "args": list(words)}, args=words)
