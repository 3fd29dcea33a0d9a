"""What a network consists of: layers, parameters, multiply-accumulates. For people who look into a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from yolo_edge.export.canonical import ACTIVATIONS
from yolo_edge.export.channels import Layout, channels_of
from yolo_edge.export.graph import Graph, constant_of, shape_of
from yolo_edge.export.importers.onnx.read import parse_onnx
from yolo_edge.export.onnx_blocks import BLOCKS
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, read_bytes
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES, check_self_contained
from yolo_edge.ondevice.spec import METADATA_KEY

_CONVERSIONS = {"DequantizeLinear", "QuantizeLinear"}


@dataclass(frozen=True)
class Layer:
    """One node of a network, with the activation that follows it.

    Attributes:
        name: Of the node.
        kind: Its operator, with kernel and stride: "Conv 3x3/2 dw".
        activation: The operator that follows it, or "".
        output: Its output shape; None where a size is not known.
        parameters: Weights and biases.
        macs: Multiply-accumulates of one inference; counted for convolutions, as usual.
    """

    name: str
    kind: str
    activation: str
    output: tuple[int | None, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network and their totals."""

    layers: tuple[Layer, ...]
    parameters: int
    macs: int


def summarize(graph: Graph, where: str = "the network") -> Summary:
    """List the layers of a graph whose shapes are known.

    Parameters and multiply-accumulates are the network's: channels of zeros that fill a file up do not count.

    Args:
        graph: To look at.
        where: What it was read from, for error messages.

    Raises:
        InputError: Its metadata of such channels are damaged.
    """
    layers = []
    merged: set[int] = set()
    channels = channels_of(graph.metadata_props, where)
    for node in graph.graph:
        if id(node) in merged or not _computes(node):
            continue
        activation = _activation_after(node)
        if activation is not None:
            merged.add(id(activation))
        output = node.outputs[0] if activation is None else activation.outputs[0]
        layers.append(
            Layer(
                name=node.name or node.outputs[0].name or "",
                kind=_kind(node),
                activation="" if activation is None else activation.op_type,
                output=_known_shape(output),
                parameters=sum(array.size for array in _arrays(node, channels)),
                macs=_macs(node, channels),
            )
        )
    return Summary(tuple(layers), sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers))


def _read_whole(path: Path) -> onnx.ModelProto:
    """A model that needs no other file."""
    check_self_contained(path, str(path))
    return parse_onnx(read_bytes(path, MAX_MODEL_BYTES), path)


def read_spec_text(path: Path) -> str | None:
    """The spec that an ONNX file carries, as it stands there; None where another program wrote the file.

    Raises:
        InputError: It is not an ONNX file.
    """
    model = _read_whole(path)
    return next((str(item.value) for item in model.metadata_props if item.key == METADATA_KEY), None)


def load_onnx(path: Path) -> Graph:
    """An ONNX file as a graph with all shapes inferred; in no particular form.

    Raises:
        InputError: It is not an ONNX file, or its shapes cannot be inferred.
    """
    model = _read_whole(path)
    try:
        graph = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
    except Exception as error:  # onnx and onnx_ir raise types of their own
        raise InputError(f"{path}: not an ONNX file that can be read ({first_line(error)})") from error
    if not graph.graph.inputs or not graph.graph.outputs:
        raise InputError(f"{path}: not an ONNX file that can be read (it has no graph)")
    for node in graph.graph:
        if node.op_type == "Conv" and None in _known_shape(node.outputs[0]):
            raise InputError(
                f"{path}: node {node.name or node.op_type!r}: its output has no fixed shape; "
                "models with one input size can be looked at"
            )
    return graph


def _known_shape(value: ir.Value) -> tuple[int | None, ...]:
    sizes = value.shape or (None,)
    return tuple(size if isinstance(size, int) else None for size in sizes)


def _computes(node: ir.Node) -> bool:
    """Whether a node works on feature maps: not where weights are unpacked, or numbers change their type."""
    if node.op_type in _CONVERSIONS or BLOCKS in (node.name or ""):
        return False
    return not node.inputs or any(value is not None and _unpacked(value) is None for value in node.inputs)


def _activation_after(node: ir.Node) -> ir.Node | None:
    if node.op_type in ACTIVATIONS:
        return None
    result = node.outputs[0]
    while True:
        uses = list(result.uses())
        if len(uses) != 1 or result.is_graph_output():
            return None
        following = uses[0].node
        if following.op_type not in _CONVERSIONS:
            return following if following.op_type in ACTIVATIONS else None
        result = following.outputs[0]


def _unpacked(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of a constant, as they are stored: also through the operators that unpack fp16 and int8 weights."""
    array, producer = constant_of(value), None if value is None else value.producer()
    if array is None and producer is not None and producer.op_type in ("Cast", "DequantizeLinear", "Mul"):
        first, *rest = (_unpacked(source) for source in producer.inputs)
        return None if any(other is None for other in rest) else first
    return array


def _arrays(node: ir.Node, channels: Mapping[str, Layout]) -> list[np.ndarray]:
    """Weights and bias of a convolution, less the channels of zeros; other operators have settings, no parameters."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return []
    weight, *rest = (_unpacked(value) for value in node.inputs[1:])
    if weight is None:
        return []
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    read = channels.get((source.inputs[0].name or "") if source is not None and source.inputs[0] is not None else "")
    stored = [channels.get(use.node.outputs[0].name or "") for use in node.outputs[0].uses()]
    made = next((layout for layout in stored if layout is not None), None)
    if read is not None and weight.shape[1] == read.padded:
        weight = weight[:, read.places]
    arrays = [weight, *(array for array in rest if array is not None)]
    return [array[made.places] if made is not None and len(array) == made.padded else array for array in arrays]


def _kind(node: ir.Node) -> str:
    kernel = node.attributes.get_ints("kernel_shape")
    strides = node.attributes.get_ints("strides") or (1, 1)
    text = node.op_type
    if kernel:
        text += " " + "x".join(map(str, kernel))
        text += "" if set(strides) == {1} else "/" + "x".join(map(str, dict.fromkeys(strides)))
    groups = node.attributes.get_int("group", 1) or 1
    if groups > 1:
        weight = _unpacked(node.inputs[1])
        depthwise = weight is not None and weight.shape[1] == 1
        text += " dw" if depthwise else f" g{groups}"
    return text


def _macs(node: ir.Node, channels: Mapping[str, Layout]) -> int:
    arrays = _arrays(node, channels)
    if not arrays:
        return 0
    out, each, *kernel = arrays[0].shape
    if node.op_type == "ConvTranspose" and node.inputs[0] is not None:  # each input pixel meets each weight once
        return int(math.prod(shape_of(node.inputs[0])) * each * math.prod(kernel))
    batch, _, *places = shape_of(node.outputs[0])
    return int(batch * out * math.prod(places) * each * math.prod(kernel))
