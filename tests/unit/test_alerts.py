"""The alerts of `docs/operate.md` are expressions of Prometheus, about metrics and labels that there are.

The grammar is as much of PromQL as they need: https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

_MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text()
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<sign>[-+*/]|[<>]=?|[=!]=)"
    r"|(?P<labels>\{[^}]*\})|(?P<range>\[[0-9]+[smhd]\])|(?P<bracket>[(),]))"
)
_LABEL = re.compile(r'([a-z_]+)(=|!=|=~|!~)"([^"]*)"')
_SUFFIX = re.compile(r"_(bucket|count|sum)$")
_AGGREGATIONS = {"sum", "max", "min", "avg"}
_OF_A_RANGE = {"rate", "increase"}
_BINDING = {"*": 3, "/": 3, "+": 2, "-": 2}


def alerts() -> list[dict[str, Any]]:
    block = _MANUAL.partition("### Alerts to begin with")[2].partition("```yaml\n")[2].partition("```")[0]
    (group,) = yaml.safe_load(block)["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def labels_by_metric() -> dict[str, set[str]]:
    table = _MANUAL.partition("| metric | labels |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    return {name.strip().strip("`"): set(re.findall(r"`([a-z_]+)`", labels)) for name, labels in rows}


class Expression:
    """Reads an expression; `selected` is each metric with its labels and their values. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self._tokens = list[tuple[str, str]]()
        self.selected = list[tuple[str, list[tuple[str, str]]]]()
        self._was_range = False
        at, text = 0, text.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"no token at {text[at:]!r}")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._operation(0)
        if self._tokens:
            raise ValueError(f"left over: {self._tokens}")

    def _operation(self, binding: int) -> None:
        self._operand()
        while self._next()[0] == "sign" and _BINDING.get(self._next()[1], 1) > binding:
            self._operation(_BINDING.get(self._take("sign"), 1))

    def _operand(self) -> None:
        if self._next()[0] == "number":
            self._take("number")
        elif self._next() == ("bracket", "("):
            self._arguments()
        else:
            self._named(self._take("name"))

    def _named(self, name: str) -> None:
        if name in _AGGREGATIONS:
            if self._next() == ("name", "by"):
                self._take("name")
                self._arguments()
            self._arguments()
        elif self._next() == ("bracket", "("):
            self._arguments()
            if name in _OF_A_RANGE and not self._was_range:
                raise ValueError(f"{name} of what is no range")
        elif name != "le":
            labels = self._take("labels")[1:-1] if self._next()[0] == "labels" else ""
            found = _LABEL.findall(labels)
            if ",".join(f'{label}{sign}"{value}"' for label, sign, value in found) != labels:
                raise ValueError(f"labels {labels!r}")
            self._was_range = self._next()[0] == "range"
            if self._was_range:
                self._take("range")
            self.selected.append((name, [(label, value) for label, _, value in found]))

    def _arguments(self) -> None:
        """In brackets; `time()` has none."""
        self._take("bracket", "(")
        while self._next() != ("bracket", ")"):
            self._operation(0)
            if self._next() == ("bracket", ","):
                self._take("bracket")
        self._take("bracket", ")")

    def _next(self) -> tuple[str, str]:
        return self._tokens[0] if self._tokens else ("end", "")

    def _take(self, kind: str, text: str | None = None) -> str:
        found = self._next()
        if found[0] != kind or text not in (None, found[1]):
            raise ValueError(f"want {text or kind}, got {found}")
        return self._tokens.pop(0)[1]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_can_fire(rule: dict[str, Any]) -> None:
    known = labels_by_metric()
    assert set(rule) == {"alert", "expr", "for", "annotations"}
    assert re.fullmatch(r"[0-9]+[smh]", rule["for"])
    assert rule["annotations"]["summary"].endswith(".")
    selected = Expression(rule["expr"]).selected
    assert selected
    for name, labels in selected:
        metric = name if name in known else _SUFFIX.sub("", name)
        assert metric in known
        assert {label for label, _ in labels} <= known[metric]
        for _, value in labels:
            re.compile(value)
            words = re.findall(r"[a-z_]{3,}", value)
            assert all(f"`{word}`" in _MANUAL for word in words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(rate(a[5m])",
        "sum(rate(a[5m])))",
        "a >",
        "> a",
        "a b",
        'a{b="c"',
        "a{b=c}",
        "rate(a)",
        "rate(a{b='c'}[5m])",
        "a[5]",
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"want|token|left|labels|range"):
        Expression(text)
