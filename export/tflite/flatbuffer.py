"""FlatBuffers written by the tables of a schema (`yolo_edge.ondevice.flatbuffer` says how they look, and reads them).

Values are plain: dicts, lists, texts, numbers; "bytes16" takes bytes, or an array as it lies in memory; a union is
(name of the table, its fields). The whole file is laid out before the first byte is written: it is allocated once, at
its size, and weights are copied once, out of whatever view of them was given.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from yolo_edge.ondevice.flatbuffer import CODES, DTYPES, Field, Schema

Table: TypeAlias = Mapping[str, Any]

_OFFSET, _BLOB_ALIGNMENT = 4, 16


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
            if field.kind in CODES:
                if value != field.default:
                    numbers.append((field.slot, field.kind, value))
                continue
            if field.kind == "union":
                numbers.append((field.slot, "uint8", self._schema.unions[field.name][value[0]]))
            references.append((field.slot + (field.kind == "union"), field, value))
        # large ones first, so that all are aligned; the first four bytes lead to the vtable
        items = [(_OFFSET, slot, "I", 0) for slot, _, _ in references]
        items += [(struct.calcsize(CODES[kind]), slot, CODES[kind], value) for slot, kind, value in numbers]
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
        if inner in DTYPES:
            array = np.asarray(value, DTYPES[inner]).reshape(-1)
            data = struct.pack("<I", len(array)) + array.tobytes()
            return self.place(data, max(_OFFSET, array.itemsize), _OFFSET)
        offsets = bytearray(struct.pack("<I", len(value)) + bytes(_OFFSET * len(value)))
        start = self.reserve(offsets)
        for i, item in enumerate(value):
            self.point(start, self._item(inner, item), _OFFSET * (i + 1))
        return start
