"""FlatBuffers written and read by tables that say which fields they have (https://flatbuffers.dev/internals).

A schema maps the name of a table to its fields, in the order of their slots, each with its type:

    int8 uint8 bool int32 uint32 float32 ...    a number; "int32=1" has another default than 0
    string                                      UTF-8
    bytes16                                     bytes, or an array as they lie in memory, aligned to 16 bytes
    [int32] [float32] [string] [Tensor] ...     a vector
    Tensor                                      a table
    union                                       (name of the table, its fields); two slots, the names in `UNIONS`

Values are plain: dicts, lists, texts, numbers, numpy arrays. The whole file is laid out before the first byte is
written: it is allocated once, at its size, and weights are copied once, out of whatever view of them was given.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Table: TypeAlias = Mapping[str, Any]

_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("int8", "uint8", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32")
}
_CODES = dict(zip(_DTYPES, "bB?hHiIqQf", strict=True))
_OFFSET, _BLOB_ALIGNMENT = 4, 16
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
        self.tables: dict[str, list[Field]] = {}
        for table, fields in tables.items():
            slot, self.tables[table] = 0, []
            for name, text in fields.items():
                kind, _, default = text.partition("=")
                self.tables[table].append(Field(name, kind, slot, float(default or 0)))
                slot += 2 if kind == "union" else 1


def encode(
    schema: Schema,
    root: str,
    values: Table,
    identifier: bytes,
    tail: bytes = b"",
) -> bytes:
    """Write one FlatBuffer. The same values give the same bytes.

    Args:
        schema: Knows `root` and all tables in it.
        root: The outermost table.
        values: Its fields.
        identifier: Four bytes that say what file it is.
        tail: What follows the FlatBuffer.

    Raises:
        ValueError: A field that the schema does not have.
    """
    layout = _Layout(schema)
    start = layout.reserve(bytearray(_OFFSET) + identifier)
    layout.point(start, layout.table(root, values))
    layout.place(tail, 1)
    stream = io.BytesIO()
    stream.seek(layout.size - 1)
    stream.write(b"\0")
    with stream.getbuffer() as view:
        for position, piece in layout.pieces:
            if isinstance(piece, np.ndarray):
                dtype = piece.dtype.newbyteorder("<")
                np.frombuffer(view, dtype, piece.size, position).reshape(piece.shape)[...] = piece
            else:
                view[position : position + len(piece)] = piece
    return stream.getvalue()  # not a copy, since the buffer has just this size


class _Layout:
    """Gives everything its place, one after another; what a place refers to follows it."""

    def __init__(self, schema: Schema):
        self._schema = schema
        self.size = 0
        self.pieces: list[tuple[int, Any]] = []  # position, and bytes or an array
        self._referring: dict[int, bytearray] = {}
        self._vtables: dict[bytes, int] = {}

    def place(self, piece: Any, alignment: int, lead: int = 0) -> int:
        """The position of `piece`, `lead` bytes of which come before the part that is aligned."""
        position = self.size + -(self.size + lead) % alignment
        self.size = position + (piece.nbytes if isinstance(piece, np.ndarray) else len(piece))
        self.pieces.append((position, piece))
        return position

    def reserve(self, piece: bytearray) -> int:
        """The position of a piece that will refer to others."""
        start = self.place(piece, _OFFSET)
        self._referring[start] = piece
        return start

    def point(self, start: int, target: int, at: int = 0) -> None:
        """Let the piece at `start` refer, at its byte `at`, to the piece at `target`."""
        struct.pack_into("<I", self._referring[start], at, target - (start + at))

    def table(self, name: str, values: Table) -> int:
        fields = {field.name: field for field in self._schema.tables[name]}
        unknown = set(values) - set(fields)
        if unknown:
            raise ValueError(f"table {name} has no field {min(unknown)!r}")
        numbers: list[tuple[int, str, Any]] = []  # slot, type, value
        references: list[tuple[int, Field, Any]] = []
        for field in fields.values():
            value = values.get(field.name)
            if value is None:
                continue
            if field.kind in _CODES:
                if value != field.default:
                    numbers.append((field.slot, field.kind, value))
                continue
            if field.kind == "union":
                numbers.append((field.slot, "uint8", self._schema.unions[field.name][value[0]]))
            references.append((field.slot + (field.kind == "union"), field, value))
        # large ones first, so that all are aligned; the first four bytes lead to the vtable
        items = [(_OFFSET, slot, "I", 0) for slot, _, _ in references]
        items += [(struct.calcsize(_CODES[kind]), slot, _CODES[kind], value) for slot, kind, value in numbers]
        items.sort(key=lambda item: (-item[0], item[1]))
        places, end = {}, 4
        for length, slot, _, _ in items:
            places[slot] = end
            end += length
        inline = bytearray(end)
        for _, slot, code, value in items:
            struct.pack_into(f"<{code}", inline, places[slot], value)
        vtable = self._vtable(places, end)
        start = self.reserve(inline)
        struct.pack_into("<i", inline, 0, start - vtable)
        for slot, field, value in references:
            self.point(start, self._reference(field, value), places[slot])
        return start

    def _vtable(self, places: Mapping[int, int], end: int) -> int:
        slots = max(places, default=-1) + 1
        words = [4 + 2 * slots, end, *(places.get(slot, 0) for slot in range(slots))]
        data = struct.pack(f"<{len(words)}H", *words)
        if data not in self._vtables:
            self._vtables[data] = self.place(data, 2)
        return self._vtables[data]

    def _reference(self, field: Field, value: Any) -> int:
        if field.kind == "union":
            return self.table(*value)
        return self._item(field.kind, value)

    def _item(self, kind: str, value: Any) -> int:
        if kind == "string":
            text = value.encode()
            return self.place(struct.pack("<I", len(text)) + text + b"\0", _OFFSET)
        if kind == "bytes16":
            array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
            start = self.place(struct.pack("<I", array.nbytes), _BLOB_ALIGNMENT, _OFFSET)
            self.place(array, 1)
            return start
        if not kind.startswith("["):
            return self.table(kind, value)
        inner = kind[1:-1]
        if inner in _DTYPES:
            array = np.asarray(value, _DTYPES[inner]).reshape(-1)
            data = struct.pack("<I", len(array)) + array.tobytes()
            return self.place(data, max(_OFFSET, array.itemsize), _OFFSET)
        offsets = bytearray(struct.pack("<I", len(value)) + bytes(_OFFSET * len(value)))
        start = self.reserve(offsets)
        for i, item in enumerate(value):
            self.point(start, self._item(inner, item), _OFFSET * (i + 1))
        return start


def decode(schema: Schema, root: str, data: bytes | memoryview) -> dict[str, Any]:
    """Read one FlatBuffer; fields that the schema does not have are left out.

    Args:
        schema: Knows `root` and the tables in it that are wanted.
        root: The outermost table.
        data: The file; whatever it holds, nothing outside it is read.

    Returns:
        Field → value. A number that is not there has its default, anything else is None; "bytes16" is a view of the
        data; a union is (name of the table, its fields), or None where the name is unknown.

    Raises:
        ValueError: The data lead out of the file, or expand beyond `_MAX_VALUES` values.
    """
    return _Reader(schema, memoryview(data)).read(root)


class _Reader:
    def __init__(self, schema: Schema, data: memoryview):
        self._schema = schema
        self._data = data
        self._left = _MAX_VALUES

    def read(self, root: str) -> dict[str, Any]:
        return self._table(root, self._follow(0))

    def _number(self, code: str, at: int) -> Any:
        if not 0 <= at <= len(self._data) - struct.calcsize(code):
            raise ValueError(f"an offset leads to byte {at} of {len(self._data)}")
        return struct.unpack_from(f"<{code}", self._data, at)[0]

    def _follow(self, at: int) -> int:
        return at + int(self._number("I", at))

    def _count(self, at: int, size: int) -> int:
        count = int(self._number("I", at))
        if at + 4 + count * size > len(self._data):
            raise ValueError(f"a vector of {count} at byte {at} ends after the file")
        return count

    def _table(self, name: str, start: int) -> dict[str, Any]:
        fields = self._schema.tables[name]
        self._spend(len(fields) + 1)
        vtable = start - int(self._number("i", start))
        slots = (int(self._number("H", vtable)) - 4) // 2

        def place(slot: int) -> int:
            offset = int(self._number("H", vtable + 4 + 2 * slot)) if slot < slots else 0
            return start + offset if offset else 0

        found: dict[str, Any] = {}
        for field in fields:
            at = place(field.slot)
            if field.kind in _CODES:
                found[field.name] = self._number(_CODES[field.kind], at) if at else _type_of(field)(field.default)
            elif field.kind == "union":
                found[field.name] = self._union(field, at, place(field.slot + 1))
            else:
                found[field.name] = self._item(field.kind, self._follow(at)) if at else None
        return found

    def _union(self, field: Field, kind_at: int, at: int) -> tuple[str, dict[str, Any]] | None:
        number = self._number("B", kind_at) if kind_at else 0
        names = {number: name for name, number in self._schema.unions[field.name].items()}
        if number not in names or not at:
            return None
        return names[number], self._table(names[number], self._follow(at))

    def _item(self, kind: str, at: int) -> Any:
        if kind in ("string", "bytes16"):
            count = self._count(at, 1)
            data = self._data[at + 4 : at + 4 + count]
            return bytes(data).decode("utf-8", "replace") if kind == "string" else data
        if not kind.startswith("["):
            return self._table(kind, at)
        inner = kind[1:-1]
        if inner in _DTYPES:
            count = self._count(at, _DTYPES[inner].itemsize)
            self._spend(count)
            return np.frombuffer(self._data, _DTYPES[inner], count, at + 4).tolist()
        count = self._count(at, _OFFSET)
        self._spend(count)
        places: Sequence[int] = range(at + 4, at + 4 + _OFFSET * count, _OFFSET)
        return [self._item(inner, self._follow(place)) for place in places]

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise ValueError(f"it holds more than {_MAX_VALUES} values")


def _type_of(field: Field) -> type[bool] | type[int] | type[float]:
    return {"bool": bool, "float32": float}.get(field.kind, int)
