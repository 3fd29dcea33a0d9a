"""Foreign operators that compute: activations, sums and products, means."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx import NodeProto

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.onnx.emit import Convert, Converted, Emitter
from yolo_edge.export.importers.onnx.network import attribute, integer, integers

_LOWEST, _HIGHEST = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)


def unary(op: str) -> Convert:
    """The function of an operator of one input that is canonical under its own name."""

    def convert(e: Emitter, node: NodeProto) -> Converted:
        return [e.add(op, [e.x(node)], e.shape(node), node)]

    return convert


def leaky_relu(e: Emitter, node: NodeProto) -> Converted:
    """`LeakyRelu`."""
    alpha = attribute(node, "alpha", 0.01)
    return [e.add("LeakyRelu", [e.x(node)], e.shape(node), node, alpha=float(alpha))]  # type: ignore[arg-type]


def prelu(e: Emitter, node: NodeProto) -> Converted:
    """`PRelu`: a LeakyRelu, or with slopes that differ max(x, 0) + slope · min(x, 0)."""
    x, slope = e.x(node), e.array(node, 1)
    if slope is None:
        raise e.error(node, "has no slope")
    if np.unique(slope).size == 1:
        return [e.add("LeakyRelu", [x], e.shape(node), node, alpha=float(slope.reshape(-1)[0]))]
    # max(x, 0) + slope · min(x, 0)
    bounds = [e.constant(node, role, np.float32(value)) for role, value in (("low", _LOWEST), ("high", 0.0))]
    negative = e.add("Clip", [x, *bounds], e.shape(node), node)
    scaled = e.add("Mul", [negative, e.constant(node, "slope", slope)], e.shape(node), node)
    positive = e.add("Relu", [x], e.shape(node), node)
    return [e.add("Add", [positive, scaled], e.shape(node), node)]


def clip(e: Emitter, node: NodeProto) -> Converted:
    """`Clip`; above 0 alone a Relu."""
    bounds = [
        float(np.clip(e.number(node, i, default), _LOWEST, _HIGHEST)) for i, default in ((1, _LOWEST), (2, _HIGHEST))
    ]
    if bounds == [0, _HIGHEST]:
        return [e.add("Relu", [e.x(node)], e.shape(node), node)]
    return [_clipped(e, node, e.x(node), bounds)]


def _clipped(e: Emitter, node: NodeProto, x: ir.Value, bounds: Sequence[float]) -> ir.Value:
    constants = [e.constant(node, role, np.float32(value)) for role, value in zip(("low", "high"), bounds, strict=True)]
    return e.add("Clip", [x, *constants], shape_of(x), node)


def hard_sigmoid(e: Emitter, node: NodeProto) -> Converted:
    """`HardSigmoid`: clip(alpha · x + beta, 0, 1)."""
    alpha, beta = (float(attribute(node, name, default)) for name, default in (("alpha", 0.2), ("beta", 0.5)))  # type: ignore[arg-type]
    scaled = e.add("Mul", [e.x(node), e.constant(node, "alpha", np.float32(alpha))], e.shape(node), node)
    moved = e.add("Add", [scaled, e.constant(node, "beta", np.float32(beta))], e.shape(node), node)
    return [_clipped(e, node, moved, (0, 1))]


def binary(e: Emitter, node: NodeProto) -> Converted:
    """`Add`, `Sub`, `Mul` and `Div` of computed values and constants."""
    op, shape = node.op_type, e.shape(node)
    operands = []
    for i in (0, 1):
        name = node.input[i]
        array = e.network.constants.get(name)
        if array is None:
            operands.append(e.x(node, i))
            continue
        if i == 1 and op == "Sub":
            array = -array
        if i == 1 and op == "Div":
            if not array.all():
                raise e.error(node, "divides by zero")
            array = 1 / array.astype(np.float64)
        operands.append(e.constant(node, "c", array.astype(np.float32)))
    constant = node.input[1] in e.network.constants
    if op == "Div" and not constant:
        raise e.error(node, "divides by a computed value; this is not supported in the body of a detector")
    if op == "Sub" and not constant:
        minus = e.constant(node, "minus", np.float32(-1))
        operands[1] = e.add("Mul", [operands[1], minus], shape_of(operands[1]), node)
    return [e.add("Add" if op in ("Add", "Sub") else "Mul", operands, shape, node)]


def total(e: Emitter, node: NodeProto) -> Converted:
    """`Sum`: an Add for each input behind the first."""
    value = e.x(node)
    for i in range(1, len(node.input)):
        value = e.add("Add", [value, e.x(node, i)], e.shape(node), node)
    return [value]


def matmul(e: Emitter, node: NodeProto) -> Converted:
    """`MatMul` of two computed values."""
    return [e.add("MatMul", [e.x(node), e.x(node, 1)], e.shape(node), node)]


def batch_normalization(e: Emitter, node: NodeProto) -> Converted:
    """`BatchNormalization`, with one value a channel of all that it takes."""
    inputs: list[ir.Value | None] = [e.x(node)]
    for i, role in enumerate(("scale", "bias", "mean", "variance"), start=1):
        array = e.array(node, i)
        if array is None or array.shape != (shape_of(e.x(node))[1],):
            raise e.error(node, f"its {role} is missing, or has not one value a channel")
        if role == "variance" and (array < 0).any():
            raise e.error(node, "a variance is negative: the file is damaged")
        inputs.append(e.constant(node, role, array))
    epsilon = float(attribute(node, "epsilon", 1e-5))  # type: ignore[arg-type]
    return [e.add("BatchNormalization", inputs, e.shape(node), node, epsilon=epsilon)]


def reduce_mean(e: Emitter, node: NodeProto) -> Converted:
    """`ReduceMean` over height and width."""
    x, given = e.x(node), e.array(node, 1)  # an input from opset 18 on
    axes = integers(node, "axes") if given is None else [int(axis) for axis in given.reshape(-1)]
    if len(shape_of(x)) != 4 or {axis % 4 for axis in axes} != {2, 3}:
        raise e.error(node, "means over height and width are supported")
    pooled = e.add("GlobalAveragePool", [x], (*shape_of(x)[:2], 1, 1), node)
    if integer(node, "keepdims", 1):
        return [pooled]
    shape = e.constant(node, "shape", np.array(e.shape(node), np.int64))
    return [e.add("Reshape", [pooled, shape], e.shape(node), node)]


def softmax(e: Emitter, node: NodeProto) -> Converted:
    """`Softmax` along the last axis."""
    shape = e.shape(node)
    axis = integer(node, "axis", 1 if e.network.opset < 13 else -1) % len(shape)
    if axis != len(shape) - 1 and (e.network.opset >= 13 or np.prod(shape[axis + 1 :]) != 1):
        raise e.error(node, "along another axis than the last; this is not supported in the body of a detector")
    return [e.add("Softmax", [e.x(node)], shape, node, axis=len(shape) - 1)]
