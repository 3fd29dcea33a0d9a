"""Channel shuffles of foreign networks → one Gather of channels each.

ShuffleNet's shuffle comes as Reshape–Transpose–Reshape, with a Split or with two Gathers behind it (Megvii's). Which
channels a chain of such nodes picks is not guessed from its shapes: it is run on the numbers of the elements.
"""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, helper

from yolo_edge.export.importers.onnx.network import OnnxNetwork, integer, integers

_MAX_ELEMENTS = 1 << 22
_MOVES = frozenset({"Flatten", "Gather", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def gather_channels(network: OnnxNetwork) -> None:
    """Replace every chain that only picks channels of a map [1, channels, rows, columns] by a Gather, in place."""
    chains: dict[str, tuple[str, np.ndarray]] = {}  # value → where its elements come from, and which they are
    nodes = []
    for node in network.nodes:
        moved = _follow(network, chains, node)
        if moved is None:
            nodes.append(node)
            continue
        source, elements = moved
        chains[node.output[0]] = moved
        picked = _channels(elements, network.shapes[source])
        nodes.append(node if picked is None else _gather(network, node, source, picked))
    network.nodes = nodes
    network.nodes = network.needed_for(network.outputs)


def _follow(
    network: OnnxNetwork, chains: dict[str, tuple[str, np.ndarray]], node: NodeProto
) -> tuple[str, np.ndarray] | None:
    """Which elements of which map a node gives; None where it is no part of such a chain."""
    shape = network.shapes.get(node.output[0])
    if node.op_type not in _MOVES or node.domain not in ("", "ai.onnx") or shape is None:
        return None
    name = node.input[0]
    if name in chains:
        source, elements = chains[name]
    else:
        before = network.shapes.get(name, ())
        picture = len(before) == 4 and before[0] == 1 and np.prod(before) <= _MAX_ELEMENTS
        if node.op_type != "Reshape" or not picture or name in network.constants:
            return None
        source, elements = name, np.arange(np.prod(before), dtype=np.int32).reshape(before)
    found = _apply(network, node, elements)
    return (source, found) if found is not None and found.shape == shape else None


def _apply(network: OnnxNetwork, node: NodeProto, elements: np.ndarray) -> np.ndarray | None:
    if node.op_type == "Transpose":
        order = integers(node, "perm", range(elements.ndim)[::-1])
        return elements.transpose(order) if sorted(order) == list(range(elements.ndim)) else None
    if node.op_type == "Gather":
        axis, index = integer(node, "axis", 0), network.constants.get(node.input[1])
        if index is None or not -elements.ndim <= axis < elements.ndim:
            return None
        sides = elements.shape[axis]
        inside = index.dtype.kind in "iu" and -sides <= index.min(initial=0) <= index.max(initial=0) < sides
        return np.take(elements, index, axis=axis) if inside and index.size else None
    shape = network.shapes[node.output[0]]
    return elements.reshape(shape) if elements.size == np.prod(shape) else None


def _channels(elements: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """Which channels of a map these elements are; None where they are not whole channels in their places."""
    if elements.ndim != 4 or elements.shape[0] != 1 or elements.shape[2:] != tuple(shape[2:]):
        return None
    cells = shape[2] * shape[3]
    picked = elements[0, :, 0, 0] // cells
    whole = picked[:, None] * cells + np.arange(cells, dtype=np.int32)
    return picked if np.array_equal(whole, elements.reshape(len(picked), cells)) else None


def _gather(network: OnnxNetwork, node: NodeProto, source: str, picked: np.ndarray) -> NodeProto:
    name = f"{node.output[0]}.channels"
    while name in network.constants or name in network.shapes:
        name += "_"
    network.constants[name] = picked.astype(np.int64)
    network.shapes[name] = picked.shape
    return helper.make_node("Gather", [source, name], [node.output[0]], name=node.name, axis=1)
