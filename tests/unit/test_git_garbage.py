"""Every exception that dulwich defines is taken for an answer that is not git's, or cannot come from one."""

import dulwich.client
import dulwich.errors
import dulwich.object_store
import dulwich.objects
import dulwich.pack
import dulwich.protocol
import pytest

from registry_proxy.floxhub.garbage import GARBAGE

MODULES = (dulwich.client, dulwich.errors, dulwich.object_store, dulwich.objects, dulwich.pack, dulwich.protocol)
OF_ITS_OWN_TRANSPORTS = {"HTTPUnauthorized", "HTTPProxyUnauthorized", "StrangeHostname", "TransportNotAllowed"}
OF_WHAT_IS_NOT_DONE_HERE = {
    "CommitError",
    "HookError",
    "MissingCommitError",
    "NoIndexPresent",
    "PackFileDisappeared",
    "RefFormatError",
    "WorkingTreeModifiedError",
}
DEFINED = {
    value.__name__: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
}


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_is_foreseen(name: str) -> None:
    foreseen = issubclass(DEFINED[name], (*GARBAGE, OSError))
    assert foreseen is not (name in OF_ITS_OWN_TRANSPORTS | OF_WHAT_IS_NOT_DONE_HERE)
