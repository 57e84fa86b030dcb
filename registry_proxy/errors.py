"""The error tree of the registry. The class carries the status and the OCI code, the instance the sentence.

Belongs here: every error that can reach a client. `endpoints/answers.py` alone turns one into a response.
Codes: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes; `UNAVAILABLE` and
`TOO_LARGE` are ours, for what the specification has no word for.

What can never be served is 404 and not 5xx: containerd goes on to the next host on a 404, and some versions take a
5xx as the last word.
"""


class RegistryError(Exception):
    """Anything the registry answers instead of content."""

    status, code = 500, "UNKNOWN"
    retry_after_s: int | None = None


class NameInvalid(RegistryError):
    """A repository name outside the grammar of design 4.1."""

    status, code = 400, "NAME_INVALID"


class DigestRefused(RegistryError):
    """A digest that is not one."""

    status, code = 400, "DIGEST_INVALID"


class ParameterInvalid(RegistryError):
    """A query parameter outside its range."""

    status, code = 400, "UNSUPPORTED"


class RepositoryUnknown(RegistryError):
    """No such repository here: another registry's, or outside `flox/empty`."""

    status, code = 404, "NAME_UNKNOWN"


class EnvironmentUnknown(RegistryError):
    """FloxHub has no such environment, or none that the caller may see: it does not say which (FH §1.6).

    `after_token`: FloxHub had asked for the token, and seen it, before it said so.
    """

    status, code = 404, "NAME_UNKNOWN"
    after_token = False


class EnvironmentPrivate(RegistryError):
    """FloxHub wants a token before it says anything about the environment."""

    status, code = 401, "UNAUTHORIZED"


class TokenRejected(RegistryError):
    """FloxHub knows the token as invalid, expired or revoked."""

    status, code = 401, "UNAUTHORIZED"


class EnvironmentForbidden(RegistryError):
    """FloxHub knows the token, and does not show its owner this environment."""

    status, code = 403, "DENIED"


class EnvironmentAmbiguous(RegistryError):
    """Several environments differ from the asked name only by case."""

    status, code = 404, "NAME_UNKNOWN"


class ManifestUnknown(RegistryError):
    """No such tag, generation or manifest in a repository that exists."""

    status, code = 404, "MANIFEST_UNKNOWN"


class EnvironmentUnusable(RegistryError):
    """The generation exists, and no image can be made of it: no lockfile, an unknown version, no Linux system."""

    status, code = 404, "MANIFEST_UNKNOWN"


class BlobUnknown(RegistryError):
    """No such blob in this repository."""

    status, code = 404, "BLOB_UNKNOWN"


class RangeUnsatisfiable(RegistryError):
    """A byte range outside the blob, whose `size` is bytes."""

    status, code = 416, "SIZE_INVALID"

    def __init__(self, range_: str, size: int) -> None:
        super().__init__(f"range {range_} lies outside the {size} bytes of the blob")
        self.size = size


class UploadUnknown(RegistryError):
    """An upload: none is ever begun."""

    status, code = 404, "BLOB_UPLOAD_UNKNOWN"


class MethodUnsupported(RegistryError):
    """Pushes and deletes: environments change on FloxHub, not here."""

    status, code = 405, "UNSUPPORTED"


class FloxHubUnavailable(RegistryError):
    """FloxHub did not answer in time, or answered with an error of its own. Trying again may help.

    `upstream_retry_after_s` is how long FloxHub itself asked to be left alone.
    """

    status, code = 503, "UNAVAILABLE"
    retry_after_s = 2
    upstream_retry_after_s: int | None = None


class FloxHubGarbled(RegistryError):
    """FloxHub answered with something that is not what the protocol promises."""

    status, code = 502, "UNAVAILABLE"
    retry_after_s = 2


class NixCacheUnavailable(RegistryError):
    """A binary cache could not be asked, so that nobody can tell whether it has the path."""

    status, code = 503, "UNAVAILABLE"
    retry_after_s = 2


class ClosureUnavailable(RegistryError):
    """A store path of the closure that no cache has, or that none vouches for."""

    status, code = 502, "CLOSURE_UNAVAILABLE"


class Draining(RegistryError):
    """The registry was told to stop, and wants no new clients."""

    status, code = 503, "UNAVAILABLE"
    retry_after_s = 2


class CannotListen(RegistryError):
    """The address to serve on is taken, or none of this machine's. No client ever sees it."""


class StorageFailed(RegistryError):
    """The registry's own disk did not do what was asked."""

    status, code = 503, "UNAVAILABLE"
    retry_after_s = 10


class CommitLost(StorageFailed):
    """The files of a commit are not where they were put: FloxHub has to be asked for them again."""

    retry_after_s = 1
