"""The image that pods' sandboxes run: one static binary that sleeps. A real node has `pause` from a public registry.

Belongs here: the bytes of the OCI archive that `ctr images import` takes. The same binary gives the same bytes.
Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import io
import tarfile
from pathlib import Path

from flox_formats.digest import Digest
from flox_formats.json_document import canonical_json
from floxbridge_demo.machine import native_system

SANDBOX_IMAGE = "floxbridge.invalid/sandbox:1"

_FOREVER_S = "2147483647"


def sandbox_image_archive(busybox: Path) -> bytes:
    """An OCI image layout as a tar file. `busybox` must be a static binary: nothing else is in the image."""
    layer = _tar({"bin/busybox": busybox.read_bytes()}, mode=0o755)
    config = canonical_json(
        {
            "architecture": native_system().oci_architecture,
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sleep", _FOREVER_S]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    name = {"annotations": {"io.containerd.image.name": SANDBOX_IMAGE}}
    index = {
        "schemaVersion": 2,
        "manifests": [_descriptor("application/vnd.oci.image.manifest.v1+json", manifest) | name],
    }
    blobs = {f"blobs/sha256/{Digest.of(data).hex}": data for data in (layer, config, manifest)}
    layout = canonical_json({"imageLayoutVersion": "1.0.0"})
    return _tar({"oci-layout": layout, "index.json": canonical_json(index), **blobs}, mode=0o644)


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def _tar(files: dict[str, bytes], *, mode: int) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return archive.getvalue()
