"""Merge convolutions that only move pixels, and scale them, into the convolution behind them.

Padding as a step of its own; the Focus layer of the first YOLOv5s and of YOLOX, which takes every second pixel four
times over; another order and scale of the colours. Products are formed in float64 and rounded once.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of, drop_unused_constants, shape_of
from yolo_edge.export.passes.replace import replace_by_convolution


class MergeConvolutions(ir.passes.InPlacePass):
    """Removes convolutions that have a single weight other than 0 for each output channel."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge each with the one behind it, and join those that are put together, while there are any."""
        changed = False
        while any(_STEPS.get(node.op_type, _nothing)(model.graph, node) for node in list(model.graph)):
            changed = True
        drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, changed)


def _picks(node: ir.Node | None) -> bool:
    """Whether a convolution's outputs are each one of its inputs, moved and scaled."""
    if node is None or node.op_type != "Conv" or len(node.outputs[0].uses()) != 1 or node.outputs[0].is_graph_output():
        return False
    weight, bias = constant_of(node.inputs[1]), constant_of(node.inputs[2])
    if weight is None or bias is None or bias.any():
        return False
    return bool(((weight.reshape(len(weight), -1) != 0).sum(axis=1) == 1).all())


def _ints(node: ir.Node, name: str) -> list[int]:
    return [int(value) for value in node.attributes.get_ints(name) or ()]


def _dense(node: ir.Node) -> np.ndarray:
    """The weight of a convolution as if it had one group, [out, in, rows, columns]."""
    weight, groups = constant_of(node.inputs[1]), node.attributes.get_int("group", 1) or 1
    if weight is None:
        raise ValueError(f"node {node.name!r}: its weight is not a constant")
    out, each = len(weight) // groups, weight.shape[1]
    full = np.zeros((len(weight), each * groups, *weight.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        full[rows, group * each : (group + 1) * each] = weight[rows]
    return full


def _join(graph: ir.Graph, concat: ir.Node) -> bool:
    """Concat of several that take from one place → one convolution."""
    parts = [value.producer() if value is not None else None for value in concat.inputs]
    if concat.attributes.get_int("axis") != 1 or not all(_picks(part) for part in parts):
        return False
    nodes = [part for part in parts if part is not None]
    first = nodes[0]
    names = ("kernel_shape", "strides", "pads", "dilations")
    same = all(
        node.inputs[0] is first.inputs[0] and all(_ints(node, name) == _ints(first, name) for name in names)
        for node in nodes
    )
    if not same or len(set(map(id, nodes))) < len(nodes):
        return False
    weight = np.concatenate([_dense(node) for node in nodes])
    attributes = {name: _ints(first, name) for name in names}
    _replace(graph, [*nodes, concat], first, weight, np.zeros(len(weight), np.float32), attributes)
    return True


def _merge(graph: ir.Graph, node: ir.Node) -> bool:
    """A convolution behind one that picks pixels → one convolution."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    if source is None or not _picks(source):
        return False
    kernel, stride, pads = _ints(source, "kernel_shape"), _ints(source, "strides"), _ints(source, "pads")
    dilations = _ints(node, "dilations") or [1, 1]
    own = {name: _ints(node, name) for name in ("kernel_shape", "strides", "pads")}
    channels = shape_of(source.outputs[0])[1]
    weight, bias = constant_of(node.inputs[1]), constant_of(node.inputs[2])
    if weight is None or bias is None:
        return False
    if kernel == [1, 1] and stride == [1, 1] and np.array_equal(_dense(source)[:, :, 0, 0], np.eye(channels)):
        around = [a + b for a, b in zip(own["pads"], pads, strict=True)]  # padding and nothing else
        attributes = {**own, "pads": around, "dilations": dilations}
        groups = node.attributes.get_int("group", 1) or 1
        _replace(graph, [source, node], source, weight, bias, attributes, groups)
        return True
    blocks = kernel == stride and not any(pads) and dilations == [1, 1]
    if (node.attributes.get_int("group", 1) or 1) != 1:
        if not _picks(node):  # a depthwise convolution would become a dense one
            return False
        weight = _dense(node)
    if not blocks:
        return False
    picks = _dense(source)
    tall, wide = kernel
    merged = np.einsum("omyx,mcij->ocyixj", weight.astype(np.float64), picks, optimize=True).reshape(
        len(weight), picks.shape[1], weight.shape[2] * tall, weight.shape[3] * wide
    )
    attributes = {
        "kernel_shape": list(merged.shape[2:]),
        "strides": [own["strides"][0] * tall, own["strides"][1] * wide],
        "pads": [pad * (tall, wide)[i % 2] for i, pad in enumerate(own["pads"])],
        "dilations": [1, 1],
    }
    _replace(graph, [source, node], source, merged, bias, attributes)
    return True


def _replace(
    graph: ir.Graph,
    nodes: list[ir.Node],
    first: ir.Node,
    weight: np.ndarray,
    bias: np.ndarray,
    attributes: dict[str, list[int]],
    groups: int = 1,
) -> None:
    """One convolution in the place of several nodes, of which the last gives the output."""
    merged: dict[str, int | Sequence[int]] = {**attributes, "group": groups}
    replace_by_convolution(graph, nodes, first.inputs[0], weight, bias, merged, nodes[-1].name or "merged")


def _nothing(graph: ir.Graph, node: ir.Node) -> bool:
    return False


_STEPS = {"Concat": _join, "Conv": _merge}
