import json
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.ondevice import typed_json
from yolo_edge.ondevice.errors import SpecError


@dataclass(frozen=True)
class Inner:
    sides: Tuple[float, float]


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    inner: Tuple[Inner, ...] = ()
    table: Optional[Dict[str, float]] = None
    flag: bool = False


outers = st.builds(
    Outer,
    name=st.text(),
    count=st.integers(-(10**18), 10**18),
    inner=st.lists(st.builds(Inner, st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2))).map(tuple),
    table=st.none() | st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    flag=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["name", "count", "inner", "table", "x"]), inner),
)


@given(outers)
def test_round_trip(value: Outer) -> None:
    assert typed_json.loads(Outer, typed_json.dumps(value), "value") == value


@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        result = typed_json.loads(Outer, json.dumps(value), "value")
    except SpecError:
        return
    assert isinstance(result, Outer)


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        typed_json.loads(Outer, data, "value")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "value: expected an object, got []"),
        ('{"name": "a"}', "value: key 'count' is missing"),
        ('{"name": "a", "count": 1, "colour": 2}', "value: unknown key 'colour'"),
        ('{"name": 1, "count": 1}', "value.name: expected a text, got 1"),
        ('{"name": "a", "count": true}', "value.count: expected a whole number, got True"),
        ('{"name": "a", "count": 1.0}', "value.count: expected a whole number, got 1.0"),
        ('{"name": "a", "count": 1, "flag": 1}', "value.flag: expected true or false, got 1"),
        ('{"name": "a", "count": 1, "inner": {}}', "value.inner: expected a list, got {}"),
        ('{"name": "a", "count": 1, "inner": [{"sides": [1]}]}', "value.inner[0].sides: expected 2 values, got 1"),
        ('{"name": "a", "count": 1, "inner": [{"sides": [1, "b"]}]}', "value.inner[0].sides[1]: expected a number"),
        ('{"name": "a", "count": 1, "table": {"a": NaN}}', "value.table.a: expected a finite number"),
        ('{"name": "a", "count": 1, "table": {"a": ' + "9" * 400 + "}}", "value.table.a: expected a finite number"),
    ],
)
def test_errors_name_the_key(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        typed_json.loads(Outer, text, "value")
    assert message in str(error.value)


def test_numbers_that_are_not_finite_are_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        typed_json.dumps(Inner((float("nan"), 1.0)))
