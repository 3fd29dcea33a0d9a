"""A plan for activations of 16 bits: they have steps to spare, so ranges are what was seen, and half as much again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan, channel_scale, weights_of
from yolo_edge.export.quantization.calibration import all_outputs, reach
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.pictures import stream
from yolo_edge.export.quantization.plan import ConvolutionPlan, QuantizationPlan, TensorPlan
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import SIGMOID, Structure, name_of
from yolo_edge.ondevice.spec import ModelSpec

RECIPE = "16 bits, smallest and largest"
_ROOM = 1.5


def wide_plan(graph: Graph, spec: ModelSpec, pictures: Sequence[Path]) -> QuantizedGraph:
    """The network with a plan for int8x16.

    Args:
        graph: Canonical; not changed.
        spec: Of it.
        pictures: To see the ranges with.
    """
    expanded = expand_activations(graph)
    structure = Structure.of(expanded)
    low, high = reach(GraphSession(all_outputs(expanded)), spec.input.tensor, stream(pictures, spec.input))
    seen: dict[str, tuple[float, float]] = {}
    for name, group in structure.group.items():
        before = seen.get(group, (0.0, 0.0))
        seen[group] = min(before[0], float(low[name].min())), max(before[1], float(high[name].max()))
    sigmoids = {
        name_of(node.outputs[0]) for node in expanded.graph if node.op_type == "Sigmoid" and structure.is_int8(node)
    }
    tensors = {
        name: SIGMOID if name in sigmoids else TensorPlan.of_range(*(_ROOM * np.array(seen[group])).tolist())
        for name, group in structure.group.items()
    }
    convolutions = {
        name_of(node): ConvolutionPlan(tuple(channel_scale(weights_of(node)[0]).tolist()))
        for node in structure.int8_convolutions()
    }
    plan = QuantizationPlan(recipe=RECIPE, tensors=tensors, nodes=dict(structure.nodes), convolutions=convolutions)
    return apply_plan(expanded, plan)
