"""An image as people have them: Debian's own shell and tools with their libraries, users, and a working directory.

Made of this machine's files; the same machine gives the same image.
"""

import gzip
import io
import re
import subprocess
import tarfile
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.json_document import canonical_json
from floxbridge_demo.machine import native_system
from tests.conftest import cannot_run

ORDINARY_IMAGE = "floxbridge.invalid/ordinary:1"
OWN_STORE_IMAGE = "floxbridge.invalid/own-store:1"
OWN_SHELL = "/nix/store/0c5m9yyl5r3jfvmqnq2jw7yxbf2p4s2r-own/bin/sh"
_SHELL = Path("/bin/dash")
_PROGRAMS = ("cat", "id", "pwd", "env", "true", "sleep", "touch", "ls", "readlink")


def ordinary_image_archive(name: str = ORDINARY_IMAGE) -> bytes:
    """An OCI image layout as a tar file; `OWN_STORE_IMAGE` has a shell in /nix/store, too. Skips where there is no
    dynamic shell to make it of."""
    programs = [_SHELL, *(Path("/usr/bin") / name for name in _PROGRAMS)]
    if not all(program.exists() for program in programs):
        cannot_run("an ordinary image is made of Debian's dash and coreutils")
    files = {f"usr/bin/{program.name}": program.read_bytes() for program in programs}
    files |= {path.lstrip("/"): Path(path).read_bytes() for program in programs for path in _libraries(program)}
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
    if name == OWN_STORE_IMAGE:
        files[OWN_SHELL.lstrip("/")] = _SHELL.read_bytes()
    layer = _layer(files)
    config = canonical_json(
        {
            "architecture": native_system().oci_architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"], "WorkingDir": "/srv", "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        }
    )
    packed = gzip.compress(layer, mtime=0)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar+gzip", packed)],
        }
    )
    named = {"annotations": {"io.containerd.image.name": name}}
    index = canonical_json({"schemaVersion": 2, "manifests": [_descriptor("manifest.v1+json", manifest) | named]})
    blobs = {f"blobs/sha256/{Digest.of(data).hex}": data for data in (packed, config, manifest)}
    return _tar({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs})


def _libraries(program: Path) -> list[str]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(?:=> |^\s*)(/\S+) \(", listed, re.MULTILINE)


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": str(Digest.of(data)), "size": len(data)}


def _layer(files: dict[str, bytes]) -> bytes:
    folders = ("srv", "home", "home/app", "root", "proc", "sys", "dev", "etc", "run", "var")
    links = {"bin": "usr/bin", "usr/bin/sh": "dash", "var/run": "/run"}
    return _tar(files, folders=folders, links=links, mode=0o755)


def _tar(
    files: dict[str, bytes], *, folders: tuple[str, ...] = (), links: dict[str, str] | None = None, mode: int = 0o644
) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()
