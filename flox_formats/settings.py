"""Settings: one name for a flag, a variable and a key of the YAML file; the flag beats the variable beats the file.

Belongs here: the layers, the readers of single values, the errors. Which settings there are is each program's own
frozen dataclass, made of `setting(...)` fields. Reading the file from disk and from YAML is the program's, too.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from flox_formats.errors import FormatError

T = TypeVar("T")
Reader = Callable[[object], Any]

_SERVICE_LINK = re.compile(r"\w+_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""What Kubernetes puts into every pod's environment for a service: one that is named floxbridge looks like settings.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""


class SettingsInvalid(FormatError):
    """A setting that is unknown, or whose value is not one of its kind. Ends a command with exit code 2."""


class Source(StrEnum):
    """Who has the word on a setting, the last one first."""

    FLAG = "flag"
    VARIABLE = "variable"
    FILE = "file"
    DEFAULT = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """The value of one setting, and who gave it. `flag` and `variable` are what it is called there."""

    name: str
    flag: str
    variable: str
    value: Any
    source: Source


def setting(default: Any, read: Reader, about: str) -> Any:
    """A field of a settings class. `read` takes what a flag, a variable (text) or the file (any) gave."""
    return dataclasses.field(default=default, metadata={"read": read, "about": about})


def read_settings(
    kind: type[T], *, flags: Mapping[str, object], variables: Mapping[str, str], prefix: str, file: Mapping[str, object]
) -> T:
    """An instance of `kind`. Raises what `effective` raises."""
    return kind(**{one.name: one.value for one in effective(kind, flags, variables, prefix, file)})


def effective(
    kind: type[Any],
    flags: Mapping[str, object],
    variables: Mapping[str, str],
    prefix: str,
    file: Mapping[str, object],
) -> tuple[Given, ...]:
    """Every setting of `kind`. A flag or variable that is None or absent leaves the word to the next layer.

    Raises SettingsInvalid for a value that is not of its kind, and for a key of the file, or a variable that begins
    with `prefix`, that is no setting.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    _refuse_unknown([str(key) for key in file], list(fields), "the configuration file")
    ours = [name for name in variables if name.startswith(prefix) and not _SERVICE_LINK.fullmatch(name)]
    _refuse_unknown(ours, [prefix + name.upper() for name in fields], "the environment")
    return tuple(_given(field, flags, variables, prefix, file) for field in fields.values())


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("want a text that is not empty")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list; as one text, its members are separated by white space."""
    if isinstance(value, str):
        return tuple(value.split())
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise ValueError("want a list of texts")
    return tuple(value)


def seconds(value: object) -> float:
    number = _number(value)
    if not 0 <= number < 1e9:
        raise ValueError("want seconds, zero or more")
    return number


def positive_seconds(value: object) -> float:
    number = seconds(value)
    if number == 0:
        raise ValueError("want seconds, more than zero")
    return number


def count(value: object) -> int:
    number = _number(value)
    if not 0 <= number < 1e18 or number != int(number):
        raise ValueError("want a whole number, zero or more")
    return int(number)


def positive_count(value: object) -> int:
    number = count(value)
    if number == 0:
        raise ValueError("want a whole number, one or more")
    return number


def flag(value: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    found = value if isinstance(value, bool) else words.get(str(value).lower())
    if found is None:
        raise ValueError("want true or false")
    return found


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("want a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"want a number, got {value!r}") from None


def _given(
    field: "dataclasses.Field[Any]",
    flags: Mapping[str, object],
    variables: Mapping[str, str],
    prefix: str,
    file: Mapping[str, object],
) -> Given:
    name = field.name
    flag_name, variable = f"--{name.replace('_', '-')}", prefix + name.upper()
    for source, where, value in (
        (Source.FLAG, flag_name, flags.get(name)),
        (Source.VARIABLE, variable, variables.get(variable)),
        (Source.FILE, f"{name} in the configuration file", file.get(name)),
    ):
        if value is not None:
            try:
                return Given(name, flag_name, variable, field.metadata["read"](value), source)
            except ValueError as error:
                raise SettingsInvalid(f"setting {where}: {error}") from error
    return Given(name, flag_name, variable, field.default, Source.DEFAULT)


def _refuse_unknown(names: list[str], known: list[str], where: str) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SettingsInvalid(
            f"{where} sets {', '.join(unknown)[:200]}, which is no setting; there are {', '.join(known)}"
        )
