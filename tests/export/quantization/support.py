"""What tests of the accuracy passes share: small networks with statistics, and all tensors of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from msgspec import structs
from onnx_ir.passes.common import InlinePass

from tests.support import DarknetWriter, random_picture
from yolo_edge.export import canonicalize
from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan
from yolo_edge.export.quantization.calibration import Calibration, TensorStatistics
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.plan import NodePlan, QuantizationPlan
from yolo_edge.export.quantization.recipe import Drafts, Recipe
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import ModelSpec

PLAIN = Recipe("plain", rescale=False, equalize=False, ranges="minmax")


@dataclass(frozen=True)
class Prepared:
    """A network and what goes through it."""

    graph: Graph
    spec: ModelSpec
    tensors: Sequence[np.ndarray]
    calibration: Calibration

    @classmethod
    def of(cls, path: Path, count: int = 4) -> "Prepared":
        source = load_model(path)
        graph, spec = expand_activations(canonicalize(source.graph)), source.spec
        tensors = [Preprocessor(spec.input)(random_picture(70, 50, seed))[0].copy() for seed in range(count)]
        calibration = Calibration(graph, spec)
        calibration.run(lambda: tensors)
        return cls(graph, spec, tensors, calibration)

    @property
    def statistics(self) -> Mapping[str, TensorStatistics]:
        return self.calibration.statistics

    def draft(self, recipe: Recipe = PLAIN) -> QuantizationPlan:
        return Drafts(self.graph, self.statistics, self.spec).draft(recipe)

    def quantized(self, recipe: Recipe = PLAIN) -> QuantizedGraph:
        return apply_plan(self.graph, self.draft(recipe))


def depthwise_darknet(
    folder: Path, seed: int = 0, activation: str = "leaky", spread: float = 1, loud: float = 1
) -> Path:
    """A detector of depthwise and pointwise convolutions, 64x64.

    `spread`: how far the ranges of channels are from each other; `loud`: a factor of the heads' weights.
    """
    rng = np.random.default_rng(seed)
    net = DarknetWriter(64, 64, rng)
    net.convolution(8, 3, 2, activation=activation)
    net.convolution(8, 3, 1, 8, activation=activation)
    net.convolution(12, 1, activation="linear")
    net.convolution(12, 3, 2, 12, activation=activation)
    net.convolution(12, 1, activation="linear")
    net.convolution(16, 1, activation=activation)
    net.convolution(16, 3, 1, 16, activation=activation)
    net.convolution(12, 1, activation="linear")
    net.shortcut(4, "linear")
    net.maxpool(3, 1)
    net.route([9, 4], absolute=True)
    net.convolution(24, 5, 2, 24, activation=activation)
    net.convolution(10, 3, activation=activation)
    net.yolo(2, 3, 1.05)
    for i in range(1, len(net.floats) - 2, 5):
        net.floats[i] = net.floats[i] * np.exp(rng.normal(0, spread, len(net.floats[i])))
    net.floats[-1] = net.floats[-1] * loud
    return net.write(folder / f"depthwise-{seed}-{activation}.cfg")


def residual_darknet(folder: Path, seed: int = 0) -> Path:
    """A detector with two residual blocks, routes, a maxpool and an upsampling, 64x64."""
    net = DarknetWriter(64, 64, np.random.default_rng(seed))
    net.convolution(8, 3, 2)
    net.convolution(12, 3)
    net.convolution(24, 1)
    net.convolution(24, 3, 2, 24)
    net.convolution(12, 1, activation="linear")  # 4
    net.convolution(24, 1)
    net.convolution(24, 3, 1, 24)
    net.convolution(12, 1, activation="linear")
    net.shortcut(4, "linear")
    net.convolution(16, 3)  # 9
    net.convolution(12, 1)
    net.convolution(16, 3)
    net.shortcut(9, "linear")
    net.maxpool(3, 1)
    net.route([13, 10], absolute=True)
    net.convolution(16, 1)  # 15
    net.convolution(16, 3, 2)
    net.upsample()
    net.route([17, 15], absolute=True)
    net.convolution(20, 3)
    net.yolo(2, 3, 1.05)
    return net.write(folder / f"residual-{seed}.cfg")


def all_tensors(graph: Graph, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """Every computed tensor of a network, the input too."""
    model = graph.clone()
    for node in model.graph:
        if not node.outputs[0].is_graph_output():
            model.graph.outputs.append(node.outputs[0])
    InlinePass()(model)
    session = new_session(ir.to_proto(model).SerializeToString(), optimize=False)
    names = [output.name for output in session.get_outputs()]
    return {"images": tensor, **dict(zip(names, session.run(names, {"images": tensor}), strict=True))}


def run_heads(graph: Graph, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """The raw heads of a float network."""
    model = graph.clone()
    InlinePass()(model)
    session = new_session(ir.to_proto(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": tensor}), strict=True))


def in_float(plan: QuantizationPlan) -> QuantizationPlan:
    """The plan with every node in float."""
    return structs.replace(plan, nodes={name: NodePlan("float", "by hand") for name in plan.nodes}, tensors={})


def assert_close(found: np.ndarray, expected: np.ndarray, limit: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * max(np.abs(expected).max(), 1e-6)
