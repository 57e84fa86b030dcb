"""How much the content store holds, whoever put it there, and when."""

from pathlib import Path

from flox_formats.digest import Digest
from registry_proxy.content.store import ContentStore


def held(store: ContentStore) -> tuple[int, int]:
    return store.tally.files, store.tally.bytes


def test_what_is_kept_is_counted_once(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.keep(b"12345")
    store.keep(b"12345")
    store.keep(b"6")
    assert held(store) == (2, 6)


def test_what_comes_while_the_rest_is_counted_is_counted_once(tmp_path: Path) -> None:
    ContentStore(tmp_path).keep(b"12345")
    store = ContentStore(tmp_path)
    store.keep(b"678")
    store.count()
    assert held(store) == (2, 8)
    store.count()
    store.keep(b"9")
    assert held(store) == (3, 9)


def test_a_blob_that_two_write_at_once_is_counted_once(tmp_path: Path) -> None:
    ContentStore(tmp_path).keep(b"old")
    store = ContentStore(tmp_path)
    for data in (b"new", b"old"):
        one, other = store.stage(), store.stage()
        for staged in (one, other):
            staged.write(data)
            staged.commit(Digest.of(data))
    store.count()
    assert held(store) == (2, 6)


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    store.count()
    assert held(store) == (0, 0)
