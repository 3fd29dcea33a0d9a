"""Activations that exporters take apart, put together again as one node each.

SiLU is x · σ(x); Mish x · tanh(softplus(x)); hard-swish x · clip(x + 3, 0, 6) / 6, which also comes as
x · hard-sigmoid(x). Outputs keep to a relative error of 1e-6: only the order of a product changes.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from yolo_edge.export.functions import FUNCTION_DOMAIN, FUNCTIONS
from yolo_edge.export.graph import constant_of, drop_unused_constants, drop_unused_nodes

_NEAR = 1e-6


class FuseActivations(ir.passes.InPlacePass):
    """Finds the products that are activations."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace them all; what only they needed goes too."""
        count = 0
        for node in list(model.graph):
            found = _activation(node)
            if found is None:
                continue
            op, x = found
            fused = ir.node(op, [x], domain=FUNCTION_DOMAIN, name=node.name, num_outputs=1)
            old = node.outputs[0]
            fused.outputs[0].name, fused.outputs[0].shape, fused.outputs[0].type = old.name, old.shape, old.type
            ir.convenience.replace_nodes_and_values(model.graph, node, [node], [fused], [old], fused.outputs)
            function = FUNCTIONS[op]()
            model.functions.setdefault(function.identifier(), function)
            model.graph.opset_imports.setdefault(FUNCTION_DOMAIN, 1)
            count += 1
        if count:
            drop_unused_nodes(model.graph)
            drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, bool(count))


def _activation(node: ir.Node) -> tuple[str, ir.Value] | None:
    """Which activation ends at this node, and of what."""
    if node.op_type != "Mul" or node.domain:
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        if x is None or gate is None:
            continue
        for op, matches in _GATES:
            if matches(gate, x):
                return op, x
    return _divided_hard_swish(node)


def _is_sigmoid(gate: ir.Value, x: ir.Value) -> bool:
    return _of(gate, "Sigmoid") is x


def _is_soft_gate(gate: ir.Value, x: ir.Value) -> bool:
    inner = _of(gate, "Tanh")
    return inner is not None and _of(inner, "Softplus") is x


def _is_hard_gate(gate: ir.Value, x: ir.Value) -> bool:
    """clip(x + 3, 0, 6) / 6, or clip(x / 6 + ½, 0, 1)."""
    scaled = _scaled(gate)
    if scaled is not None and _near(scaled[1], 1 / 6):
        return _clipped_sum(scaled[0], 0, 6, 3, 1) is x
    return _clipped_sum(gate, 0, 1, 0.5, 1 / 6) is x


_GATES: tuple[tuple[str, Callable[[ir.Value, ir.Value], bool]], ...] = (
    ("SiLU", _is_sigmoid),
    ("Mish", _is_soft_gate),
    ("HardSwish", _is_hard_gate),
)


def _divided_hard_swish(node: ir.Node) -> tuple[str, ir.Value] | None:
    """(x · clip(x + 3, 0, 6)) / 6."""
    scaled = _scaled(node.outputs[0])
    if scaled is None or not _near(scaled[1], 1 / 6):
        return None
    product = scaled[0].producer()
    if product is None or product.op_type != "Mul":
        return None
    for x, gate in (product.inputs, product.inputs[::-1]):
        if x is not None and gate is not None and _clipped_sum(gate, 0, 6, 3, 1) is x:
            return "HardSwish", x
    return None


def _clipped_sum(value: ir.Value, low: float, high: float, offset: float, factor: float) -> ir.Value | None:
    """The x of clip(factor · x + offset, low, high)."""
    node = value.producer()
    if node is None or node.op_type != "Clip":
        return None
    bounds = [constant_of(bound) for bound in node.inputs[1:]]
    if len(bounds) != 2 or not all(_near(bound, want) for bound, want in zip(bounds, (low, high), strict=True)):
        return None
    added = _with_constant(node.inputs[0], "Add")
    if added is None or not _near(added[1], offset):
        return None
    if factor == 1:
        return added[0]
    scaled = _scaled(added[0])
    return scaled[0] if scaled is not None and _near(scaled[1], factor) else None


def _scaled(value: ir.Value) -> tuple[ir.Value, np.ndarray] | None:
    return _with_constant(value, "Mul")


def _with_constant(value: ir.Value | None, op: str) -> tuple[ir.Value, np.ndarray] | None:
    """The computed operand and the constant one of an Add or Mul."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != op or node.domain:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        array = constant_of(other)
        if x is not None and array is not None:
            return x, array
    return None


def _near(array: np.ndarray | None, wanted: float) -> bool:
    return array is not None and array.size > 0 and bool(np.abs(array - wanted).max() <= _NEAR * max(abs(wanted), 1))


def _of(value: ir.Value, op: str) -> ir.Value | None:
    """What an operator is computed of, when it is this operator."""
    node = value.producer()
    return node.inputs[0] if node is not None and node.op_type == op and not node.domain else None
