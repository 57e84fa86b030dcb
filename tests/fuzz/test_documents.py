"""Documents from registry, cache, FloxHub and runtimes, damaged byte by byte: a value, or the format's own sentence.

Near misses of their JSON are in `tests/unit`; what is found here is what a cut, a swap or a repetition makes of them.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from flox_formats.closure import ClosureDocument
from flox_formats.errors import FormatError
from flox_formats.generations import Generations
from flox_formats.lockfile import Lockfile
from flox_formats.narinfo import NarInfo
from shim_hooks.bundle.process import Process
from shim_hooks.bundle.spec import Spec
from shim_hooks.errors import BundleInvalid
from tests.fuzz.budget import rounds
from tests.unit.test_closure import MEMBERS
from tests.unit.test_generations import ROLLED_BACK
from tests.unit.test_narinfo import CURL

LOCKFILES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "fixtures" / "lockfiles").iterdir())]
PROCESS = {"args": ["sh", "-c", "true"], "cwd": "/", "env": ["A=1", "PATH=/bin"], "user": {"uid": 0, "gid": 1000}}
SPEC = {
    "ociVersion": "1.0.2",
    "process": PROCESS,
    "root": {"path": "rootfs", "readonly": True},
    "annotations": {"flox.dev/environment": "acme/web:3", "io.kubernetes.cri.container-type": "container"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
}
PIECES = [
    *(b'" "" { } [ ] , : null true 1e999 -1 1.5 \\ \\u0000 \\ud800 \xff \xc3 \xef\xbb\xbf \0').split(b" "),
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 3000,
    b"\n",
    b" " * 100,
    b"../../etc",
    b"/nix/store/",
    b"sha256:" + b"0" * 64,
]


def whole(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("parse", "documents"),
    [
        pytest.param(ClosureDocument.parse, [whole(MEMBERS)], id="closure"),
        pytest.param(NarInfo.parse, [CURL], id="narinfo"),
        pytest.param(Lockfile.parse, LOCKFILES, id="lockfile"),
        pytest.param(Generations.parse, [ROLLED_BACK], id="metadata"),
        pytest.param(Spec.parse, [whole(SPEC)], id="config.json"),
        pytest.param(Process.parse, [whole(PROCESS)], id="process"),
    ],
)
def test_a_value_or_a_sentence(parse: Callable[[bytes], object], documents: list[bytes]) -> None:
    for document in documents:
        parse(document)
    for chance in rounds(0.7):
        data = _damaged(chance, chance.choice(documents))
        try:
            said = _complaint(parse, data)
        except Exception as problem:
            problem.add_note(f"{chance}: {data[:3000]!r}")
            raise
        assert len(said) < 2000, f"{chance}: {said[:3000]}"
        assert said.isprintable(), f"{chance}: {said!r}"


def _complaint(parse: Callable[[bytes], object], data: bytes) -> str:
    try:
        parse(data)
    except (FormatError, BundleInvalid) as problem:
        return str(problem)
    return ""


def _damaged(chance: random.Random, document: bytes) -> bytes:
    data = bytearray(document)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + chance.randrange(20)] = chance.choice(PIECES)
            case 1:
                data[at : at + 1] = chance.randbytes(1)
            case 2:
                other = chance.randrange(len(data) + 1)
                data[at:at] = data[other : other + chance.randrange(80)]
            case _:
                del data[at : at + chance.randrange(200)]
    return bytes(data)
