"""Licenses, from the words of a lockfile to those of CycloneDX.

Flox writes one SPDX id, one name that is none, or a list: `licenses` of a flake, or the text `[ MIT, Apache-2.0 ]`.
Whether a list means "and" or "or" nobody says, so it stays a list.
"""

import re
from collections.abc import Sequence

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseAcknowledgement
from cyclonedx.spdx import fixup_id

_LIST = re.compile(r"\[(.*)\]", re.DOTALL)
_MAX_EXPRESSION = 200  # the parser of expressions recurses


def licenses(texts: Sequence[str]) -> list[License]:
    """In any order: the document sorts them. Without those that say nothing."""
    make, declared = LicenseFactory(), LicenseAcknowledgement.DECLARED
    stated = list(dict.fromkeys(name for text in texts for name in _names(text)))
    if len(stated) == 1 and len(stated[0]) <= _MAX_EXPRESSION:
        return [make.make_from_string(stated[0], license_acknowledgement=declared)]
    return [_named(name) for name in stated]


def _named(name: str) -> License:
    """Not an expression: CycloneDX has one of them, alone, or a list without any."""
    known = fixup_id(name)
    if known is not None:
        return DisjunctiveLicense(id=known, acknowledgement=LicenseAcknowledgement.DECLARED)
    return DisjunctiveLicense(name=name, acknowledgement=LicenseAcknowledgement.DECLARED)


def _names(text: str) -> list[str]:
    match = _LIST.fullmatch(text.strip())
    parts = match.group(1).split(",") if match else [text]
    return [part.strip() for part in parts if part.strip()]
