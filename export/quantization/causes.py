"""Whose doing the noise of a group is: its own, or that of another group whose tensor it has to live with.

A tensor whose channels differ a thousandfold hurts whoever has it in int8: what makes it, what reads it (whose weights
differ as much from column to column, the other way round), and what is joined with it and so shares its scale. Only the
first can be blamed. What is a group's own shows when it is measured with inputs that stay float and whose channels all
reach equally far, and with results that have a range of their own.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.onnx_int8 import UNSIGNED, quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, changed_weights, channel_scale, weights_of
from yolo_edge.export.quantization.calibration import all_outputs, reach
from yolo_edge.export.quantization.groups import Group
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import Structure, computed_inputs, name_of

_KEEP_CHANNELS = frozenset({"Clip", "GlobalAveragePool", "LeakyRelu", "Relu"})
_MOSTLY = 0.5  # of the noise of a group: what is its own, or not
_SOME = 0.1  # of noise that another one is blamed for: what that has to make itself
_LOUD = 0.01  # of the signal: noise that somebody is to blame for, however little noise they make themselves

Ends = tuple[np.ndarray, np.ndarray]


class Ranges:
    """How far each channel of each tensor of a network reaches."""

    def __init__(self, graph: Graph, tensors: Sequence[np.ndarray]):
        """Run `graph` on inputs, float32 [1, 3, height, width]."""
        self._low, self._high = reach(GraphSession(all_outputs(graph)), name_of(graph.graph.inputs[0]), tensors)

    def ends(self, name: str) -> Ends | None:
        """The smallest and the largest values of a tensor, float64 [channels] each, on either side of 0."""
        if name not in self._low:
            return None
        return np.minimum(self._low[name].astype(np.float64), 0), np.maximum(self._high[name].astype(np.float64), 0)

    def width(self, name: str) -> np.ndarray | None:
        """How far each channel reaches; None: nothing is known, or all is 0."""
        ends = self.ends(name)
        return None if ends is None or not (ends[1] - ends[0]).any() else ends[1] - ends[0]


def suspects(structure: Structure, groups: Sequence[Group]) -> dict[str, set[str]]:
    """Group → those that make what it reads, or what shares a scale with what it reads or makes.

    What only weighs channels is innocent, whoever makes what it reads is not.
    """
    nodes = {name_of(node): node for node in structure.graph.graph}
    members = {group.name: [nodes[name] for name in group.nodes] for group in groups}
    makers: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    for group, its in members.items():
        read[group] = {structure.group.get(name_of(value), "") for node in its for value in computed_inputs(node)}
        for node in its:
            makers.setdefault(structure.group.get(name_of(structure.result(node)), ""), set()).add(group)

    related = {}
    for group in members:
        tensors = read[group] | {name for name, its in makers.items() if group in its}
        found: set[str] = set()
        while new := set().union(*(makers.get(name, set()) for name in tensors)) - found - {group}:
            found |= new
            tensors = set().union(*(read[other] for other in new if _weighs(members[other])))
        related[group] = found
    return related


def _weighs(nodes: Sequence[ir.Node]) -> bool:
    """Whether no channel of what a group gives has anything from another channel."""
    return all(node.op_type != "Conv" or weights_of(node)[0].shape[1] == 1 for node in nodes)


def only_own(alone: QuantizedGraph, members: Collection[str], ranges: Ranges) -> Graph:
    """A network with one group in int8, with none but its own faults.

    Args:
        alone: The network with that group in int8.
        members: Its nodes.
        ranges: Of the network.
    """
    network = {name_of(node): node for node in alone.graph.graph}
    inside = _with_fused(alone.structure, members)
    units = _units(alone.graph, inside, ranges)
    model = quantize_onnx(alone, keep_floats=False)
    for node in list(model.graph):
        value = node.inputs[0]
        if node.op_type == "QuantizeLinear" and value is not None and constant_of(value) is None:
            producer, up = value.producer(), next(use.node for use in node.outputs[0].uses())
            if producer is None or name_of(producer) not in inside:
                up.outputs[0].replace_all_uses_with(value)
            elif producer.op_type != "Sigmoid":  # its scale is fixed
                result = name_of(alone.structure.result(network[name_of(producer)]))
                _store(model, node, up, result, alone.plan.tensors[result], units.get(result), ranges)
        elif node.op_type == "Conv" and name_of(node) in inside:
            original = network[name_of(node)]
            _round_fairly(model, node, original, ranges.width(name_of(computed_inputs(original)[0])))
    drop_unused_constants(model.graph)
    return model


def _with_fused(structure: Structure, members: Collection[str]) -> set[str]:
    nodes = [node for node in structure.graph.graph if name_of(node) in members]
    fused = [structure.fused.get(name_of(node.outputs[0])) for node in nodes]
    return {*members, *(name_of(node) for node in fused if node is not None)}


def _units(graph: Graph, members: Collection[str], ranges: Ranges) -> dict[str, np.ndarray]:
    """Result of a group → what its channels take over from inputs that reach differently far; others: nothing."""
    units: dict[str, np.ndarray] = {}

    def unit(value: ir.Value) -> np.ndarray | float:
        producer = value.producer()
        if producer is not None and name_of(producer) in members:
            return units.get(name_of(value), 1.0)
        found = ranges.width(name_of(value))
        return 1.0 if found is None else found

    for node in graph.graph:
        if name_of(node) not in members:
            continue
        before = [unit(value) for value in computed_inputs(node)]
        found: np.ndarray | float = 1.0
        if node.op_type == "Conv":
            weight, _ = weights_of(node)
            if weight.shape[1] == 1 and isinstance(before[0], np.ndarray):
                found = before[0].repeat(len(weight) // len(before[0]))
        elif node.op_type in _KEEP_CHANNELS:
            found = before[0]
        elif node.op_type == "Mul":
            found = np.prod(np.broadcast_arrays(*before), axis=0)
        elif node.op_type == "Add":
            arrays = [item for item in before if isinstance(item, np.ndarray)]
            found = np.sum(arrays, axis=0) if len(arrays) == len(before) else 1.0
        if isinstance(found, np.ndarray) and found.ndim:
            units[name_of(node.outputs[0])] = found
    return units


def _store(
    model: Graph, down: ir.Node, up: ir.Node, name: str, plan: TensorPlan, unit: np.ndarray | None, ranges: Ranges
) -> None:
    """Let a result have a range of its own, within that of the plan, and what its inputs are to blame for undone."""
    seen = ranges.ends(name)
    if seen is None:
        return
    bottom, top = plan.bounds
    # a range ends at a whole step: what is cut off by less is rounded
    ends = np.maximum(seen[0], bottom - plan.scale), np.minimum(seen[1], top + plan.scale)
    each = np.ones_like(ends[0])
    if unit is not None:
        unit = np.where(unit > 0, unit, unit.max())
        each = min(each, unit, key=lambda item: _unevenness(ends, item))
    own = _fit(ends, each)
    scale = add_constant(model.graph, f"{name}.own_scale", np.array(own.scale, np.float32))
    zero = add_constant(model.graph, f"{name}.own_zero", np.array(own.zero_point + UNSIGNED, np.uint8))
    for node in (down, up):
        node.replace_input_with(1, scale)
        node.replace_input_with(2, zero)
    if each is not unit:
        return
    value, restored = down.inputs[0], up.outputs[0]
    shape = (1, -1, *[1] * (len(shape_of(restored)) - 2))
    by, back = (
        add_constant(model.graph, f"{name}.own_{what}", array.astype(np.float32).reshape(shape))
        for what, array in (("by", 1 / each), ("back", each))
    )
    narrow = ir.node("Mul", [value, by], name=f"{name}.own_narrowed")
    wide = ir.node("Mul", [restored, back], name=f"{name}.own_widened")
    for node in (narrow, wide):
        node.outputs[0].name, node.outputs[0].type = node.name, restored.type
        node.outputs[0].shape = restored.shape
    if restored.is_graph_output():  # heads keep their names
        wide.outputs[0].name, restored.name = restored.name, wide.name
    restored.replace_all_uses_with(wide.outputs[0], replace_graph_outputs=True)
    wide.replace_input_with(0, restored)
    down.replace_input_with(0, narrow.outputs[0])
    model.graph.insert_before(down, narrow)
    model.graph.insert_after(up, wide)


def _fit(ends: Ends, unit: np.ndarray) -> TensorPlan:
    return TensorPlan.of_range(float((ends[0] / unit).min()), float((ends[1] / unit).max()))


def _unevenness(ends: Ends, unit: np.ndarray) -> float:
    """How coarse the steps are for the channels, in squares of their width."""
    width = ends[1] - ends[0]
    there = width > 0
    return float(np.square(_fit(ends, unit).scale * unit[there] / width[there]).sum())


def _round_fairly(model: Graph, node: ir.Node, original: ir.Node, unit: np.ndarray | None) -> None:
    """Round weights as if all input channels reached equally far."""
    each = np.ones(1) if unit is None else unit
    none = np.zeros(1)
    balanced, _ = changed_weights(original, np.ones(1), each, none)
    tail = [1] * (balanced.ndim - 1)
    scale = channel_scale(balanced).astype(np.float64).reshape(-1, *tail)
    rounded = np.rint(balanced / scale) * scale
    weight, bias = weights_of(original)
    # a column that is multiplied with nothing is left alone
    share = np.divide(rounded, balanced, out=np.ones_like(balanced), where=balanced != 0)
    for place, array in ((1, weight * share), (2, bias)):
        constant = add_constant(model.graph, f"{node.name}.own.{place}", array.astype(np.float32))
        node.replace_input_with(place, constant)


def blame(
    noise: Mapping[str, float], own: Mapping[str, float], related: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Group whose noise is mostly not its own → the group that it has it from.

    Args:
        noise: Group → what it does when it alone is in int8.
        own: Group → as `only_own` has it; of some groups.
        related: As of `suspects`.
    """
    found = {}
    for group, alone in noise.items():
        left = own.get(group, alone)
        if left >= _MOSTLY * alone:
            continue
        least = 0.0 if left < _SOME * alone and alone > _LOUD else _SOME * alone
        others = [other for other in related[group] if own.get(other, 0.0) > max(left, least)]
        if others:
            found[group] = max(others, key=lambda other: (own[other], other))
    return found
