"""Operator → how TFLite does it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from yolo_edge.export.tflite import decoding, elementwise, shapes, windows
from yolo_edge.export.tflite.lowering import Lowering, Output
from yolo_edge.ondevice.errors import InputError

Function: TypeAlias = Callable[[Lowering, ir.Node, Output], None]


@dataclass(frozen=True)
class Row:
    """How one operator is lowered.

    Attributes:
        floats: Adds what computes it in float32.
        fuses: TFLite's operator can apply the activation behind it along.
    """

    floats: Function
    fuses: bool = False


LOWERINGS: dict[str, Row] = {
    # the canonical form
    "Add": Row(elementwise.lower_elementwise, fuses=True),
    "AveragePool": Row(windows.lower_average_pool),
    "Clip": Row(elementwise.lower_clip),
    "Concat": Row(shapes.lower_concat),
    "Conv": Row(windows.lower_conv, fuses=True),
    "ConvTranspose": Row(windows.lower_conv_transpose),
    "GlobalAveragePool": Row(windows.lower_global_average_pool),
    "HardSwish": Row(elementwise.lower_unary),
    "LeakyRelu": Row(elementwise.lower_leaky_relu),
    "MatMul": Row(decoding.lower_mat_mul),
    "MaxPool": Row(windows.lower_max_pool),
    "Mish": Row(elementwise.lower_mish),
    "Mul": Row(elementwise.lower_elementwise, fuses=True),
    "Relu": Row(elementwise.lower_unary),
    "Reshape": Row(shapes.lower_reshape),
    "Resize": Row(shapes.lower_resize),
    "SiLU": Row(elementwise.lower_silu),
    "Sigmoid": Row(elementwise.lower_unary),
    "Slice": Row(shapes.lower_slice),
    "Softmax": Row(decoding.lower_softmax),
    "SpaceToDepth": Row(shapes.lower_space_to_depth),
    "Transpose": Row(shapes.lower_transpose),
    # decoders (yolo_edge.export.decoders)
    "And": Row(elementwise.lower_elementwise),
    "ArgMax": Row(decoding.lower_arg_max),
    "Cast": Row(decoding.lower_cast),
    "Equal": Row(elementwise.lower_elementwise),
    "Exp": Row(elementwise.lower_unary),
    "Floor": Row(elementwise.lower_unary),
    "GreaterOrEqual": Row(elementwise.lower_elementwise),
    "Log": Row(elementwise.lower_unary),
    "Max": Row(elementwise.lower_elementwise),
    "Min": Row(elementwise.lower_elementwise),
    "ReduceMean": Row(decoding.lower_reduction),
    "ReduceMin": Row(decoding.lower_reduction),
    "Sub": Row(elementwise.lower_elementwise, fuses=True),
    "Where": Row(elementwise.lower_elementwise),
}


def lower_nodes(ctx: Lowering, nodes: Iterable[ir.Node]) -> None:
    """Lower nodes in their order; their inputs are constants, bound, or outputs of nodes before them.

    Raises:
        InputError: There is no way to do one of them in TFLite; the message names it.
    """
    nodes = list(nodes)
    for node in nodes:
        if node.op_type not in LOWERINGS:
            raise InputError(f"layer {node.name!r} ({node.op_type}): cannot be written as TFLite; use --format onnx")
    done: set[str | None] = set()
    for node in nodes:
        if node.name in done:
            continue
        row, out = LOWERINGS[node.op_type], Output(node.outputs[0])
        following = _activation_behind(node) if row.fuses else None
        if following is not None:
            activation, name = following
            out = Output(activation.outputs[0], name)
            done.add(activation.name)
        row.floats(ctx, node, out)


def _activation_behind(node: ir.Node) -> tuple[ir.Node, str] | None:
    """The activation that alone uses what a node gives, and its name in TFLite, if it has one there."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    following = uses[0].node
    if following.op_type == "Relu":
        return following, "RELU"
    if following.op_type == "Clip":
        name = elementwise.CLIPS.get(elementwise.clip_bounds(following))
        return (following, name) if name else None
    return None
