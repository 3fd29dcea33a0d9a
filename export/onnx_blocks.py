"""A large first convolution of an int8 ONNX file, on blocks of pixels."""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, add_constant, constant_of, shape_of
from yolo_edge.export.qdq import IntegerConv, dequantize, dequantizer_of
from yolo_edge.export.quantization.structure import name_of

BLOCKS = ".2x2_blocks"  # in the name of the convolution that gathers them
_FEW_CHANNELS, _LARGE_KERNEL = 4, 6


def gather_blocks(model: Graph) -> None:
    """Let a large first convolution with stride 2 read blocks of 2 x 2 pixels as channels, with stride 1, in place.

    YOLOv5's has 6 x 6 taps of 3 channels: onnxruntime copies 36 times 3 bytes a place. Blocks are gathered by a
    convolution of ones, which changes no integer.
    """
    node = next((node for node in model.graph if node.op_type == "Conv"), None)
    convolution = None if node is None else IntegerConv.of(node)
    up = None if node is None else dequantizer_of(node.inputs[0])
    if node is None or convolution is None or up is None or not _is_large(convolution, up.outputs[0]):
        return
    weight, *rest = convolution.constants(1)
    out, into, rows, columns = weight.shape
    # channel (dy, dx, c) of a block is pixel (2y + dy, 2x + dx)
    folded = weight.reshape(out, into, rows // 2, 2, columns // 2, 2).transpose(0, 3, 5, 1, 2, 4)
    convolution.replace(1, (folded.reshape(out, 4 * into, rows // 2, columns // 2), *rest))
    pads = [n // 2 for n in node.attributes.get_ints("pads") or (0, 0, 0, 0)]
    for name, numbers in (("kernel_shape", [rows // 2, columns // 2]), ("pads", pads), ("strides", [1, 1])):
        node.attributes[name] = ir.AttrInt64s(name, numbers)
    node.replace_input_with(0, _blocks_of(model.graph, node, up, into))


def _is_large(convolution: IntegerConv, source: ir.Value) -> bool:
    attributes = convolution.node.attributes
    steps = [*(attributes.get_ints("strides") or (1, 1)), *(attributes.get_ints("dilations") or (1, 1))]
    _, into, rows, columns = convolution.weight.shape
    even = [*shape_of(source)[2:], rows, columns, *(attributes.get_ints("pads") or (0, 0, 0, 0))]
    large = convolution.is_dense and into <= _FEW_CHANNELS and rows >= _LARGE_KERNEL
    return large and steps == [2, 2, 1, 1] and not any(n % 2 for n in even)


def _blocks_of(graph: ir.Graph, node: ir.Node, up: ir.Node, channels: int) -> ir.Value:
    """Blocks of what a DequantizeLinear gives, with its scale, before a node."""
    name, count = f"{name_of(node)}{BLOCKS}", 4 * channels
    ones = np.eye(count, dtype=np.int8).reshape(count, 2, 2, channels).transpose(0, 3, 1, 2)
    weights = dequantize(
        graph,
        add_constant(graph, f"{name}.ones", ones),
        np.ones(count, np.float32),
        np.zeros(count, np.int8),
        f"{name}.ones",
        axis=0,
    )
    gather = ir.node(
        "Conv", [up.outputs[0], weights.outputs[0]], {"kernel_shape": [2, 2], "strides": [2, 2]}, name=name
    )
    scale, zero = (np.array(constant_of(value)) for value in up.inputs[1:])
    again = dequantize(graph, None, scale, zero, name)
    down = ir.node("QuantizeLinear", [gather.outputs[0], *again.inputs[1:]], name=f"{name}.quantize")
    again.replace_input_with(0, down.outputs[0])
    gather.outputs[0].name, down.outputs[0].name = name, f"{name}.q"
    _, _, height, width = shape_of(up.outputs[0])
    for item in (gather, again):
        item.outputs[0].shape = ir.Shape((1, count, height // 2, width // 2))
        item.outputs[0].type = up.outputs[0].type
    graph.insert_before(node, [weights, gather, down, again])
    return again.outputs[0]
