import contextlib
import io
import zlib

import pytest
from dulwich.object_format import SHA1
from dulwich.objects import Blob
from dulwich.pack import write_pack_objects
from hypothesis import given
from hypothesis import strategies as st

from registry_proxy.floxhub.pack_bounds import PackRefused, check_pack


def _pack(*blobs: bytes) -> bytes:
    out = io.BytesIO()
    write_pack_objects(out, [Blob.from_string(data) for data in blobs], object_format=SHA1)
    return out.getvalue()


def _declaring(size: int, data: bytes) -> bytes:
    """A pack of one blob whose header says `size`, whatever there is."""
    header, rest = bytearray([3 << 4 | size & 15]), size >> 4
    while rest:
        header[-1] |= 0x80
        header.append(rest & 0x7F)
        rest >>= 7
    return b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(header) + zlib.compress(data) + b"\0" * 20


def _check(data: bytes, *, objects: int = 10, each: int = 1000, total: int = 3000) -> None:
    check_pack(io.BytesIO(data), max_objects=objects, max_object_bytes=each, max_total_bytes=total)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_pack(), id="empty"),
        pytest.param(_pack(b"a" * 1000, b"b" * 1000), id="as-large-as-allowed"),
        pytest.param(_pack(bytes(range(256)), b"x"), id="small"),
    ],
)
def test_lets_pass(data: bytes) -> None:
    _check(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "not a git pack", id="nothing"),
        pytest.param(b"GIF89a" + b"\0" * 100, "not a git pack", id="something-else"),
        pytest.param(_pack(*[bytes([n]) for n in range(11)]), "11 objects", id="too-many"),
        pytest.param(_pack(b"a" * 1001), "larger", id="one-too-large"),
        pytest.param(_pack(b"a" * 999, b"b" * 999, b"c" * 999, b"d" * 999), "larger", id="too-large-together"),
        pytest.param(_declaring(10, b"\0" * 10_000_000), "than it declares", id="bomb-that-lies"),
        pytest.param(_declaring(2**40, b""), "larger", id="bomb-that-does-not"),
        pytest.param(_pack(bytes(range(256)))[:40], "cut off", id="cut-off"),
    ],
)
def test_refuses(data: bytes, said: str) -> None:
    with pytest.raises(PackRefused, match=said):
        _check(data)


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_passes(garbage: bytes) -> None:
    for data in (garbage, b"PACK\0\0\0\2\0\0\0\3" + garbage):
        with contextlib.suppress(PackRefused):
            _check(data)
