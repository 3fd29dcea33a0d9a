"""Whether an ONNX file keeps weights in other files.

Older versions of onnxruntime (1.23 among them) read whatever file such an entry names, /etc/passwd too, so these models
are refused before a runtime sees them. The walk follows the protobuf encoding and skips all weights: it takes
milliseconds, and no package that a device may lack.
"""

from typing import Dict, Iterator, Tuple, Union

Bytes = Union[bytes, memoryview]

# message → field number → message, from onnx.proto: the ways to a TensorProto
_CHILDREN: Dict[str, Dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of TensorProto
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # wire types


def has_external_data(data: Bytes) -> bool:
    """Whether a tensor of the model lies in another file.

    Args:
        data: The bytes of an ONNX file.

    Raises:
        ValueError: They are no protobuf message.
    """
    view = data if isinstance(data, memoryview) else memoryview(data)
    waiting = [("Model", 0, len(view))]
    while waiting:
        message, start, end = waiting.pop()
        for number, wire, first, last in _fields(view, start, end):
            if message == "Tensor" and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and wire == _VARINT and first != 0)
            ):
                return True
            child = _CHILDREN[message].get(number)
            if child is not None and wire == _LENGTH:
                waiting.append((child, first, last))
    return False


def _fields(data: memoryview, at: int, end: int) -> Iterator[Tuple[int, int, int, int]]:
    """Field number, wire type, and the value of a varint or the bounds of anything else."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, 0
            continue
        if wire == _LENGTH:
            length, at = _varint(data, at, end)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        yield number, wire, at, at + length
        at += length


def _varint(data: memoryview, at: int, end: int) -> Tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")
