"""oras pulls a closure like any other artifact: what it holds is the lockfile and the NARs."""

from pathlib import Path

from oras.client import OrasClient  # type: ignore[import-untyped]

from flox_formats.digest import Digest
from tests.echoip import ENVIRONMENT, EchoIp


def test_pulls_the_closure(echoip: EchoIp, tmp_path: Path) -> None:
    client = OrasClient(hostname=echoip.host, insecure=True, tls_verify=False)
    repository = f"{echoip.host}/flox/empty/{ENVIRONMENT}"
    index = client.get_manifest(f"{repository}:live", ["application/vnd.oci.image.index.v1+json"])
    closure = echoip.closure_of(index["manifests"][0]["digest"])

    files = [Path(file) for file in client.pull(target=f"{repository}@{closure}", outdir=str(tmp_path))]
    layers = client.get_manifest(f"{repository}@{closure}")["layers"]
    assert [str(Digest.of(file.read_bytes())) for file in files] == [layer["digest"] for layer in layers]
    assert len(files) == 3  # the lockfile, echoip and the busybox that it runs on
