"""The process that `exec --process FILE` starts in a container that runs, the value that FILE holds.

Belongs here: what we read and write of it; the rest passes through untouched. Its variables are the container's
original ones, as containerd has them on record, and not those of the edited `config.json`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, read_object
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
            process = cls(document, fields.texts("env"), fields.texts("args"))
            process.to_bytes()  # what is nested too deeply to be written again is better refused now
        except _NotAProcess as problem:
            raise BundleInvalid(str(problem)) from problem
        except RecursionError as problem:
            raise BundleInvalid("process: nested too deeply") from problem
        return process

    def to_bytes(self) -> bytes:
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

    def with_env(self, env: Iterable[str]) -> Self:
        entries = tuple(env)
        return replace(self, document={**self.document, "env": list(entries)}, env=entries)

    def with_args(self, args: Iterable[str]) -> Self:
        words = tuple(args)
        return replace(self, document={**self.document, "args": list(words)}, args=words)
