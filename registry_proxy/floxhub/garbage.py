"""What dulwich raises on bytes that are not git's, or are no environment's. There is no common base.

A test compares this with the exceptions that dulwich defines.
"""

import struct
import zlib

from dulwich.client import InvalidWants
from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    NotGitRepository,
    ObjectMissing,
    WrongObjectException,
)
from dulwich.object_store import MaxTreeDepthExceeded
from dulwich.objects import SubmoduleEncountered
from dulwich.pack import UnresolvedDeltas

from registry_proxy.floxhub.pack_bounds import PackRefused

GARBAGE = (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    InvalidWants,
    MaxTreeDepthExceeded,
    NotGitRepository,
    ObjectMissing,
    PackRefused,
    SubmoduleEncountered,
    UnresolvedDeltas,
    WrongObjectException,
    ValueError,
    AssertionError,
    LookupError,
    TypeError,
    EOFError,
    zlib.error,
    struct.error,
)
