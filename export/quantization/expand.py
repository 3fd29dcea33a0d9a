"""Activations taken apart into operators that have int8 forms in both formats.

SiLU: Sigmoid, Mul. Hard-swish: x · clip(x/6 + ½, 0, 1), whose clip is the saturation of what holds it
(XNNPACK has no int8 HARD_SWISH). Mish stays whole: it computes in float.
"""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.functions import FUNCTION_DOMAIN
from yolo_edge.export.graph import Graph, add_constant


def expand_activations(graph: Graph) -> Graph:
    """A copy whose SiLU and HardSwish are several nodes each; exact."""
    result = graph.clone()
    for node in list(result.graph):
        parts = _PARTS.get(node.op_type)
        if parts is None:
            continue
        nodes = parts(result.graph, node)
        old = node.outputs[0]
        for part in nodes[:-1]:
            part.outputs[0].name, part.outputs[0].shape, part.outputs[0].type = part.name, old.shape, old.type
        new = nodes[-1].outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        ir.convenience.replace_nodes_and_values(result.graph, node, [node], nodes, [old], [new])
    used = {node.op_type for node in result.graph if node.domain == FUNCTION_DOMAIN}
    for identifier in [key for key in result.functions if key[1] not in used]:
        del result.functions[identifier]
    if not used:
        result.graph.opset_imports.pop(FUNCTION_DOMAIN, None)
    return result


def _silu(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    x = node.inputs[0]
    gate = ir.node("Sigmoid", [x], name=f"{node.name}.gate")
    return [gate, ir.node("Mul", [x, gate.outputs[0]], name=node.name)]


def _hard_swish(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    x = node.inputs[0]
    sixth, half, low, high = (
        add_constant(graph, f"{node.name}.{what}", np.array(value, np.float32))
        for what, value in (("sixth", 1 / 6), ("half", 0.5), ("low", 0), ("high", 1))
    )
    scaled = ir.node("Mul", [x, sixth], name=f"{node.name}.scaled")
    moved = ir.node("Add", [scaled.outputs[0], half], name=f"{node.name}.moved")
    gate = ir.node("Clip", [moved.outputs[0], low, high], name=f"{node.name}.gate")
    return [scaled, moved, gate, ir.node("Mul", [x, gate.outputs[0]], name=node.name)]


_PARTS = {"SiLU": _silu, "HardSwish": _hard_swish}
