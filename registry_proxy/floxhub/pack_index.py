"""Indexing a git pack: which object is where, so that single ones can be read out of it later.

Belongs here: what that may cost in memory. An object that is a delta is only known once its base is made, and dulwich
holds every base that something waits for: thirty kilobytes of a user's push can make that gigabytes, of objects that
are each as small as `pack_bounds.py` wants them. An adapter to dulwich, like `git.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dulwich.object_format import SHA1
from dulwich.pack import PackData, PackIndexEntry, PackIndexer, write_pack_index

from registry_proxy.floxhub.garbage import GARBAGE
from registry_proxy.floxhub.pack_bounds import PackRefused


def index_pack(pack: Path, folder: Path, *, max_held_bytes: int) -> None:
    """Moves a pack that was looked through, with its index, into a folder of git objects, an empty one.

    At most `max_held_bytes` are held of bases now, and of deltas whenever an object is read. Raises PackRefused.
    """
    entries, checksum = _read(pack, max_held_bytes)
    place = folder / "pack"
    place.mkdir()
    with (place / f"pack-{checksum.hex()}.idx").open("xb") as index:
        write_pack_index(index, entries, checksum)
    pack.rename(place / f"pack-{checksum.hex()}.pack")


def _read(pack: Path, max_held_bytes: int) -> tuple[list[PackIndexEntry], bytes]:
    """The index's entries, and the pack's checksum."""
    with PackData(pack, object_format=SHA1) as data:
        try:
            data.check()
            return sorted(_Indexer(data, max_held_bytes)), data.get_stored_checksum()
        except GARBAGE as error:
            problem = str(error) or type(error).__name__
    # Only here, without the error: the frames that it came from keep the file's mapping from being closed.
    raise PackRefused(problem)


@dataclass(slots=True)
class _Base:
    """An object that was made, for the deltas at `waiting`. The chain to it is of `delta_bytes`."""

    kind: int
    chunks: list[bytes] | None
    size: int
    delta_bytes: int
    waiting: list[int]


class _Indexer(PackIndexer):
    """dulwich's, with a bound on what it holds."""

    def __init__(self, data: PackData, max_held_bytes: int) -> None:
        super().__init__(None, SHA1.hash_func, object_format=SHA1)
        self.set_pack_data(data)
        for unpacked in data.iter_unpacked():
            self.record(unpacked)
        self._max_held_bytes = max_held_bytes

    def _follow_chain(
        self, offset: int, obj_type_num: int, base_chunks: bytes | list[bytes] | None
    ) -> Iterator[PackIndexEntry]:
        """All objects that are made of the one at `offset`, which is no delta; depth first, as in dulwich."""
        bases, held = [_Base(obj_type_num, None, 0, 0, [offset])], 0
        while bases:
            base = bases[-1]
            here = base.waiting.pop()
            if not base.waiting:
                bases.pop()
                held -= base.size
            unpacked = self._resolve_object(here, base.kind, base.chunks)
            yield self._result(unpacked)
            waiting = [*self._pending_ofs.pop(here, ()), *self._pending_ref.pop(unpacked.sha(), ())]
            if not waiting:
                continue
            made = unpacked.obj_chunks or []
            size = sum(map(len, made))
            deltas = base.delta_bytes + (0 if base.chunks is None else unpacked.decomp_len or 0)
            bases.append(_Base(base.kind, made, size, deltas, waiting))
            held += size
            if max(held, deltas) > self._max_held_bytes:
                raise PackRefused(f"a pack whose objects cannot be made without {self._max_held_bytes} bytes of memory")
