"""By what the node's half tells containers apart: an id is unique only among those of one runtime's state directory.

Belongs here: making such a key, and what a person reads of it. `runc --root DIR`, and crun the same, keeps its state
per id below DIR; containerd gives each of its namespaces a DIR of its own, and `ctr -n a run … web` and `ctr -n b run …
web` are two containers.
"""

import hashlib
import re

ID_MAX = 200
"""Characters of an id: a file is named by its key."""

KEY = re.compile(rf"[A-Za-z0-9_+.-]{{1,{ID_MAX}}}(@[0-9a-f]{{16}})?")
"""An id is what runc takes for one, but for its length; none has an @."""


def container_key(container_id: str, root: bytes) -> str:
    """`root` is what the runtime is given as `--root`, and empty where it has its own."""
    return f"{container_id}@{hashlib.sha256(root).hexdigest()[:16]}" if root else container_id


def shown_id(key: str) -> str:
    """The id, as the container's user knows it."""
    return key.partition("@")[0]
