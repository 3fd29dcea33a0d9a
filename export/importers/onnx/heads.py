"""Where the raw heads of a foreign network are: the last convolutions before its outputs, by grid."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from onnx import NodeProto

from yolo_edge.export.importers.onnx.families import Level
from yolo_edge.export.importers.onnx.network import OnnxNetwork, inputs_of, integer
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable

_MAX_HEADS = 64
_MAX_LEVELS = 8


def find_heads(network: OnnxNetwork, known: frozenset[str] = frozenset()) -> list[str]:
    """The values that the last convolutions before the outputs compute, in the order of the graph.

    Behind the values in `known` nothing is looked for.

    A convolution that only sums with 0, 1, 2, … is part of a decoder (DFL). A factor or an offset for each channel, or
    a batch normalization, directly behind a convolution belongs to it.

    Raises:
        InputError: There are none, or more than a detector has.
    """
    producers, consumers = network.producers(), network.consumers()
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(network.outputs)
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or id(node) in seen or name in known:
            continue
        seen.add(id(node))
        if node.op_type == "Conv" and not _sums_bins(network, node):
            found.add(_with_scale(network, consumers, node))
            continue
        waiting.extend(inputs_of(node))
    if not found and not known:
        raise InputError(f"{network.path}: no convolution leads to its outputs; not a detector")
    if len(found) > _MAX_HEADS:
        raise InputError(f"{network.path}: {len(found)} convolutions lead to its outputs; not a detector that is known")
    order = {name: i for i, node in enumerate(network.nodes) for name in node.output}
    return sorted(found, key=order.__getitem__)


def _sums_bins(network: OnnxNetwork, node: NodeProto) -> bool:
    weight = network.constants.get(node.input[1])
    if weight is None or weight.ndim != 4 or weight.shape[0] != 1:
        return False
    # 8-bit files have them rounded
    return bool(np.abs(weight.reshape(-1) - np.arange(weight.size)).max() < 0.05)


def _with_scale(network: OnnxNetwork, consumers: Mapping[str, list[NodeProto]], node: NodeProto) -> str:
    name = str(node.output[0])
    while True:
        readers = consumers.get(name, [])
        if len(readers) != 1 or name in network.outputs:
            return name
        reader, shape = readers[0], network.shapes.get(name, ())
        if reader.op_type in ("Mul", "Add"):
            other = next((item for item in reader.input if item != name), "")
            array = network.constants.get(other)
            whole = array is not None and len(shape) == 4 and array.shape[-3:] == (shape[1], 1, 1)
            if not whole:
                return name
        elif reader.op_type != "BatchNormalization":
            return name
        name = str(reader.output[0])


def levels_of(network: OnnxNetwork, heads: Sequence[str]) -> list[Level]:
    """The heads by grid, from fine to coarse; roles are numbers as yet.

    Raises:
        InputError: One is no grid of the input, or there are more grids than a detector has.
    """
    _, _, height, width = network.shapes[network.input]
    grids: dict[tuple[int, int], list[str]] = {}
    for name in heads:
        shape = network.shapes.get(name, ())
        tiles = len(shape) == 4 and shape[0] == 1 and height % shape[2] == 0 == width % shape[3]
        if not tiles or height // shape[2] != width // shape[3]:
            raise InputError(
                f"{network.path}: a convolution before the outputs gives {list(shape)}, no grid of the "
                f"{width}x{height} input; not a detector that is known"
            )
        grids.setdefault((shape[2], shape[3]), []).append(name)
    if len(grids) > _MAX_LEVELS:
        raise InputError(f"{network.path}: heads on {len(grids)} grids; not a detector that is known")
    ordered = sorted(grids.items(), reverse=True)
    return [
        Level(height // rows, rows, columns, {str(i): name for i, name in enumerate(names)})
        for (rows, columns), names in ordered
    ]


def split_levels(network: OnnxNetwork, levels: Sequence[Level]) -> list[Level] | None:
    """The same levels with the parts that their one map is split into, where its channels are split at once.

    NanoDet's heads come so: classes and distributions from one convolution. None where they do not.
    """
    consumers = network.consumers()
    found = []
    for level in levels:
        if len(level.tensors) != 1:
            return None
        (name,) = level.tensors.values()
        parts = _parts(network, name, consumers.get(name, []))
        if len(parts) < 2:
            return None
        found.append(replace(level, tensors={str(i): part for i, part in enumerate(parts)}))
    return found


def _parts(network: OnnxNetwork, name: str, readers: Sequence[NodeProto]) -> list[str]:
    """What all readers of a map take of its channels, in the order of the channels; empty where it is anything else."""
    channels = network.shapes[name][1]
    bounds: dict[tuple[int, int], str] = {}
    if name in network.outputs:
        return []
    for node in readers:
        if node.op_type == "Split" and integer(node, "axis", 0) in (1, -3):
            start = 0
            for part in node.output:
                size = network.shapes.get(part, (0, 0))[1]
                bounds[start, start + size] = str(part)
                start += size
        elif node.op_type == "Slice":
            arrays = [network.constants.get(item) for item in node.input[1:]]
            numbers = [int(array.reshape(-1)[0]) if array is not None and array.size == 1 else None for array in arrays]
            if len(numbers) < 3 or None in numbers or numbers[2] not in (1, -3) or (numbers[3:] or [1])[0] != 1:
                return []
            low, high, _ = slice(numbers[0], numbers[1]).indices(channels)
            bounds[low, high] = str(node.output[0])
        else:
            return []
    ends = sorted(bounds)
    whole = [0, *(high for _, high in ends)] == [*(low for low, _ in ends), channels]
    return [bounds[end] for end in ends] if whole else []


def describe(network: OnnxNetwork, levels: Sequence[Level]) -> str:
    """What was found at the outputs, for a person."""
    outputs = ", ".join(
        f"{printable(name)[:40]} {list(network.shapes[name]) if name in network.shapes else '(size not fixed)'}"
        for name in network.outputs[:6]
    )
    heads = "; ".join(
        f"stride {level.stride}: "
        + ", ".join(f"{printable(name)[:60]} {network.shapes[name][1]} channels" for name in level.tensors.values())
        for level in levels
    )
    return f"Its outputs: {outputs}. The convolutions before them: {heads}"
