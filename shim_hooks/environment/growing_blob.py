"""The blob of a store path while it is fetched and unpacked, in a file that outlives a try that fails.

Belongs here: which end of a try leaves its bytes for the next one. Does not: where they lie (`store/partial_blobs.py`).
"""

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path

from flox_formats.closure import ClosurePath
from shim_hooks.errors import ContentRejected, StoreFailed
from shim_hooks.store.blob_file import BlobFile
from shim_hooks.store.node_store import NodeStore
from shim_hooks.threads import in_thread


@asynccontextmanager
async def growing_blob(
    store: NodeStore, path: ClosurePath, place: Path, *, executor: Executor | None = None
) -> AsyncIterator[BlobFile]:
    """The opened file of a path's blob, for nobody else; `place` is one of `staging`. `executor` hashes what is there.

    What has come stays when the connection broke, the registry refused or the agent is stopped. It goes when it is not
    what was promised, and when the disk has no room for more.
    """
    file = store.partial.blob(path.blob, path.blob_size, otherwise=place / "blob")
    try:
        await in_thread(file.open, executor=executor)
        yield file
    except (ContentRejected, StoreFailed):
        await in_thread(file.discard)
        raise
    finally:
        await in_thread(file.close)
