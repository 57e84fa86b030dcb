import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flox_formats.errors import FormatError
from flox_formats.json_document import Fields, canonical_json, read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class PlanInvalid(FormatError):
    """The error of a document that only this test knows."""


def read(data: bytes, max_bytes: int = 1000) -> dict[str, object]:
    return read_object(data, what="plan", max_bytes=max_bytes, error=PlanInvalid)


def fields(text: str) -> Fields:
    return Fields(read(text.encode()), where="plan", error=PlanInvalid)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        pytest.param({"b": 1, "a": 2}, b'{"a":2,"b":1}', id="keys-sorted"),
        pytest.param({"a": [1, {"c": None, "b": True}]}, b'{"a":[1,{"b":true,"c":null}]}', id="nested"),
        pytest.param({"a": "é/\n"}, '{"a":"é/\\n"}'.encode(), id="utf-8"),
        pytest.param({}, b"{}", id="empty"),
    ],
)
def test_canonical_json(value: object, data: bytes) -> None:
    assert canonical_json(value) == data


@given(st.dictionaries(st.text(), VALUES))
def test_canonical_json_reads_back(value: dict[str, object]) -> None:
    data = canonical_json(value)
    assert read(data, max_bytes=len(data)) == value
    assert canonical_json(read(data, max_bytes=len(data))) == data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"{", "not JSON", id="cut-off"),
        pytest.param(b"[]", "got list", id="array"),
        pytest.param(b"null", "got NoneType", id="null"),
        pytest.param(b'"x"', "got str", id="text"),
        pytest.param(b"{} {}", "not JSON", id="two"),
        pytest.param(b'{"a":NaN}', "NaN is not JSON", id="nan"),
        pytest.param(b'{"a":-Infinity}', "-Infinity is not JSON", id="infinity"),
        pytest.param(b'{"a":"\xff"}', "not JSON", id="not-utf-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', "not JSON", id="byte-order-mark"),
        pytest.param(b'{"a":"\\ud800"}', "not JSON", id="lone-surrogate"),
        pytest.param(b'{"\\udfff":1}', "not JSON", id="lone-surrogate-key"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "not JSON", id="huge-number"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="deep"),
        pytest.param(b'{"a":' + b"[" * 100_000, "nested too deeply", id="deep-array"),
    ],
)
def test_refuses(data: bytes, problem: str) -> None:
    with pytest.raises(PlanInvalid, match=f"plan: .*{problem}"):
        read(data, max_bytes=1_000_000)


def test_refuses_before_parsing_what_is_too_large() -> None:
    with pytest.raises(PlanInvalid, match="plan: 11 bytes, more than the 10 that are read"):
        read(b'{"a": "bc"}', max_bytes=10)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        value = read(data)
    except PlanInvalid:
        return
    assert value == json.loads(data)


Take = Callable[[Fields], object]


@pytest.mark.parametrize(
    ("text", "take", "value"),
    [
        pytest.param('{"a":"x"}', lambda f: f.text("a"), "x", id="text"),
        pytest.param('{"a":null}', lambda f: f.text_or_none("a"), None, id="null-text"),
        pytest.param("{}", lambda f: f.text_or_none("a"), None, id="absent-text"),
        pytest.param('{"a":0}', lambda f: f.integer("a"), 0, id="zero"),
        pytest.param("{}", lambda f: f.integer_or_none("a"), None, id="absent-integer"),
        pytest.param('{"a":false}', lambda f: f.boolean_or_none("a"), False, id="false"),
        pytest.param('{"a":["x","y"]}', lambda f: f.texts("a"), ("x", "y"), id="texts"),
        pytest.param("{}", lambda f: f.texts("a"), (), id="absent-texts"),
        pytest.param('{"a":{"b":"x"}}', lambda f: f.member("a").text("b"), "x", id="member"),
        pytest.param("{}", lambda f: f.member("a").text_or_none("b"), None, id="absent-member"),
        pytest.param('{"a":{"b":"x"}}', lambda f: f.text_members("a"), {"b": "x"}, id="text-members"),
        pytest.param(
            '{"a":[{"b":1},{"b":2}]}', lambda f: [x.integer("b") for x in f.objects("a")], [1, 2], id="objects"
        ),
        pytest.param(
            '{"a":{"b":1}}', lambda f: [(k, x.integer("b")) for k, x in f.members()], [("a", 1)], id="members"
        ),
        pytest.param('{"a":[1]}', lambda f: f.get("a"), [1], id="raw"),
        pytest.param('{"a":null}', lambda f: f.has("a"), False, id="null-is-absent"),
        pytest.param('{"a":0}', lambda f: f.has("a"), True, id="zero-is-there"),
    ],
)
def test_takes_fields(text: str, take: Take, value: object) -> None:
    assert take(fields(text)) == value


@pytest.mark.parametrize(
    ("text", "take", "problem"),
    [
        pytest.param("{}", lambda f: f.text("a"), "plan: 'a' is missing", id="missing-text"),
        pytest.param('{"a":null}', lambda f: f.integer("a"), "plan: 'a' is missing", id="null-integer"),
        pytest.param('{"a":1}', lambda f: f.text("a"), "plan: 'a' is not a string", id="number-for-text"),
        pytest.param('{"a":"1"}', lambda f: f.integer("a"), "plan: 'a' is not an integer", id="text-for-integer"),
        pytest.param('{"a":1.0}', lambda f: f.integer("a"), "plan: 'a' is not an integer", id="float-for-integer"),
        pytest.param('{"a":-1}', lambda f: f.integer("a"), "plan: 'a' is not an integer of zero", id="negative"),
        pytest.param('{"a":true}', lambda f: f.integer("a"), "plan: 'a' is not an integer", id="true-for-integer"),
        pytest.param('{"a":1}', lambda f: f.boolean_or_none("a"), "plan: 'a' is not true or false", id="one-for-true"),
        pytest.param('{"a":"x"}', lambda f: f.texts("a"), "plan: 'a' is not an array", id="text-for-array"),
        pytest.param('{"a":["x",1]}', lambda f: f.texts("a"), r"plan\.a\[1\] is not a string", id="number-in-texts"),
        pytest.param(
            '{"a":[{},1]}', lambda f: f.objects("a"), r"plan\.a\[1\] is not an object", id="number-in-objects"
        ),
        pytest.param('{"a":[]}', lambda f: f.member("a"), "plan: 'a' is not an object", id="array-for-object"),
        pytest.param(
            '{"a":{"b":1}}', lambda f: f.member("a").text("b"), r"plan\.a: 'b' is not a", id="place-in-member"
        ),
        pytest.param('{"a":{"b":1}}', lambda f: f.text_members("a"), r"plan\.a\.b is not a string", id="text-members"),
        pytest.param('{"a":1}', lambda f: f.members(), r"plan\.a is not an object", id="members"),
    ],
)
def test_refuses_fields(text: str, take: Take, problem: str) -> None:
    with pytest.raises(PlanInvalid, match=problem):
        take(fields(text))


def test_an_error_for_a_value_that_only_the_reader_can_judge() -> None:
    assert str(fields("{}").refuse("a", "is too odd")) == "plan: 'a' is too odd"
