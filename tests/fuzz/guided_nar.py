"""A program: atheris gives bytes to the reader of NARs, led by what they reach in it, until libFuzzer's flags say stop.

What comes of them is held against what must be: nothing outside of the target, and a tree that gives the same bytes.
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flox_formats"]):
    from flox_formats.nar import NarInvalid, dump, restore

ROOT = Path(tempfile.mkdtemp(prefix="floxbridge-nar-"))
TARGET = ROOT / "inner" / "target"


def one(data: bytes) -> None:
    size, sentence = _restored(data)
    assert sentence.isprintable(), sentence
    assert len(sentence) < 1000, sentence
    assert size is None or (size, b"".join(dump(TARGET))) == (len(data), data)
    assert os.listdir(ROOT) == ["inner"]  # noqa: PTH208
    assert os.listdir(ROOT / "inner") in ([], ["target"])  # noqa: PTH208
    _remove()


def _restored(data: bytes) -> tuple[int | None, str]:
    try:
        return restore(io.BytesIO(data).read, TARGET), ""
    except NarInvalid as problem:
        return None, str(problem)


def _remove() -> None:
    if TARGET.is_symlink() or TARGET.is_file():
        TARGET.unlink()
    elif TARGET.exists():
        for folder, _, _ in os.walk(TARGET):
            Path(folder).chmod(0o700)
        shutil.rmtree(TARGET)


if __name__ == "__main__":
    TARGET.parent.mkdir()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
