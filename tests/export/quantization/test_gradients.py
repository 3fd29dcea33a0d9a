"""The derivative graph against difference quotients."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export import foreign
from tests.export.quantization.support import all_tensors, run_heads
from tests.int8_operations import KINDS, random_operation
from tests.support import random_darknet
from tests.tflite_support import random_windows
from yolo_edge.export import canonicalize
from yolo_edge.export.graph import Graph, GraphBuilder, shape_of
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.gradients import _RULES, Gradients

STEPS = (3e-4, 6e-5, 1e-5)  # a kink may lie within the longer ones, and the shortest may drown in float32


def check(graph: Graph, seed: int = 0, limit: float = 0.03, label: str = "") -> None:
    """The derivative at the input in random directions."""
    rng, shape = np.random.default_rng(seed), shape_of(graph.graph.inputs[0])
    tensor = rng.normal(0.5, 0.3, shape).astype(np.float32)
    outputs = {value.name or "": shape_of(value) for value in graph.graph.outputs}
    directions = {name: rng.normal(0, 1, size).astype(np.float32) for name, size in outputs.items()}
    exact = all_tensors(graph, tensor)
    found = Gradients(graph)(exact, directions)
    for name, slope in found.items():
        assert slope.shape == exact[name].shape
    slope = found["images"].astype(np.float64)
    for _ in range(2):
        way = rng.normal(0, 1, shape).astype(np.float32)
        expected = [quotient(graph, tensor, way * np.float32(step), directions) / step for step in STEPS]
        off = min(abs(number - float((slope * way).sum())) for number in expected)
        assert off <= limit * np.linalg.norm(slope), label


def quotient(graph: Graph, tensor: np.ndarray, way: np.ndarray, directions: dict[str, np.ndarray]) -> float:
    above, below = (run_heads(graph, moved) for moved in (tensor + way, tensor - way))
    differences = ((above[name].astype(np.float64) - below[name]) * array for name, array in directions.items())
    return sum(float(difference.sum()) for difference in differences) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_operators(kind: str) -> None:
    for seed in range(4):
        operation = random_operation(kind, seed)
        check(operation.quantized.graph, seed, label=operation.label)


def test_windows() -> None:
    """Strides that leave a rest, pads on one side, dilation, groups; pools that overlap."""
    for seed in range(24):
        graph, label = random_windows(seed)
        check(graph, seed, label=label)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    graph = expand_activations(canonicalize(load_model(random_darknet(tmp_path, seed)).graph))
    # kinks within a step, layer on layer, and the quotient of Mish
    check(graph, seed, limit=0.06)


@pytest.mark.parametrize(
    "model",
    [
        foreign.yolov8(attention=True, activation="mish"),
        foreign.yolov8(learned=(4, 1), activation="hswish"),
        foreign.yolox(),
    ],
)
def test_networks_of_other_trainers(tmp_path: Path, model: onnx.ModelProto) -> None:
    onnx.save(model, tmp_path / "foreign.onnx")
    graph = expand_activations(canonicalize(load_model(tmp_path / "foreign.onnx").graph))
    check(graph, limit=0.06)
    computed = {node.outputs[0].name for node in graph.graph}
    found = Gradients(graph)
    assert computed <= set(found._slopes), "a tensor whose influence is not known"


def test_what_is_used_twice_adds_up() -> None:
    builder = GraphBuilder("twice", 3, 2)
    x = builder.input
    y = builder.node("Mul", [x, x], (1, 3, 2, 3), "square")
    y = builder.node("Add", [y, x], (1, 3, 2, 3), "sum")
    graph = builder.build({"head_0": y})
    tensor = np.random.default_rng(0).normal(0, 1, (1, 3, 2, 3)).astype(np.float32)
    ones = np.ones_like(tensor)
    found = Gradients(graph)(all_tensors(graph, tensor), {"head_0": ones})
    np.testing.assert_allclose(found["images"], 2 * tensor + 1, rtol=1e-5)


def test_every_operator_has_a_rule() -> None:
    from yolo_edge.export.canonical import OPERATORS

    assert set(OPERATORS) - set(_RULES) - {"SiLU", "HardSwish"} == set()
