"""JSON as strangers send it and as we hash it: one bounded reader, one canonical writer.

Belongs here: bounds, and the shape checks that every document needs. The documents are in modules of their own.
"""

import json
import math
from collections.abc import Mapping
from typing import TypeVar, cast

from flox_formats.errors import FormatError

Json = Mapping[str, object]
T = TypeVar("T")


def canonical_json(value: object) -> bytes:
    """UTF-8, keys sorted, no white space (design 4.2): the same value gives the same bytes everywhere."""
    return _canonical.encode(value).encode()


def plain_json(value: object) -> bytes:
    """As `canonical_json`, with the keys as they are: for a document of others, of which we change a part."""
    return _plain.encode(value).encode()


def read_object(data: bytes, *, what: str, max_bytes: int, error: type[FormatError]) -> dict[str, object]:
    """Parses one JSON object of at most `max_bytes`, or raises `error` with a sentence that begins with `what`."""
    if len(data) > max_bytes:
        raise error(f"{what}: {len(data)} bytes, more than the {max_bytes} that are read")
    try:
        value = _decoder.decode(data.decode("utf-8"))
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is legal JSON and no text
    except RecursionError:
        raise error(f"{what}: nested too deeply") from None
    except ValueError as problem:
        raise error(f"{what}: not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise error(f"{what}: want a JSON object, got {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """1e999 is legal JSON, and as a float it is infinite: nobody could write it back."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:30]} is too large a number")
    return number


# Made once: `json.loads` and `json.dumps` make a new one for each call with options.
_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def shown(value: object) -> str:
    """A value for an error message, cut short; of an array or an object only that it is one."""
    return (
        f"an {'array' if isinstance(value, list) else 'object'}" if isinstance(value, list | dict) else repr(value)[:50]
    )


class Fields:
    """The members of one JSON object, taken with their type; a wrong one is `error`, naming the place.

    Null and absent are the same, as in every document that Flox writes (FH §5.2, §5.4).
    """

    def __init__(self, value: Json, *, where: str, error: type[FormatError]) -> None:
        self._value, self._where, self._error = value, where, error

    def text(self, key: str) -> str:
        return self._required(key, str, "a string")

    def text_or_none(self, key: str) -> str | None:
        return self._typed(key, str, "a string")

    def integer(self, key: str) -> int:
        """A whole number of zero or more."""
        number = self.integer_or_none(key)
        if number is None:
            raise self._error(f"{self._where}: {key!r} is missing")
        return number

    def integer_or_none(self, key: str) -> int | None:
        number = self._typed(key, int, "an integer")
        if isinstance(number, bool) or (number is not None and number < 0):
            raise self._error(f"{self._where}: {key!r} is not an integer of zero or more")
        return number

    def boolean_or_none(self, key: str) -> bool | None:
        return self._typed(key, bool, "true or false")

    def member(self, key: str) -> "Fields":
        """A member object; an absent one is an empty one."""
        value: Json = self._typed(key, dict, "an object") or {}
        return Fields(value, where=f"{self._where}.{key}", error=self._error)

    def objects(self, key: str) -> "list[Fields]":
        """A member array of objects; an absent one is an empty one."""
        return [self._as_fields(item, f"{self._where}.{key}[{n}]") for n, item in enumerate(self._array(key))]

    def members(self) -> "list[tuple[str, Fields]]":
        """Every member, each an object itself."""
        return [(key, self._as_fields(item, f"{self._where}.{key}")) for key, item in self._value.items()]

    def texts(self, key: str) -> tuple[str, ...]:
        items = self._array(key)
        for n, item in enumerate(items):
            if not isinstance(item, str):
                raise self._error(f"{self._where}.{key}[{n}] is not a string")
        return tuple(cast("list[str]", items))

    def text_members(self, key: str) -> dict[str, str]:
        """A member object whose values are all strings."""
        value: Json = self._typed(key, dict, "an object") or {}
        for name, item in value.items():
            if not isinstance(item, str):
                raise self._error(f"{self._where}.{key}.{name} is not a string")
        return dict(cast("Mapping[str, str]", value))

    def get(self, key: str) -> object:
        """The raw value, for a member that may be of several types."""
        return self._value.get(key)

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def refuse(self, key: str, problem: str) -> FormatError:
        """The error for a member whose type is right and whose value is not."""
        return self._error(f"{self._where}: {key!r} {problem}")

    def _array(self, key: str) -> "list[object]":
        return self._typed(key, list, "an array") or []

    def _as_fields(self, item: object, where: str) -> "Fields":
        if not isinstance(item, dict):
            raise self._error(f"{where} is not an object")
        return Fields(item, where=where, error=self._error)

    def _required(self, key: str, kind: type[T], wanted: str) -> T:
        value = self._typed(key, kind, wanted)
        if value is None:
            raise self._error(f"{self._where}: {key!r} is missing")
        return value

    def _typed(self, key: str, kind: type[T], wanted: str) -> T | None:
        value = self._value.get(key)
        if value is not None and not isinstance(value, kind):
            raise self._error(f"{self._where}: {key!r} is not {wanted}")
        return value
