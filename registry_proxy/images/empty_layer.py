"""The one layer that every image here shares (design 4.2).

It is kept as a file and not made: gzip's bytes differ between versions of zlib, and the digest must not.
`python -m registry_proxy.images.empty_layer` makes it anew; a test compares the kept file's entries with ENTRIES.
"""

import gzip
import hashlib
import io
import tarfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from registry_proxy.images.content import LAYER, Content

_LAYER_FILE = "empty_layer.tar.gz"

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"

ENTRIES: tuple[tuple[str, int, str | None], ...] = (
    ("etc/", 0o755, None),
    ("etc/group", 0o644, GROUP),
    ("etc/nsswitch.conf", 0o644, NSSWITCH),
    ("etc/passwd", 0o644, PASSWD),
    ("home/", 0o755, None),
    ("nix/", 0o755, None),
    ("nix/store/", 0o755, None),
    ("root/", 0o700, None),
    ("run/", 0o755, None),
    ("tmp/", 0o1777, None),
    ("var/", 0o755, None),
    ("var/tmp/", 0o1777, None),
)
"""Path, mode and text (None: a folder) of every entry of the layer, in its order (design 4.2)."""


@cache
def empty_layer() -> Content:
    return Content(LAYER, files("registry_proxy.images").joinpath(_LAYER_FILE).read_bytes())


@cache
def layer_diff_id() -> str:
    """The digest of the unpacked layer, as an image config names it."""
    return "sha256:" + hashlib.sha256(gzip.decompress(empty_layer().data)).hexdigest()


def make_layer() -> bytes:
    """The layer's bytes as this machine's zlib makes them: equal in content to the kept ones, perhaps not in bytes."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, mode, text in ENTRIES:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.mtime = mode, 0
            entry.type = tarfile.DIRTYPE if text is None else tarfile.REGTYPE
            data = (text or "").encode()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(tar.getvalue(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    Path(__file__).with_name(_LAYER_FILE).write_bytes(make_layer())
