"""Nix itself (Debian's nix-bin) reads what we write and writes what we read. Its store is a folder of the test's."""

import io
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flox_formats.digest import Digest
from flox_formats.nar import dump, restore
from flox_formats.narinfo import Compression, NarInfo, PathUntrusted, path_fingerprint, verify_path
from flox_formats.nix_base32 import encode
from flox_formats.signature import PublicKey, SecretKey, TrustedKeys
from flox_formats.store_path import StorePath
from tests.conftest import needs
from tests.unit.nar_trees import EXAMPLE, TREES, File, Link, Tree, nar, scratch

NOBODY = TrustedKeys([])
TREE_CASES = [
    pytest.param(EXAMPLE, id="directory"),
    pytest.param({}, id="empty-directory"),
    pytest.param(File(b"x", executable=True), id="executable"),
    pytest.param(Link(b"/nowhere"), id="symlink"),
    pytest.param({b"large": File(b"0123456789" * 100_000)}, id="file-of-several-buffers"),
]


@dataclass(frozen=True)
class Nix:
    """Nix's programs, with a store, a configuration and a home below `root`."""

    root: Path

    def run(self, program: str, *arguments: str | Path, given: bytes = b"") -> bytes:
        """What the program prints. It runs in `root`, with nothing of this machine's own Nix."""
        (self.root / "conf").mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "NIX_CONF_DIR": str(self.root / "conf"),
            "NIX_CONFIG": "experimental-features = nix-command\nbuild-users-group =\n",
        }
        done = subprocess.run(
            [program, *arguments], cwd=self.root, env=environment, input=given, capture_output=True, timeout=60
        )
        if done.returncode:
            raise NixFailed(done.stderr.decode())
        return done.stdout

    def in_store(self, program: str, *arguments: str | Path, given: bytes = b"") -> str:
        """As `run`, against the store below `root`."""
        return self.run(program, "--store", self.root / "nix", *arguments, given=given).decode().strip()

    def add(self, path: Path) -> StorePath:
        return StorePath.parse(self.in_store("nix-store", "--add", path))

    def file(self, store_path: StorePath) -> Path:
        """Where the store really keeps `store_path`."""
        return self.root / f"nix{store_path}"


class NixFailed(Exception):
    """A program of Nix's exited with an error, which is the message."""


@pytest.fixture
def nix(tmp_path: Path) -> Nix:
    needs("nix", "nix-store", "nix-hash")
    return Nix(tmp_path)


def restored(tree: Tree, target: Path) -> Path:
    restore(io.BytesIO(nar(tree)).read, target)
    return target


def digest(path: Path) -> Digest:
    return Digest.of(b"".join(dump(path)))


@pytest.mark.parametrize("tree", TREE_CASES)
def test_nix_dumps_what_we_restored(nix: Nix, tree: Tree) -> None:
    assert nix.run("nix-store", "--dump", restored(tree, nix.root / "tree")) == nar(tree)


@pytest.mark.parametrize("tree", TREE_CASES)
def test_we_dump_what_nix_restored(nix: Nix, tree: Tree) -> None:
    nix.run("nix-store", "--restore", "tree", given=nar(tree))
    assert b"".join(dump(nix.root / "tree")) == nar(tree)


def test_we_dump_a_tree_of_this_machine_as_nix_does(nix: Nix) -> None:
    tree = Path(json.__file__).parents[1] / "email"
    assert b"".join(dump(tree)) == nix.run("nix-store", "--dump", tree)


@given(tree=TREES)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_is_the_same_to_nix(nix: Nix, tree: Tree) -> None:
    with scratch() as root:
        assert nix.run("nix-store", "--dump", restored(tree, root / "tree")) == nar(tree)


