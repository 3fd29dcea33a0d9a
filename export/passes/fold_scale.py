"""Fold a factor or an offset for each channel, or for all of them, into the convolution before or behind it.

c · (W∗x + b) is a convolution with c·W and c·b; adding a constant adds to b. Before a convolution, W∗(c·x) scales the
channels that W reads, and W∗(x + c) adds W's sums times c to b, where nothing is padded: a padded pixel is 0, not c.
YOLOv7's implicit knowledge comes so. The arithmetic is in float64 and rounded once: outputs keep to a relative error of
1e-5.
"""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of, drop_unused_constants, shape_of
from yolo_edge.export.passes.replace import replace_by_convolution


class FoldScale(ir.passes.InPlacePass):
    """Removes every Mul and Add of a constant that directly follows a convolution, or that only convolutions read."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold them all; weights are replaced, never written into."""
        count = 0
        for node in list(model.graph):
            count += _fold(model.graph, node)
        for node in reversed(list(model.graph)):  # of several in a row the last is next to the convolution
            count += _fold_forward(model.graph, node)
        drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, bool(count))


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    if node.op_type not in ("Mul", "Add") or node.domain:
        return False
    for source, other in (node.inputs, node.inputs[::-1]):
        array = constant_of(other)
        conv = source.producer() if source is not None else None
        if array is None or source is None or conv is None or conv.op_type != "Conv":
            continue
        channels = shape_of(source)[1]
        if len(source.uses()) != 1 or source.is_graph_output() or not _a_channel(array, channels):
            return False
        factor = np.broadcast_to(array.astype(np.float64).reshape(-1), channels)
        weight, bias = (constant_of(value) for value in conv.inputs[1:3])
        if weight is None or bias is None:
            return False
        if node.op_type == "Mul":
            new = weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias * factor
        else:
            new = weight, bias + factor
        name = conv.name or node.name or ""
        replace_by_convolution(graph, [conv, node], conv.inputs[0], *new, conv.attributes, name)
        return True
    return False


def _fold_forward(graph: ir.Graph, node: ir.Node) -> bool:
    """Fold into the convolutions that read what the node gives."""
    if node.op_type not in ("Mul", "Add") or node.domain or node.outputs[0].is_graph_output():
        return False
    pairs = [(source, constant_of(other)) for source, other in (node.inputs, node.inputs[::-1])]
    source, array = next(((source, array) for source, array in pairs if array is not None), (None, None))
    readers = [use.node for use in node.outputs[0].uses() if use.idx == 0]
    if source is None or array is None or not readers or len(shape_of(source)) != 4:
        return False
    channels = shape_of(source)[1]
    fits = all(
        conv.op_type == "Conv"
        and (conv.attributes.get_int("group", 1) or 1) == 1
        and not (node.op_type == "Add" and any(conv.attributes.get_ints("pads") or ()))
        and constant_of(conv.inputs[1]) is not None
        and constant_of(conv.inputs[2]) is not None
        for conv in readers
    )
    if len(readers) != len(list(node.outputs[0].uses())) or not fits or not _a_channel(array, channels):
        return False
    factor = np.broadcast_to(array.astype(np.float64).reshape(-1), channels)
    for conv in readers:
        weight, bias = (np.asarray(constant_of(value), np.float64) for value in conv.inputs[1:3])
        if node.op_type == "Mul":
            new = weight * factor[None, :, None, None], bias
        else:
            new = weight, bias + weight.sum(axis=(2, 3)) @ factor
        replace_by_convolution(graph, [conv], source, *new, conv.attributes, conv.name or "")
    graph.remove(node, safe=True)
    return True


def _a_channel(array: np.ndarray, channels: int) -> bool:
    """Whether a constant has one value for all channels of [1, channels, rows, columns], or one for each."""
    if array.size == 1:
        return array.ndim <= 4
    return array.shape[-3:] == (channels, 1, 1) and array.size == channels
