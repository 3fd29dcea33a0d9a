"""Fold BatchNormalization into the convolution before it.

y = γ · (conv(x) − μ) / √(σ² + ε) + β is a convolution with W · γ/√(σ² + ε) and (b − μ) · γ/√(σ² + ε) + β. The
arithmetic is in float64 and rounded once: outputs keep to a relative error of 1e-5. A BatchNormalization that follows
anything else becomes a depthwise 1x1 convolution.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.passes.replace import replace_by_convolution


class FoldBatchNorm(ir.passes.InPlacePass):
    """Removes every BatchNormalization of a graph."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold them all; weights are replaced, never written into."""
        norms = [node for node in model.graph if node.op_type == "BatchNormalization"]
        for norm in norms:
            _fold(model.graph, norm)
        drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, bool(norms))


def _fold(graph: ir.Graph, norm: ir.Node) -> None:
    gamma, beta, mean, variance = (_array(norm, i) for i in range(1, 5))
    epsilon = norm.attributes.get_float("epsilon", 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    source = norm.inputs[0]
    if source is None:
        raise ValueError(f"node {norm.name!r} (BatchNormalization) has no input")
    conv = source.producer()
    if conv is None or conv.op_type != "Conv" or len(source.uses()) != 1 or source.is_graph_output():
        conv = _depthwise_identity(graph, norm, source)
    weight = _array(conv, 1)
    bias = _array(conv, 2) if len(conv.inputs) > 2 and conv.inputs[2] is not None else np.zeros(len(weight))
    shape = (-1,) + (1,) * (weight.ndim - 1)
    weight, bias = weight * factor.reshape(shape), (bias - mean) * factor + beta
    name = conv.name or norm.name or ""
    replace_by_convolution(graph, [conv, norm], conv.inputs[0], weight, bias, conv.attributes, name)


def _depthwise_identity(graph: ir.Graph, norm: ir.Node, source: ir.Value) -> ir.Node:
    """A depthwise 1x1 convolution that changes nothing, put before `norm`."""
    channels = shape_of(source)[1]
    weight = add_constant(graph, f"{norm.name}.identity", np.ones((channels, 1, 1, 1), np.float32))
    attributes: dict[str, int | Sequence[int]] = {
        "group": channels,
        "kernel_shape": [1, 1],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
    }
    conv = ir.node("Conv", [source, weight], attributes, name=f"{norm.name}_conv", num_outputs=1)
    graph.insert_before(norm, conv)
    norm.replace_input_with(0, conv.outputs[0])
    return conv


def _array(node: ir.Node, index: int) -> np.ndarray:
    array = constant_of(node.inputs[index])
    if array is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}): input {index} is not a constant")
    return array.astype(np.float64)
