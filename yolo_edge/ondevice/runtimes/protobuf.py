"""The protobuf encoding (https://protobuf.dev/programming-guides/encoding), walked without a package for it."""

from typing import Iterator, Tuple, Union

Bytes = Union[bytes, memoryview]

MAX_MESSAGE_BYTES = 1 << 31  # what its libraries take
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # wire types


def fields(data: memoryview, at: int, end: int) -> Iterator[Tuple[int, int, int, int]]:
    """The fields of a message.

    Args:
        data: What it lies in.
        at: Its first byte.
        end: Behind its last.

    Yields:
        Field number, wire type, and the value of a varint or the bounds of anything else.

    Raises:
        ValueError: It is no message.
    """
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, 0
            continue
        if wire == LENGTH:
            length, at = _varint(data, at, end)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if wire == EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        yield number, wire, at, at + length
        at += length


def varints(data: memoryview, at: int, end: int) -> Iterator[int]:
    """The numbers of a packed field.

    Raises:
        ValueError: They do not end.
    """
    while at < end:
        value, at = _varint(data, at, end)
        yield value


def _varint(data: memoryview, at: int, end: int) -> Tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")
