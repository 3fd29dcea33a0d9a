"""ONNX files from outside, before a runtime sees them: whether they stand alone, and what they say of themselves.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import os
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Set, Tuple, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, check_readable, mapped, printable, read_bytes, reason
from yolo_edge.ondevice.runtimes.base import Runtime, check_one_input
from yolo_edge.ondevice.runtimes.foreign import why_no_onnx
from yolo_edge.ondevice.runtimes.onnx_external import has_external_data
from yolo_edge.ondevice.runtimes.protobuf import LENGTH, MAX_MESSAGE_BYTES, VARINT, Bytes, fields, varints

MAX_MODEL_BYTES = MAX_MESSAGE_BYTES

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_INTEGERS = 1, 3, 8
_TENSOR_SIDE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_BYTES = 1, 2, 8, 9
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR = 1, 2, 1
_TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_SIDE, _SIDE_VALUE = 1, 2, 1, 1
_KEY, _VALUE = 1, 2
# TensorProto.DataType
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
_MAX_NAME = 1 << 16  # bytes
# attributes that runtimes divide by, or allocate from
_POSITIVE = frozenset({"strides", "dilations", "kernel_shape", "group", "blocksize", "num_outputs"})
# bytes of an element
_ELEMENTS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
# inputs that these operators cannot do without: OpenCV and OpenVINO read them unasked
_LEAST_INPUTS = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "MatMul", "PRelu", "Gather", "Reshape", "Expand", "Tile"), 2),
    **dict.fromkeys(("Conv", "ConvTranspose", "QuantizeLinear", "DequantizeLinear", "And", "Or", "Equal", "Less"), 2),
    **dict.fromkeys(("Greater", "ScatterND", "Where", "Slice", "Range", "BatchNormalization"), 3),
}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: Of the tensor.
        dtype: Its numpy type name.
        shape: -1 stands for a side that the file leaves open.
    """

    name: str
    dtype: str
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a file says of itself.

    Attributes:
        inputs: Those that are no weights.
        outputs: In the file's order.
        metadata: Key → text.
        operators: Their names, without those inside of functions.
    """

    inputs: Tuple[TensorInfo, ...]
    outputs: Tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    operators: FrozenSet[str]


def check_self_contained(model: Union[PathLike, bytes], where: str) -> None:
    """Check that a model is one readable file that needs no other.

    Args:
        model: A path, or the bytes of a file.
        where: What it is, for error messages.

    Raises:
        InputError: It cannot be read, is too large, is no ONNX file, or keeps weights in other files.
    """
    if isinstance(model, bytes):
        _check_bytes(model, where)
        return
    if check_readable(model) > MAX_MODEL_BYTES:
        raise InputError(f"{where}: larger than the 2 GB of one ONNX file")
    try:
        with mapped(model) as data:
            _check_bytes(data, where)
    except OSError as error:
        raise InputError(f"{where}: {reason(error)}") from error


def _check_bytes(data: Bytes, where: str) -> None:
    try:
        external = has_external_data(data)
    except ValueError as error:
        raise InputError(f"{where}: not an ONNX file ({why_no_onnx(data)})") from error
    if external:
        raise InputError(f"{where}: keeps its weights in other files; `yolo-edge export` makes one file of them")


def read_detector(model: Union[PathLike, bytes]) -> Tuple[bytes, Signature]:
    """The bytes of a file that has a single input and needs no other file, and its signature.

    Args:
        model: A path, or the bytes of a file.

    Raises:
        InputError: It cannot be read, or is no such file.
    """
    where = "model" if isinstance(model, bytes) else os.fspath(model)
    check_self_contained(model, where)
    data = model if isinstance(model, bytes) else read_bytes(where, MAX_MODEL_BYTES)
    try:
        signature = read_signature(data)
    except ValueError as error:
        raise InputError(f"{where}: not an ONNX file ({printable(str(error))})") from error
    check_one_input(len(signature.inputs), where)
    return data, signature


def describe(runtime: Runtime, signature: Signature) -> None:
    """Fill in the attributes of a runtime that the file alone decides."""
    image = signature.inputs[0]
    runtime.input_name, runtime.input_shape, runtime.input_dtype = image.name, image.shape, image.dtype
    runtime.output_shapes = {output.name: output.shape for output in signature.outputs}
    runtime.output_dtypes = {output.name: output.dtype for output in signature.outputs}
    runtime.metadata = signature.metadata


def read_signature(data: bytes) -> Signature:
    """The signature of an ONNX file, whose graph holds together as far as runtimes rely on it unasked.

    Every node has the inputs that it needs, each of them the graph's, a weight, or given by an earlier node; strides
    and the like are above 0; weights have as many bytes as their shapes want. onnxruntime checks all this by itself,
    OpenCV and OpenVINO crash.

    Raises:
        ValueError: The bytes are no such file.
    """
    view = memoryview(data)
    metadata: Dict[str, str] = {}
    graph: Optional[Tuple[int, int]] = None
    for number, first, last in _parts(view, 0, len(view)):
        if number == _MODEL_GRAPH:
            graph = first, last
        elif number == _MODEL_METADATA:
            texts = {key: _text(view, a, b, len(view)) for key, a, b in _parts(view, first, last)}
            metadata[texts.get(_KEY, "")] = texts.get(_VALUE, "")
    if graph is None:
        raise ValueError("it has no graph")
    inputs: List[TensorInfo] = []
    outputs: List[TensorInfo] = []
    nodes: List[Tuple[int, int]] = []
    weights: Set[str] = set()  # files of IR version 3 list them among the inputs, too
    for number, first, last in _parts(view, *graph):
        if number == _GRAPH_NODE:
            nodes.append((first, last))
        elif number == _GRAPH_INITIALIZER:
            weights.add(_weight(view, first, last))
        elif number == _GRAPH_SPARSE:
            raise ValueError("it has sparse weights")
        elif number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
            (inputs if number == _GRAPH_INPUT else outputs).append(_tensor(view, first, last))
    known = weights.union(tensor.name for tensor in inputs)
    operators = {_node(view, first, last, known) for first, last in nodes}
    for output in outputs:
        if output.name not in known:
            raise ValueError(f"nothing gives its output {output.name!r}")
    return Signature(
        tuple(tensor for tensor in inputs if tensor.name not in weights),
        tuple(outputs),
        metadata,
        frozenset(operators),
    )


def _parts(view: memoryview, start: int, end: int) -> Iterator[Tuple[int, int, int]]:
    """Number and bounds of the fields of a message that have a length: texts, and messages within."""
    for number, wire, first, last in fields(view, start, end):
        if wire == LENGTH:
            yield number, first, last


def _texts(view: memoryview, start: int, end: int, wanted: int) -> Iterator[str]:
    for number, first, last in _parts(view, start, end):
        if number == wanted:
            yield _text(view, first, last, _MAX_NAME)


def _node(view: memoryview, start: int, end: int, known: Set[str]) -> str:
    """The operator of a node; what it gives is known from then on."""
    operator = next(_texts(view, start, end, _NODE_OPERATOR), "")
    inputs = list(_texts(view, start, end, _NODE_INPUT))
    given = 0
    for place, name in enumerate(inputs, 1):
        if name and name not in known:
            raise ValueError(f"nothing gives {name!r}, an input of {operator}")
        given = place if name else given
    if given < _LEAST_INPUTS.get(operator, 0) or "" in inputs[: _LEAST_INPUTS.get(operator, 0)]:
        raise ValueError(f"a {operator} lacks an input")
    for number, first, last in _parts(view, start, end):
        if number == _NODE_ATTRIBUTE:
            _check_attribute(view, first, last, operator)
    known.update(_texts(view, start, end, _NODE_OUTPUT))
    return operator


def _check_attribute(view: memoryview, start: int, end: int, operator: str) -> None:
    name = next(_texts(view, start, end, _ATTRIBUTE_NAME), "")
    if name not in _POSITIVE:
        return
    for number, wire, first, last in fields(view, start, end):
        if number in (_ATTRIBUTE_INTEGER, _ATTRIBUTE_INTEGERS):
            for value in [first] if wire == VARINT else varints(view, first, last):
                if not 0 < value < 1 << 31:  # a negative one is above
                    raise ValueError(f"{operator}: {name} of {value if value < 1 << 63 else value - (1 << 64)}")


def _weight(view: memoryview, start: int, end: int) -> str:
    """The name of a weight; its bytes are counted where it has them in one piece."""
    name, element, count = "", 0, 1
    size: Optional[int] = None
    for number, wire, first, last in fields(view, start, end):
        if number == _TENSOR_SIDE:
            for side in [first] if wire == VARINT else varints(view, first, last):
                count = min(count * side, MAX_MODEL_BYTES)
        elif number == _TENSOR_TYPE and wire == VARINT:
            element = first
        elif number == _TENSOR_NAME and wire == LENGTH:
            name = _text(view, first, last, _MAX_NAME)
        elif number == _TENSOR_BYTES and wire == LENGTH:
            size = last - first
    if size is not None and element in _ELEMENTS and size != count * _ELEMENTS[element]:
        raise ValueError(f"{name!r} has {size} bytes, its shape wants {count * _ELEMENTS[element]}")
    return name


def _text(view: memoryview, start: int, end: int, limit: int) -> str:
    if end - start > limit:
        raise ValueError(f"a name of {end - start} bytes")
    return bytes(view[start:end]).decode("utf-8")  # a UnicodeDecodeError is a ValueError


def _tensor(view: memoryview, start: int, end: int) -> TensorInfo:
    name, element = "", 0
    shape: List[int] = []
    for number, first, last in _parts(view, start, end):
        if number == _VALUE_NAME:
            name = _text(view, first, last, _MAX_NAME)
        elif number == _VALUE_TYPE:
            for kind, a, b in _parts(view, first, last):
                if kind == _TYPE_TENSOR:
                    element, shape = _type(view, a, b)
    return TensorInfo(name, _DTYPES.get(element, f"type {element}"), tuple(shape))


def _type(view: memoryview, start: int, end: int) -> Tuple[int, List[int]]:
    element = 0
    shape: List[int] = []
    for number, wire, first, last in fields(view, start, end):
        if number == _TENSOR_ELEMENT and wire == VARINT:
            element = first
        elif number == _TENSOR_SHAPE and wire == LENGTH:
            shape = [_side(view, a, b) for side, a, b in _parts(view, first, last) if side == _SHAPE_SIDE]
    return element, shape


def _side(view: memoryview, start: int, end: int) -> int:
    for number, wire, value, _ in fields(view, start, end):
        if number == _SIDE_VALUE and wire == VARINT and value < 1 << 31:
            return value
    return -1
