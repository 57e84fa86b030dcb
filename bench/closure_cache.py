"""A made-up closure in a real binary cache: as many paths, bytes and files as an environment of that size has.

Belongs here: the shape and the bytes, the same on every machine for the same seed. The cache's files are
`binary_cache.py`'s.
"""

import math
import random
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.binary_cache import BinaryCache
from flox_formats.store_path import StorePath

_SEED = 20261122
_THREADS = 2  # compression lets go of the interpreter's lock
_ROOTS = 20
_MAX_REFERENCES = 6

# Sizes are log-normal: many small and a few very large, of paths as of the files in one.
_PATH_SPREAD = 1.8
_FILE_SPREAD, _FILE_MEDIAN = 1.8, 5_000
_FILES_PER_FOLDER = 16

# Files are slices of these pools, larger than what xz and gzip look back on, so that they do not find them again.
_POOL_BYTES = 16 * 1024 * 1024
_SLICE_BYTES = 4096
_RANDOM_SHARE = 0.05  # the rest are words: a NAR then packs to three tenths, as programs and their documents do


@dataclass(frozen=True, slots=True)
class Shape:
    """`nar_bytes` is what all paths weigh unpacked."""

    paths: int
    nar_bytes: int


@dataclass(frozen=True, slots=True)
class Closure:
    """A cache with one closure. `roots` are what an environment installs; `trees` has each path as a folder."""

    cache: BinaryCache
    paths: tuple[StorePath, ...]
    roots: tuple[StorePath, ...]
    trees: Path
    filling: "Filling"

    def tree(self, path: StorePath) -> Path:
        return self.trees / path.name


def make_closure(folder: Path, shape: Shape) -> Closure:
    """Writes and signs it; two seconds for ten megabytes, or so. `folder` is made."""
    draw = random.Random(_SEED)
    filling = Filling.make(draw)
    cache, trees = BinaryCache.make(folder / "cache"), folder / "trees"
    weights = [draw.lognormvariate(0, _PATH_SPREAD) for _ in range(shape.paths)]
    references = _references(draw, shape.paths)
    added: list[Future[StorePath]] = []

    def add(name: str, tree: Path, to: Sequence[int]) -> StorePath:
        return cache.add(name, tree, [added[number].result() for number in to]).store_path

    with ThreadPoolExecutor(_THREADS) as pool:  # first come, first served: what a path refers to is always before it
        for number, weight in enumerate(weights):
            name = f"package-{number:03}-1.0"
            filling.write_tree(draw, trees / name, round(shape.nar_bytes * weight / math.fsum(weights)))
            added.append(pool.submit(add, name, trees / name, references[number]))
    paths = tuple(future.result() for future in added)
    return Closure(cache, paths, paths[-_ROOTS:], trees, filling)


def add_package(closure: Closure, name: str, size: int) -> StorePath:
    """One more path, that refers to the oldest one."""
    closure.filling.write_tree(random.Random(name), closure.trees / name, size)
    return closure.cache.add(name, closure.trees / name, closure.paths[:1]).store_path


def _references(draw: random.Random, paths: int) -> list[list[int]]:
    """For each path those before it that it refers to: the first ones (the C library) often, and each by somebody."""
    references = [
        {min(int(draw.expovariate(4 / paths)), number - 1) for _ in range(draw.randint(1, _MAX_REFERENCES))}
        if number
        else set()
        for number in range(paths)
    ]
    for number in range(paths - _ROOTS):
        references[draw.randrange(max(number + 1, paths - 2 * _ROOTS), paths)].add(number)
    return [sorted(each) for each in references]


@dataclass(frozen=True, slots=True)
class Filling:
    """What files are filled with."""

    words: bytes
    noise: bytes

    @classmethod
    def make(cls, draw: random.Random) -> "Filling":
        vocabulary = [draw.randbytes(draw.randint(2, 5)).hex().encode() for _ in range(3000)]
        often = [1 / rank for rank in range(1, len(vocabulary) + 1)]
        words = b" ".join(draw.choices(vocabulary, often, k=_POOL_BYTES // 7))
        return cls(words, draw.randbytes(_POOL_BYTES))

    def write_tree(self, draw: random.Random, tree: Path, size: int) -> None:
        """Files of `size` bytes in all: a program in `bin`, the others below a folder with the package's name."""
        number = 0
        while size > 0 or not number:
            length = max(1, min(int(draw.lognormvariate(math.log(_FILE_MEDIAN), _FILE_SPREAD)), size))
            folder = tree / "share" / tree.name / f"part-{number // _FILES_PER_FOLDER}" if number else tree / "bin"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / (f"file-{number}" if number else tree.name)
            file.write_bytes(self._data(draw, length))
            file.chmod(0o644 if number else 0o755)
            size, number = size - length, number + 1

    def _data(self, draw: random.Random, length: int) -> bytes:
        slices = []
        for _ in range(0, length, _SLICE_BYTES):
            pool = self.noise if draw.random() < _RANDOM_SHARE else self.words
            start = draw.randrange(len(pool) - _SLICE_BYTES)
            slices.append(pool[start : start + _SLICE_BYTES])
        return b"".join(slices)[:length]
