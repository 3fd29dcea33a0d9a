"""LeakyRelu of integers as a sum, which onnxruntime computes with vectors."""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, add_constant, constant_of
from yolo_edge.export.qdq import dequantizer_of
from yolo_edge.export.quantization.structure import name_of


def sum_leaky_relus(model: Graph) -> None:
    """Write each LeakyRelu of a QDQ model as alpha · x + (1 - alpha) · max(x, 0), in place.

    Both terms are the same integers, cut off at the zero-point for the second, under other scales: the result is
    rounded once, as before. `QLinearLeakyRelu` looks each byte up in a table, which takes twice as long as `Clip`
    and `QLinearAdd`.
    """
    for node in list(model.graph):
        up = dequantizer_of(node.inputs[0]) if node.op_type == "LeakyRelu" else None
        rounded = all(use.node.op_type == "QuantizeLinear" for use in node.outputs[0].uses())
        if up is not None and rounded and not node.outputs[0].is_graph_output():
            _sum(model.graph, node, up)


def _sum(graph: ir.Graph, node: ir.Node, up: ir.Node) -> None:
    name, source, result = name_of(node), up.inputs[0], node.outputs[0]
    scale, zero = (constant_of(value) for value in up.inputs[1:])
    alpha = node.attributes.get_float("alpha", 0.01)
    if scale is None or zero is None or alpha is None or not 0 < alpha < 1:
        return
    last = add_constant(graph, f"{name}.last", np.array(np.iinfo(zero.dtype).max, zero.dtype))
    first = add_constant(graph, f"{name}.first", np.array(zero))
    positive = ir.node("Clip", [source, first, last], name=f"{name}.positive")
    positive.outputs[0].name = positive.name
    terms = [
        _dequantize(graph, f"{name}.{what}", value, scale * np.float32(share), zero)
        for what, value, share in (("slope", source, alpha), ("rest", positive.outputs[0], 1 - alpha))
    ]
    total = ir.node("Add", [term.outputs[0] for term in terms], name=name)
    for value in (*(term.outputs[0] for term in terms), total.outputs[0]):
        value.shape, value.type = result.shape, result.type
    graph.insert_before(node, [positive, *terms, total])
    label = result.name
    result.replace_all_uses_with(total.outputs[0])
    graph.remove(node, safe=True)
    total.outputs[0].name = label
    if not up.outputs[0].uses():
        graph.remove(up, safe=True)


def _dequantize(graph: ir.Graph, name: str, value: ir.Value | None, scale: np.ndarray, zero: np.ndarray) -> ir.Node:
    sides = [
        add_constant(graph, f"{name}.{what}", np.array(array)) for what, array in (("scale", scale), ("zero", zero))
    ]
    node = ir.node("DequantizeLinear", [value, *sides], name=f"{name}.dequantize")
    node.outputs[0].name = f"{name}.dq"
    return node
