"""Why a container cannot have its environment. The message is what the pod's owner reads in the pod's events.

Every message says what was asked, what was found and what to do.
"""


class NodeError(Exception):
    """Anything that stops a Flox container from being created."""


class Refused(NodeError):
    """The pod asks for something that cannot be: a bad annotation, two environments, no environment at all."""


class NotSupported(NodeError):
    """A legal wish that this version does not fulfil."""


class BundleInvalid(NodeError):
    """A `config.json` that is not one."""


class RegistryUnavailable(NodeError):
    """The registry could not be asked, or did not answer in time. Trying again may help."""


class StillFetching(RegistryUnavailable):
    """Time is up for who waits, and not everything is here yet. The fetch itself goes on; `progress` says how far."""

    def __init__(self, what: str, progress: str) -> None:
        super().__init__(f"{what}: {progress}. It goes on; kubelet's retry will find it further on")
        self.what, self.progress = what, progress


class RegistryRefused(NodeError):
    """The registry answered with an error; its sentence is in the message."""


class RegistryDenied(RegistryRefused):
    """It may be there, and it is not for who asked: 401 or 403."""


class ContentRejected(NodeError):
    """Bytes that are not what was promised: wrong digest, wrong NAR hash, no trusted signature, bad NAR."""


class LinkConflict(NodeError):
    """Two packages provide the same file at the same priority (FH §6.2)."""


class StoreFailed(NodeError):
    """The node's disk did not do what was asked: full, read-only, or without a needed feature."""
