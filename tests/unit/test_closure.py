import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.closure import MAX_PATHS, ClosureDocument, ClosureInvalid, ClosurePath, ClosureRoot
from flox_formats.digest import Digest
from flox_formats.narinfo import Compression
from flox_formats.signature import Signature
from flox_formats.store_path import StorePath
from flox_formats.system import System
from tests.unit.mutations import mutated

GLIBC, LIBX, WEB = (StorePath(letter * 32, name) for letter, name in (("a", "glibc"), ("b", "libx"), ("c", "web")))
ABSENT = StorePath("d" * 32, "absent")


def closure_path(store_path: StorePath, *references: StorePath) -> ClosurePath:
    return ClosurePath(
        store_path=store_path,
        nar_hash=Digest.of(store_path.name.encode()),
        nar_size=1000,
        references=references,
        signatures=(Signature("acme-1", bytes(64)),),
        content_address=None,
        blob=Digest.of(b"compressed " + store_path.name.encode()),
        blob_size=100,
        compression=Compression.XZ,
    )


ROOT = ClosureRoot("web", "out", WEB, 5)
PATHS = (closure_path(GLIBC, GLIBC), closure_path(LIBX, GLIBC), closure_path(WEB, GLIBC, LIBX))
DOCUMENT = ClosureDocument(System.X86_64_LINUX, (ROOT,), PATHS)
MEMBERS: dict[str, object] = json.loads(DOCUMENT.to_bytes())


def test_round_trips() -> None:
    document = ClosureDocument(
        System.AARCH64_LINUX,
        (ROOT, ClosureRoot("tool", None, LIBX, 0)),
        (PATHS[0], replace(PATHS[1], content_address="fixed:r:sha256:0", compression=Compression.NONE), PATHS[2]),
    )
    assert ClosureDocument.parse(document.to_bytes()) == document


def test_bytes_are_the_contract() -> None:
    document = ClosureDocument(System.X86_64_LINUX, (replace(ROOT, store_path=GLIBC),), PATHS[:1])
    glibc = f"/nix/store/{'a' * 32}-glibc"
    path = (
        f'{{"blob":{{"digest":"{PATHS[0].blob}","size":100}},"compression":"xz","contentAddress":null,'
        f'"narHash":"{PATHS[0].nar_hash}","narSize":1000,"references":["{glibc}"],'
        f'"signatures":["acme-1:{"A" * 86}=="],"storePath":"{glibc}"}}'
    )
    root = f'{{"installId":"web","output":"out","priority":5,"storePath":"{glibc}"}}'
    assert document.to_bytes().decode() == f'{{"paths":[{path}],"roots":[{root}],"system":"x86_64-linux"}}'


def test_sizes_and_look_up() -> None:
    assert DOCUMENT.nar_size == 3000
    assert DOCUMENT.by_store_path()[LIBX] is PATHS[1]


def test_what_does_not_compress_grows_a_little() -> None:
    ClosureDocument(System.X86_64_LINUX, (), (replace(PATHS[0], nar_size=16_000, blob_size=82_536),))


def test_an_empty_closure_is_one() -> None:
    empty = ClosureDocument(System.X86_64_LINUX, (), ())
    assert ClosureDocument.parse(empty.to_bytes()) == empty


