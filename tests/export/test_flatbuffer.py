"""FlatBuffers: what is written is read again, by us and by others, and nothing that is read leads anywhere else."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.export.tflite.flatbuffer import encode
from yolo_edge.export.tflite.schema import SCHEMA
from yolo_edge.ondevice.flatbuffer import Schema, decode

NESTED = Schema(
    {
        "Node": {
            "small": "int8",
            "flag": "bool=1",
            "number": "int32=7",
            "ratio": "float32",
            "name": "string",
            "longs": "[int64]",
            "names": "[string]",
            "blob": "bytes16",
            "child": "Node",
            "children": "[Node]",
            "either": "union",
        },
        "Leaf": {"value": "uint32"},
    },
    {"either": {"Leaf": 3, "Node": 5}},
)

leaves = st.fixed_dictionaries(
    {},
    optional={
        "small": st.integers(-128, 127),
        "flag": st.booleans(),
        "number": st.integers(-(2**31), 2**31 - 1),
        "ratio": st.floats(width=32, allow_nan=False),
        "name": st.text(max_size=20),
        "longs": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
        "names": st.lists(st.text(max_size=5), max_size=4),
        "blob": st.binary(min_size=1, max_size=40),
    },
)
nodes = st.recursive(
    leaves,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "name": st.text(max_size=20),
            "child": inner,
            "children": st.lists(inner, max_size=3),
            "either": st.tuples(st.just("Node"), inner) | st.tuples(st.just("Leaf"), st.just({"value": 9})),
        },
    ),
    max_leaves=8,
)

DEFAULTS: dict[str, Any] = {"small": 0, "flag": True, "number": 7, "ratio": 0.0}


def complete(node: dict[str, Any], data: bytes, found: dict[str, Any]) -> None:
    """Compare a decoded node with what was encoded."""
    for name, value in found.items():
        expected = node.get(name, DEFAULTS.get(name))
        if name == "blob" and expected is not None:
            assert value.start % 16 == 0
            assert data[value.start : value.stop] == expected
        elif name == "child" and expected is not None:
            complete(expected, data, value)
        elif name == "children" and expected is not None:
            assert len(value) == len(expected)
            for one, other in zip(expected, value, strict=True):
                complete(one, data, other)
        elif name == "either" and expected is not None:
            assert value[0] == expected[0]
            if value[0] == "Node":
                complete(expected[1], data, value[1])
            else:
                assert value[1] == expected[1]
        else:
            assert value == expected, name


@given(nodes)
def test_what_is_written_is_read_again(node: dict[str, Any]) -> None:
    data = encode(NESTED, "Node", node, b"TEST", tail=b"behind")
    assert data[4:8] == b"TEST"
    assert data.endswith(b"behind")
    complete(node, data, decode(NESTED, "Node", data))
    assert encode(NESTED, "Node", node, b"TEST", tail=b"behind") == data


@given(nodes, st.randoms(use_true_random=False), st.integers(1, 8))
def test_damaged_bytes_are_refused_or_read(node: dict[str, Any], rng: random.Random, changes: int) -> None:
    data = bytearray(encode(NESTED, "Node", node, b"TEST"))
    for _ in range(changes):
        data[rng.randrange(len(data))] = rng.choice([0, 1, 4, 127, 128, 255, rng.randrange(256)])
    for end in (len(data), rng.randrange(len(data) + 1)):
        try:
            decode(NESTED, "Node", bytes(data[:end]))
        except ValueError:
            continue


def test_a_small_file_does_not_stand_for_a_huge_one() -> None:
    wide = Schema({"A": {"bs": "[B]"}, "B": {"cs": "[C]"}, "C": {"names": "[string]"}}, {})
    one = encode(wide, "A", {"bs": [{"cs": [{"names": ["x"]}]}]}, b"TEST")
    assert decode(wide, "A", one) == {"bs": [{"cs": [{"names": ["x"]}]}]}
    # vectors of thousands of offsets that all lead to the same table
    data = _many(3000)
    with pytest.raises(ValueError, match="more than 2000000 values"):
        decode(wide, "A", data)


def _many(count: int) -> bytes:
    """A with `count` references to the same B, which has as many to the same C."""
    body = bytearray(8)
    vtable = len(body)
    body += np.array([6, 8, 4, 0], "<u2").tobytes()
    places = []
    for entries in (count, count, 0):
        start = len(body)
        places.append((start, start + 12))
        # how far back the vtable is, how far on the vector is, its length
        body += np.array([start - vtable, 4, entries], "<u4").tobytes() + bytes(4 * entries)
    body[:4] = np.array([places[0][0]], "<u4").tobytes()
    for (_, entries), (target, _) in itertools.pairwise(places):
        for at in range(entries, entries + 4 * count, 4):
            body[at : at + 4] = np.array([target - at], "<u4").tobytes()
    return bytes(body)


def test_unknown_fields_are_an_error() -> None:
    with pytest.raises(ValueError, match="table Node has no field 'nam'"):
        encode(NESTED, "Node", {"nam": "x"}, b"TEST")


def test_views_of_arrays_are_written_as_they_lie() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    view = array.transpose(2, 0, 1)
    data = encode(SCHEMA, "Model", {"buffers": [{}, {"data": view}]}, b"TFL3")
    blob = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0)).buffers[1].data
    np.testing.assert_array_equal(np.frombuffer(bytes(blob), "<f4").reshape(4, 2, 3), view)


def test_the_tables_are_those_of_litert() -> None:
    """Every field at the slot, and every union member at the number, of LiteRT's own schema."""
    for name, fields in SCHEMA.tables.items():
        for field in fields:
            camel = "".join(part.capitalize() for part in field.name.split("_"))
            if camel.startswith("Deprecated"):  # generated code leaves deprecated fields out
                continue
            adder = vars(schema)[f"{name}Add{camel}"]
            # generated code: builder.Prepend...Slot(NUMBER, value, default)
            slots = [value for value in adder.__code__.co_consts if isinstance(value, int)]
            slot = field.slot + (field.kind == "union")
            assert slot in slots, f"{name}.{field.name}: {slot} of {slots}"
    numbers = vars(schema.BuiltinOptions)
    for name, number in SCHEMA.unions["builtin_options"].items():
        assert numbers[name] == number
