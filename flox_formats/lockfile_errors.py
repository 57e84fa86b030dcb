"""What a lockfile can be refused for. In a module of its own, because its manifest and its packages raise it too."""

from flox_formats.errors import FormatError


class LockfileInvalid(FormatError):
    """A `manifest.lock` that is not one, or that contradicts itself."""


class LockfileVersionUnsupported(LockfileInvalid):
    """A lockfile or manifest version that we have never seen. What it means is not guessed."""


class SystemNotServed(LockfileInvalid):
    """A lockfile for other systems than the one that was asked for."""


class OutputUnknown(LockfileInvalid):
    """A package is to give an output that it does not have."""
