"""FlatBuffers read by tables that say which fields they have (https://flatbuffers.dev/internals).

A schema maps the name of a table to its fields, in the order of their slots, each with its type:

    int8 uint8 bool int32 uint32 float32 ...    a number; "int32=1" has another default than 0
    string                                      UTF-8
    bytes16                                     bytes that are aligned to 16
    [int32] [float32] [string] [Tensor] ...     a vector
    Tensor                                      a table
    union                                       one of several tables; two slots, their numbers in `Schema.unions`
"""

import struct
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, Union

import numpy as np

DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("int8", "uint8", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32")
}
CODES = dict(zip(DTYPES, "bB?hHiIqQf"))
_UNPACKERS = {code: struct.Struct(f"<{code}") for code in CODES.values()}
_TYPES: Dict[str, Type[float]] = {"bool": bool, "float32": float}
_OFFSET = 4
_MAX_VALUES = 2_000_000  # of a file that is read: references may be shared, and a small file stand for a huge one


@dataclass(frozen=True)
class Field:
    """One field of a table, as its schema says it.

    Attributes:
        name: Of the field.
        kind: Its type, without "=".
        slot: Its number in the table; a union has its type there and its value in the next.
        default: Of a number.
    """

    name: str
    kind: str
    slot: int
    default: float


class Schema:
    """Tables by name, and for each union the names of its tables by number."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]], unions: Mapping[str, Mapping[str, int]]):
        """Read what the tables say.

        Args:
            tables: Name of a table → field → type.
            unions: Name of a field of type "union" → table → number.
        """
        self.unions = {field: dict(numbers) for field, numbers in unions.items()}
        self.members = {field: {n: table for table, n in numbers.items()} for field, numbers in unions.items()}
        self.tables: Dict[str, List[Field]] = {}
        for table, fields in tables.items():
            slot, self.tables[table] = 0, []
            for name, text in fields.items():
                kind, _, default = text.partition("=")
                self.tables[table].append(Field(name, kind, slot, _TYPES.get(kind, int)(int(default or 0))))
                slot += 2 if kind == "union" else 1


def decode(schema: Schema, root: str, data: Union[bytes, memoryview]) -> Dict[str, Any]:
    """Read one FlatBuffer; fields that the schema does not have are left out.

    Args:
        schema: Knows `root` and the tables in it that are wanted.
        root: The outermost table.
        data: The file; whatever it holds, nothing outside it is read.

    Returns:
        Field → value. A number that is not there has its default, anything else is None; "bytes16" is the range of its
        bytes in the file; a union is (name of the table, its fields), or None where the name is unknown.

    Raises:
        ValueError: The data lead out of the file, or expand beyond `_MAX_VALUES` values.
    """
    return _Reader(schema, data if isinstance(data, memoryview) else memoryview(data)).read(root)


class _Reader:
    def __init__(self, schema: Schema, data: memoryview):
        self._schema = schema
        self._data = data
        self._length = len(data)
        self._left = _MAX_VALUES

    def read(self, root: str) -> Dict[str, Any]:
        return self._table(root, self._follow(0))

    def _number(self, code: str, at: int) -> Any:
        unpacker = _UNPACKERS[code]
        if not 0 <= at <= self._length - unpacker.size:
            raise ValueError(f"an offset leads to byte {at} of {self._length}")
        return unpacker.unpack_from(self._data, at)[0]

    def _follow(self, at: int) -> int:
        return at + int(self._number("I", at))

    def _count(self, at: int, size: int) -> int:
        count = int(self._number("I", at))
        if at + 4 + count * size > self._length:
            raise ValueError(f"a vector of {count} at byte {at} ends after the file")
        return count

    def _table(self, name: str, start: int) -> Dict[str, Any]:
        fields = self._schema.tables[name]
        self._spend(len(fields) + 1)
        offsets = self._offsets(start)

        def place(slot: int) -> int:
            return start + offsets[slot] if slot < len(offsets) and offsets[slot] else 0

        found: Dict[str, Any] = {}
        for field in fields:
            at = place(field.slot)
            if field.kind in CODES:
                found[field.name] = self._number(CODES[field.kind], at) if at else field.default
            elif field.kind == "union":
                found[field.name] = self._union(field, at, place(field.slot + 1))
            else:
                found[field.name] = self._item(field.kind, self._follow(at)) if at else None
        return found

    def _offsets(self, start: int) -> Tuple[int, ...]:
        """Where in a table each slot is, 0 where it is not; the table and its vtable lie within the file."""
        vtable = start - int(self._number("i", start))
        slots = max((int(self._number("H", vtable)) - 4) // 2, 0)
        self._number("B", vtable + 3 + 2 * slots)
        self._number("B", start + max(int(self._number("H", vtable + 2)), 1) - 1)
        return struct.unpack_from(f"<{slots}H", self._data, vtable + 4)

    def _union(self, field: Field, kind_at: int, at: int) -> Optional[Tuple[str, Dict[str, Any]]]:
        number = self._number("B", kind_at) if kind_at else 0
        if not at:
            return None
        name = self._schema.members[field.name].get(number)
        if name is None:
            self._offsets(self._follow(at))
            return None
        return name, self._table(name, self._follow(at))

    def _item(self, kind: str, at: int) -> Any:
        if kind == "bytes16":
            return range(at + 4, at + 4 + self._count(at, 1))
        if kind == "string":
            end = at + 4 + self._count(at, 1)
            return bytes(self._data[at + 4 : end]).decode("utf-8", "replace")
        if not kind.startswith("["):
            return self._table(kind, at)
        inner = kind[1:-1]
        if inner in DTYPES:
            count = self._count(at, DTYPES[inner].itemsize)
            self._spend(count)
            return list(struct.unpack_from(f"<{count}{CODES[inner]}", self._data, at + 4))
        count = self._count(at, _OFFSET)
        self._spend(count)
        places = range(at + 4, at + 4 + _OFFSET * count, _OFFSET)
        return [self._item(inner, self._follow(place)) for place in places]

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise ValueError(f"it holds more than {_MAX_VALUES} values")
