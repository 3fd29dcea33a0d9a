"""Whether an ONNX file keeps weights in other files.

Older versions of onnxruntime (1.23 among them) read whatever file such an entry names, /etc/passwd too, so these models
are refused before a runtime sees them. The walk follows the protobuf encoding and skips all weights: it takes
milliseconds, and no package that a device may lack.
"""

from typing import Dict

from yolo_edge.ondevice.runtimes.protobuf import LENGTH, VARINT, Bytes, fields

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
        for number, wire, first, last in fields(view, start, end):
            if message == "Tensor" and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and wire == VARINT and first != 0)
            ):
                return True
            child = _CHILDREN[message].get(number)
            if child is not None and wire == LENGTH:
                waiting.append((child, first, last))
    return False
