"""Plans for tests: by the smallest and largest values that some inputs give, without any of the passes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from yolo_edge.export import Graph
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan, channel_scale, weights_of
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.plan import ConvolutionPlan, HeadPlan, QuantizationPlan, TensorPlan
from yolo_edge.export.quantization.structure import SIGMOID, Structure, name_of
from yolo_edge.ondevice.runtimes.onnx import new_session


def quantize(
    graph: Graph,
    tensors: Sequence[np.ndarray],
    *,
    floats: Mapping[str, str] | None = None,
    heads: Mapping[str, HeadPlan] | None = None,
    plans: Mapping[str, TensorPlan] | None = None,
) -> QuantizedGraph:
    """The graph with a plan by the ranges that its tensors have for some inputs, float32 [1, 3, height, width].

    `floats`: nodes → why they stay float. `plans`: tensors that shall have other parameters.
    """
    graph = expand_activations(graph)
    structure = Structure.of(graph, floats or {})
    low, high = _ranges(structure, tensors)
    fixed = {name_of(node.outputs[0]) for node in graph.graph if node.op_type == "Sigmoid" and structure.is_int8(node)}
    found = {
        name: SIGMOID if name in fixed else TensorPlan.of_range(low[group], high[group])
        for name, group in structure.group.items()
    }
    convolutions = {
        name_of(node): ConvolutionPlan(tuple(channel_scale(weights_of(node)[0]).tolist()))
        for node in structure.int8_convolutions()
    }
    plan = QuantizationPlan(
        recipe="smallest and largest",
        tensors={**found, **(plans or {})},
        nodes=dict(structure.nodes),
        convolutions=convolutions,
        heads=dict(heads or {}),
    )
    return apply_plan(graph, plan)


def _ranges(structure: Structure, tensors: Sequence[np.ndarray]) -> tuple[dict[str, float], dict[str, float]]:
    """The range of each group."""
    model = structure.graph.clone()
    for node in model.graph:
        if node.outputs[0].name in structure.group and not node.outputs[0].is_graph_output():
            model.graph.outputs.append(node.outputs[0])
    session = new_session(ir.to_proto(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for tensor in tensors:
        arrays = {**dict(zip(names, session.run(names, {"images": tensor}), strict=True)), "images": tensor}
        for name, group in structure.group.items():
            low[group] = min(low.get(group, 0.0), float(arrays[name].min()))
            high[group] = max(high.get(group, 0.0), float(arrays[name].max()))
    return low, high


def qdq_bytes(quantized: QuantizedGraph) -> bytes:
    """The plan's form in ONNX, with float32 input and outputs."""
    model = quantize_onnx(quantized)
    InlinePass()(model)
    data: bytes = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def run_qdq(quantized: QuantizedGraph, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime makes of a plan's form in ONNX: the raw heads, float32 [1, channels, rows, columns]."""
    session = new_session(qdq_bytes(quantized))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": tensor}), strict=True))


def optimized_types(data: bytes, folder: Path) -> list[str]:
    """The operators of the graph that onnxruntime makes of a file."""
    path = folder / "optimized.onnx"
    new_session(data, optimized_model_filepath=str(path))
    return [node.op_type for node in onnx.load(path).graph.node]