@pytest.mark.parametrize(
    ("roots", "paths", "problem"),
    [
        pytest.param([replace(ROOT, store_path=ABSENT)], PATHS, f"{ABSENT}, wanted by 'web', is not", id="absent-root"),
        pytest.param([ROOT], PATHS[1:], f"{GLIBC}, which {LIBX} refers to, is not in it", id="absent-reference"),
        pytest.param([ROOT], PATHS[::-1], f"{LIBX} comes after {WEB}, so not sorted", id="not-sorted"),
        pytest.param([ROOT], [*PATHS, PATHS[2]], f"{WEB} comes twice", id="path-twice"),
        pytest.param([ROOT, ROOT], PATHS, "output 'out' of 'web' is there twice", id="root-twice"),
        pytest.param(
            [ROOT],
            [*PATHS[:2], replace(PATHS[2], references=(LIBX, GLIBC))],
            f"the references of {WEB} are not sorted",
            id="references-not-sorted",
        ),
        pytest.param(
            [ROOT],
            [*PATHS[:2], replace(PATHS[2], references=(LIBX, LIBX))],
            f"the references of {WEB} are not sorted, or not each there once",
            id="reference-twice",
        ),
        pytest.param(
            [ROOT],
            [*PATHS[:2], replace(PATHS[2], nar_size=16_000, blob_size=82_537)],
            f"the blob of {WEB} has 82537 bytes, for a NAR of 16000",
            id="blob-larger-than-its-nar",
        ),
    ],
)
def test_refuses_what_is_no_closure(roots: list[ClosureRoot], paths: list[ClosurePath], problem: str) -> None:
    with pytest.raises(ClosureInvalid) as caught:
        ClosureDocument(System.X86_64_LINUX, tuple(roots), tuple(paths))
    assert str(caught.value).startswith(f"closure: {problem}")


@pytest.mark.parametrize(
    ("place", "key", "value", "problem"),
    [
        pytest.param((), "system", "riscv64-linux", "closure: 'system' is not right: want one of x86", id="system"),
        pytest.param((), "system", None, "closure: 'system' is missing", id="no-system"),
        pytest.param((), "paths", {}, "closure: 'paths' is not an array", id="paths"),
        pytest.param(
            ("roots", 0), "storePath", "/bin/sh", "closure.roots[0]: 'storePath' is not right", id="root-path"
        ),
        pytest.param(("roots", 0), "priority", -1, "closure.roots[0]: 'priority' is not an integer", id="priority"),
        pytest.param(("paths", 1), "storePath", "libx", "closure.paths[1]: 'storePath' is not right", id="store-path"),
        pytest.param(("paths", 1), "narHash", "sha256:0", "closure.paths[1]: 'narHash' is not right", id="nar-hash"),
        pytest.param(("paths", 1), "narSize", 2**63, "closure.paths[1]: 'narSize' is more than", id="nar-size"),
        pytest.param(
            ("paths", 1), "references", ["x"], "closure.paths[1]: 'references' are not right", id="references"
        ),
        pytest.param(
            ("paths", 1), "signatures", ["x"], "closure.paths[1]: 'signatures' are not right", id="signatures"
        ),
        pytest.param(("paths", 1), "signatures", ["a:AA=="] * 101, "'signatures' are 101, more", id="many-signatures"),
        pytest.param(
            ("paths", 1), "compression", "br", "'compression' is not right: want one of none", id="compression"
        ),
        pytest.param(("paths", 1), "blob", None, "closure.paths[1].blob: 'digest' is missing", id="no-blob"),
    ],
)
def test_refuses_fields(place: tuple[str | int, ...], key: str, value: object, problem: str) -> None:
    members = json.loads(DOCUMENT.to_bytes())
    changed = members
    for step in place:
        changed = changed[step]
    changed[key] = value
    with pytest.raises(ClosureInvalid) as caught:
        ClosureDocument.parse(json.dumps(members).encode())
    assert problem in str(caught.value)


def test_refuses_more_paths_than_it_reads() -> None:
    with pytest.raises(ClosureInvalid, match=f"{MAX_PATHS + 1} paths, more than the {MAX_PATHS}"):
        ClosureDocument.parse(b'{"system":"x86_64-linux","paths":[' + b"{}," * MAX_PATHS + b"{}]}")


@given(st.binary() | mutated([MEMBERS]).map(lambda members: json.dumps(members).encode()))
def test_any_bytes_are_a_closure_or_refused(data: bytes) -> None:
    try:
        document = ClosureDocument.parse(data)
    except ClosureInvalid:
        return
    assert ClosureDocument.parse(document.to_bytes()) == document
