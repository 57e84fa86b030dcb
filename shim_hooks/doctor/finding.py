"""What the doctor found out about one part of the node.

Belongs here: the value, and how it looks to people and to programs. Does not: finding it out (the `*_check.py` files).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self


class Verdict(StrEnum):
    """`DOUBTFUL` is what could not be looked at, or what works today and may not tomorrow. Only `BAD` needs mending."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`says` is one sentence; `mend` is what to write or to run, perhaps several lines; empty when all is well."""

    subject: str
    verdict: Verdict
    says: str
    mend: str = ""

    @classmethod
    def good(cls, subject: str, says: str) -> Self:
        return cls(subject, Verdict.GOOD, says)

    @classmethod
    def doubtful(cls, subject: str, says: str, mend: str) -> Self:
        return cls(subject, Verdict.DOUBTFUL, says, mend)

    @classmethod
    def bad(cls, subject: str, says: str, mend: str) -> Self:
        return cls(subject, Verdict.BAD, says, mend)


def healthy(findings: Sequence[Finding]) -> bool:
    return not any(finding.verdict is Verdict.BAD for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)


def as_text(findings: Sequence[Finding]) -> str:
    """A line a finding; what mends it stands indented below, to be copied."""
    width = max((len(finding.subject) for finding in findings), default=0)
    indent = " " * (len(Verdict.DOUBTFUL) + width + 4)
    lines = list[str]()
    for finding in findings:
        lines.append(f"{finding.verdict:<8}  {finding.subject:<{width}}  {_printable(finding.says)}")
        lines += [indent + _printable(line) for line in _marked(finding.mend)]
    return "\n".join([*lines, _summary(findings)])


def _marked(mend: str) -> list[str]:
    return [f"{'      ' if number else 'mend: '}{line}" for number, line in enumerate(mend.splitlines())]


def _summary(findings: Sequence[Finding]) -> str:
    bad = sum(finding.verdict is Verdict.BAD for finding in findings)
    doubtful = sum(finding.verdict is Verdict.DOUBTFUL for finding in findings)
    if bad:
        return f"{bad} of {len(findings)} bad: containers in Flox environments will fail on this node"
    return f"nothing is bad{f', {doubtful} doubtful' if doubtful else ''}"


def _printable(text: str) -> str:
    """Names and others' answers stand in sentences: nothing of theirs is to reach the terminal as a command."""
    return "".join(character if character.isprintable() else "?" for character in text)
