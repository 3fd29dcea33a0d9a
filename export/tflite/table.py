"""Operator → how TFLite does it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.structure import clip_bounds
from yolo_edge.export.tflite import decoding, elementwise, integers, shapes, windows
from yolo_edge.export.tflite.integers import IntegerLowering
from yolo_edge.export.tflite.lowering import Lowering, Output
from yolo_edge.export.tflite.wide import WideLowering
from yolo_edge.ondevice.errors import InputError

Function: TypeAlias = Callable[[Lowering, ir.Node, Output], None]


@dataclass(frozen=True)
class Row:
    """How one operator is lowered.

    Attributes:
        floats: Adds what computes it in float32.
        int8: Adds what computes it in int8, given an `IntegerLowering`; None: there is no such form.
        fuses: TFLite's operator can apply the activation behind it along.
    """

    floats: Function
    int8: Function | None = None
    fuses: bool = False


LOWERINGS: dict[str, Row] = {
    # the canonical form
    "Add": Row(elementwise.lower_elementwise, elementwise.lower_elementwise, fuses=True),
    "AveragePool": Row(windows.lower_average_pool, integers.lower_average_pool),
    "BilinearUpsample": Row(shapes.lower_bilinear_upsample),
    "Clip": Row(elementwise.lower_clip, integers.lower_clip),
    "Concat": Row(shapes.lower_concat, shapes.lower_concat),
    "Conv": Row(windows.lower_conv, windows.lower_conv, fuses=True),
    "ConvTranspose": Row(windows.lower_conv_transpose),
    "GlobalAveragePool": Row(windows.lower_global_average_pool, windows.lower_global_average_pool),
    "HardSwish": Row(elementwise.lower_unary),
    "LeakyRelu": Row(elementwise.lower_leaky_relu, elementwise.lower_leaky_relu),
    "MatMul": Row(decoding.lower_mat_mul),
    "MaxPool": Row(windows.lower_max_pool, windows.lower_max_pool),
    "Mish": Row(elementwise.lower_mish),
    "Mul": Row(elementwise.lower_elementwise, elementwise.lower_elementwise, fuses=True),
    "Relu": Row(elementwise.lower_unary, integers.lower_clip),
    "Reshape": Row(shapes.lower_reshape, shapes.lower_reshape),
    "Resize": Row(shapes.lower_resize, shapes.lower_resize),
    "SiLU": Row(elementwise.lower_silu),
    "Sigmoid": Row(elementwise.lower_unary, elementwise.lower_unary),
    "Slice": Row(shapes.lower_slice, shapes.lower_slice),
    "Softmax": Row(decoding.lower_softmax),
    "SpaceToDepth": Row(shapes.lower_space_to_depth, shapes.lower_space_to_depth),
    "Transpose": Row(shapes.lower_transpose, shapes.lower_transpose),
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


def lower_nodes(ctx: Lowering, nodes: Iterable[ir.Node], quantized: QuantizedGraph | None = None) -> None:
    """Lower nodes in their order; their inputs are constants, bound, or outputs of nodes before them.

    Args:
        ctx: Gets the tensors.
        nodes: To lower.
        quantized: Which of them compute in int8, and how; None: all compute in float32.

    Raises:
        InputError: There is no way to do one of them in TFLite; the message names it.
    """
    nodes = list(nodes)
    for node in nodes:
        if node.op_type not in LOWERINGS:
            raise InputError(f"layer {node.name!r} ({node.op_type}): cannot be written as TFLite; use --format onnx")
    kind = WideLowering if ctx.precision == "int8x16" else IntegerLowering
    within = None if quantized is None else kind(ctx, quantized)
    done: set[str | None] = set()
    for node in nodes:
        if node.name in done:
            continue
        row = LOWERINGS[node.op_type]
        if within is not None and within.is_int8(node):
            done |= _lower_integers(within, row, node)
            continue
        out = Output(node.outputs[0])
        following = _activation_behind(node) if row.fuses else None
        if following is not None and not (within is not None and within.is_int8(following[0])):
            activation, name = following
            out = Output(activation.outputs[0], name)
            done.add(activation.name)
        row.floats(ctx, node, out)


def _lower_integers(ctx: IntegerLowering, row: Row, node: ir.Node) -> set[str | None]:
    """Lower a node in int8; the activation that it does along is done, too."""
    if row.int8 is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}) has no int8 form")
    out, following = ctx.output(node)
    if not ctx.fits(node):
        for part in [node] if following is None else [node, following]:
            LOWERINGS[part.op_type].floats(ctx.view, part, Output(part.outputs[0]))
        ctx.settle(out.value)
    else:
        row.int8(ctx, node, out)
        if following is not None and out.activation == "NONE":
            ctx.saturate(out, clip_bounds(following))
    return set() if following is None else {following.name}


def _activation_behind(node: ir.Node) -> tuple[ir.Node, str] | None:
    """The activation that alone uses what a node gives, and its name in TFLite, if it has one there."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    following = uses[0].node
    if following.op_type == "Relu":
        return following, "RELU"
    if following.op_type == "Clip":
        name = elementwise.CLIPS.get(clip_bounds(following))
        return (following, name) if name else None
    return None
