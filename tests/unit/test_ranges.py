import pytest

from registry_proxy.endpoints.blobs import asked_range
from registry_proxy.errors import RangeUnsatisfiable


@pytest.mark.parametrize(
    ("header", "span"),
    [
        pytest.param("", None, id="none"),
        pytest.param("bytes=0-0", (0, 1), id="first-byte"),
        pytest.param("bytes=2-5", (2, 6), id="middle"),
        pytest.param("bytes=5-", (5, 10), id="open"),
        pytest.param("bytes=8-99", (8, 10), id="beyond-the-end"),
        pytest.param("bytes=-3", (7, 10), id="suffix"),
        pytest.param("bytes=-99", (0, 10), id="suffix-longer-than-all"),
        pytest.param("bytes=0-1,4-5", None, id="several-are-answered-whole"),
        pytest.param("bytes=5-2", None, id="backwards-is-no-range"),
        pytest.param("lines=1-2", None, id="other-unit"),
        pytest.param("bytes=x-y", None, id="not-numbers"),
    ],
)
def test_ranges_of_ten_bytes(header: str, span: tuple[int, int] | None) -> None:
    assert asked_range(header, 10) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_outside(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        asked_range(header, 10)