@given(data=st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_base32_is_what_nix_hash_prints(nix: Nix, data: bytes) -> None:
    assert nix.run("nix-hash", "--type", "sha256", "--to-base32", data.hex()).decode().strip() == encode(data)


@pytest.mark.parametrize("tree", TREE_CASES)
def test_a_content_addressed_path_is_where_nix_adds_it(nix: Nix, tree: Tree) -> None:
    path = restored(tree, nix.root / "web-1.0")
    assert nix.add(path) == StorePath.content_addressed("web-1.0", digest(path))


def test_keys_are_nixs(nix: Nix) -> None:
    nix.run("nix-store", "--generate-binary-cache-key", "acme-1", "secret", "public")
    key = SecretKey.parse((nix.root / "secret").read_text())
    assert key.public == PublicKey.parse((nix.root / "public").read_text())
    assert str(key) == (nix.root / "secret").read_text()


@pytest.fixture
def app(nix: Nix) -> StorePath:
    """A path that Nix does not know the content address of, in Nix's store, and one that it refers to."""
    (nix.root / "libx").write_text("a library\n")
    library = nix.add(nix.root / "libx")
    app = StorePath("0" * 32, "app")
    nix.file(app).write_text(f"uses {library}\n")
    nar_size = len(b"".join(dump(nix.file(app))))
    nix.in_store(
        "nix-store", "--load-db", given=f"{app}\n{digest(nix.file(app))}\n{nar_size}\n\n1\n{library}\n".encode()
    )
    return app


def narinfo_of(cache: Path, path: StorePath) -> NarInfo:
    data = (cache / f"{path.hash}.narinfo").read_bytes()
    info = NarInfo.parse(data)
    assert info.to_bytes() == data
    return info


def verify(info: NarInfo, trusted: TrustedKeys) -> None:
    verify_path(
        info.store_path,
        info.nar_hash,
        info.nar_size,
        info.references,
        info.signatures,
        info.content_address,
        trusted,
    )


@pytest.mark.parametrize("compression", ["none", "xz", "bzip2", "gzip", "zstd"])
def test_we_believe_the_cache_that_nix_signed(nix: Nix, app: StorePath, compression: str) -> None:
    nix.run("nix-store", "--generate-binary-cache-key", "acme-1", "secret", "public")
    nix.in_store("nix", "store", "sign", "--key-file", "secret", "--recursive", str(app))
    nix.in_store("nix", "copy", "--to", f"file://{nix.root}/cache?compression={compression}", str(app))
    info = narinfo_of(nix.root / "cache", app)
    assert info.compression is Compression(compression)
    assert info.nar_hash == digest(nix.file(app))
    assert info.file_hash == Digest.of((nix.root / "cache" / info.url).read_bytes())
    verify(info, TrustedKeys([PublicKey.parse((nix.root / "public").read_text())]))
    with pytest.raises(PathUntrusted, match="signed by acme-1, but no key is trusted"):
        verify(info, NOBODY)


def test_we_believe_the_content_address_that_nix_gave(nix: Nix, app: StorePath) -> None:
    answer = json.loads(nix.in_store("nix", "store", "make-content-addressed", "--json", str(app)))
    addressed = StorePath.parse(answer["rewrites"][str(app)])
    nix.in_store("nix", "copy", "--to", f"file://{nix.root}/cache?compression=none", str(addressed))
    info = narinfo_of(nix.root / "cache", addressed)
    assert [reference.name for reference in info.references] == ["libx"]
    verify(info, NOBODY)
    verify(narinfo_of(nix.root / "cache", info.references[0]), NOBODY)


def test_a_path_that_mentions_itself_needs_a_signature(nix: Nix) -> None:
    """Nix gives it a content address too, of its NAR with the path blanked out, which its NAR hash does not show."""
    app = StorePath("0" * 32, "app")
    nix.run("mkdir", "-p", nix.file(app).parent)
    nix.file(app).write_text(f"I am {app}\n")
    nar_size = len(b"".join(dump(nix.file(app))))
    nix.in_store("nix-store", "--load-db", given=f"{app}\n{digest(nix.file(app))}\n{nar_size}\n\n1\n{app}\n".encode())
    answer = json.loads(nix.in_store("nix", "store", "make-content-addressed", "--json", str(app)))
    addressed = StorePath.parse(answer["rewrites"][str(app)])
    nix.in_store("nix", "copy", "--to", f"file://{nix.root}/cache?compression=none", str(addressed))
    info = narinfo_of(nix.root / "cache", addressed)
    assert info.references == (addressed,)
    assert info.content_address is not None
    with pytest.raises(PathUntrusted, match="without any signature"):
        verify(info, NOBODY)


@dataclass(frozen=True)
class OwnCache:
    """A binary cache of one path, made without Nix."""

    root: Path
    key: SecretKey

    def add(self, tree: Tree) -> StorePath:
        data = nar(tree)
        path, nar_hash = StorePath("1" * 32, "made-here"), Digest.of(data)
        info = NarInfo(
            store_path=path,
            url="nar/made-here.nar",
            compression=Compression.NONE,
            file_hash=nar_hash,
            file_size=len(data),
            nar_hash=nar_hash,
            nar_size=len(data),
            signatures=(self.key.sign(path_fingerprint(path, nar_hash, len(data), ())),),
        )
        (self.root / "nar").mkdir(parents=True)
        (self.root / info.url).write_bytes(data)
        (self.root / f"{path.hash}.narinfo").write_bytes(info.to_bytes())
        (self.root / "nix-cache-info").write_text("StoreDir: /nix/store\n")
        return path


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not-trusted"])
def test_nix_believes_the_cache_that_we_signed(nix: Nix, trusted: bool) -> None:
    key = SecretKey.generate("acme-1")
    path = OwnCache(nix.root / "cache", key).add(EXAMPLE)
    keys = str(key.public if trusted else SecretKey.generate("acme-1").public)
    fetch = ("nix", "copy", "--from", f"file://{nix.root}/cache", "--option", "trusted-public-keys", keys, str(path))
    if trusted:
        nix.in_store(*fetch)
        assert b"".join(dump(nix.file(path))) == nar(EXAMPLE)
    else:
        with pytest.raises(NixFailed, match="signature"):
            nix.in_store(*fetch)
        assert not nix.file(path).exists()
