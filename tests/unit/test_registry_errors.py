"""The error tree of the registry, and what `docs/registry.md` says of it."""

import re
from pathlib import Path

import pytest

from registry_proxy import errors
from registry_proxy.errors import RegistryError

_MANUAL = Path(__file__).resolve().parents[2] / "docs" / "registry.md"

EVERY_ERROR = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, RegistryError) and one not in (RegistryError, errors.CannotListen)
]


def documented() -> set[tuple[int, str]]:
    """Statuses and codes of the table in the manual, those of private environments aside."""
    table = _MANUAL.read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| ")][1:]
    return {
        (int(status), code)
        for statuses, codes in rows
        for status in re.findall(r"[0-9]{3}", statuses)
        for code in re.findall(r"`([A-Z_]+)`", codes)
    }


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.__name__)
def test_who_may_come_again_is_told_when(error: type[RegistryError]) -> None:
    assert (error.code == "UNAVAILABLE") == (error.retry_after_s is not None)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.__name__)
def test_the_manual_has_every_error(error: type[RegistryError]) -> None:
    assert error.status in (401, 403) or (error.status, error.code) in documented()
