"""Operators that work element by element: arithmetic and activations."""

import onnx_ir as ir

from yolo_edge.export.graph import constant_of, shape_of
from yolo_edge.export.quantization.structure import clip_bounds
from yolo_edge.export.tflite.lowering import Lowering, Output, Stored

_BROADCASTING = {
    "Add": "ADD",
    "And": "LOGICAL_AND",
    "Equal": "EQUAL",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Max": "MAXIMUM",
    "Min": "MINIMUM",
    "Mul": "MUL",
    "Sub": "SUB",
    "Where": "SELECT_V2",
}
_UNARY = {
    "Exp": "EXP",
    "Floor": "FLOOR",
    "HardSwish": "HARD_SWISH",
    "Log": "LOG",
    "Relu": "RELU",
    "Sigmoid": "LOGISTIC",
}

# bounds of a Clip → the activation, which convolutions and sums can do along
CLIPS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def lower_elementwise(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Operators that broadcast; the result is stored as the first computed operand of full rank is."""
    rank = len(out.shape)
    full = [value for value in node.inputs if value is not None and constant_of(value) is None]
    order = next(ctx.stored(value).order for value in full if len(shape_of(value)) == rank)
    operands = [ctx.operand(value, order) for value in node.inputs]
    options = {} if out.activation == "NONE" else out.options
    ctx.add(_BROADCASTING[node.op_type], operands, out, order, **options)


def lower_unary(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Operators without options."""
    x = ctx.stored(node.inputs[0])
    ctx.add(_UNARY[node.op_type], [x.tensor], out, x.order)


def lower_leaky_relu(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """LeakyRelu → LEAKY_RELU."""
    x = ctx.stored(node.inputs[0])
    ctx.add("LEAKY_RELU", [x.tensor], out, x.order, alpha=node.attributes.get_float("alpha"))


def lower_clip(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Clip → RELU6 and the like, or MAXIMUM and MINIMUM."""
    x, bounds = ctx.stored(node.inputs[0]), clip_bounds(node)
    if bounds in CLIPS:
        ctx.add(CLIPS[bounds], [x.tensor], out, x.order)
        return
    low, high = (ctx.floats(f"{node.name}.bound", [bound]) for bound in bounds)
    raised = _same(ctx, "MAXIMUM", [x.tensor, low], f"{node.name}.raised", x)
    ctx.add("MINIMUM", [raised, high], out, x.order)


def lower_silu(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """X · σ(x)."""
    x = ctx.stored(node.inputs[0])
    sigmoid = _same(ctx, "LOGISTIC", [x.tensor], f"{node.name}.sigmoid", x)
    ctx.add("MUL", [x.tensor, sigmoid], out, x.order)


def lower_mish(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """X · (1 − t²)/(1 + t²) with t = σ(−x), as in `export.functions.mish`."""
    x = ctx.stored(node.inputs[0])
    one = ctx.floats("one", [1])
    negative = _same(ctx, "NEG", [x.tensor], f"{node.name}.negative", x)
    t = _same(ctx, "LOGISTIC", [negative], f"{node.name}.t", x)
    square = _same(ctx, "MUL", [t, t], f"{node.name}.square", x)
    numerator = _same(ctx, "SUB", [one, square], f"{node.name}.numerator", x)
    denominator = _same(ctx, "ADD", [one, square], f"{node.name}.denominator", x)
    ratio = _same(ctx, "DIV", [numerator, denominator], f"{node.name}.ratio", x)
    ctx.add("MUL", [x.tensor, ratio], out, x.order)


def _same(ctx: Lowering, op: str, inputs: list[int], name: str, like: Stored) -> int:
    """A step whose result has the shape of another tensor."""
    return ctx.step(op, inputs, name, ctx.assembly.shape(like.tensor))
