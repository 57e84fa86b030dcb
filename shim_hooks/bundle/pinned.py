"""One generation, pinned down: as the variables of its image name it, and as the mark of an edited bundle does.

Belongs here: reading both, and writing the mark. Both come from strangers (anyone makes images and annotations), and so
are read strictly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flox_formats.digest import Digest
from flox_formats.environment import EnvironmentName, EnvironmentRef
from flox_formats.errors import FormatError
from shim_hooks.errors import Refused

VARIABLE_PREFIX = "FLOXBRIDGE_"
ENVIRONMENT = VARIABLE_PREFIX + "ENVIRONMENT"
GENERATION = VARIABLE_PREFIX + "GENERATION"
LOCKFILE = VARIABLE_PREFIX + "LOCKFILE"
VARIABLES = (ENVIRONMENT, GENERATION, LOCKFILE)
"""All that an image says in variables. Others of this prefix are settings of a floxbridge that itself runs in a pod."""

MARK = "dev.floxbridge.realised"
"""The annotation that an edited bundle keeps. Created a second time, it gets the same generation again, even if another
one is live by then: what the edits wrote into it stays as it is."""


@dataclass(frozen=True, slots=True)
class PinnedGeneration:
    """The lockfile's digest is the generation's true identity; a force-push may rewrite what the number means."""

    environment: EnvironmentName
    generation: int
    lockfile: Digest

    @classmethod
    def of_image(cls, variables: Mapping[str, str]) -> Self | None:
        """Reads the variables of an environment image (design 4.2). None for any other image; Refused for bad ones."""
        given = [name for name in VARIABLES if name in variables]
        if not given:
            return None
        if len(given) < len(VARIABLES):
            missing = next(name for name in VARIABLES if name not in given)
            raise Refused(f"the image sets {given[0]} and not {missing}: {_MEND_IMAGE}")
        try:
            return cls._read(variables[ENVIRONMENT], variables[GENERATION], variables[LOCKFILE])
        except FormatError as problem:
            raise Refused(
                f"the image's {VARIABLE_PREFIX}… variables are none of ours: {problem}: {_MEND_IMAGE}"
            ) from problem

    @classmethod
    def of_mark(cls, annotations: Mapping[str, str]) -> Self | None:
        """None for a bundle that was never edited. Raises Refused for a mark that no edit leaves."""
        text = annotations.get(MARK)
        if text is None:
            return None
        try:
            environment, generation, lockfile = text.split(" ")
            return cls._read(environment, generation, lockfile)
        except ValueError as problem:  # FormatError is one
            raise Refused(
                f"annotation {MARK} is floxbridge's own and holds {text[:200]!r}: take it off the container"
            ) from problem

    def to_mark(self) -> str:
        """`acme/web 12 sha256:…`"""
        return f"{self.environment} {self.generation} {self.lockfile}"

    @classmethod
    def _read(cls, environment: str, generation: str, lockfile: str) -> Self:
        name = EnvironmentName.parse(environment)
        number = EnvironmentRef.parse(f"{name}:{generation}").generation
        assert number is not None
        return cls(name, number, Digest.parse(lockfile))


_MEND_IMAGE = "use an image of a floxbridge registry, or take the variables out of the image and the pod"
