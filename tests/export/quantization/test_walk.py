"""Walking a network, and what is mended on the way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.export.quantization.support import PLAIN, Prepared, all_tensors, assert_close, depthwise_darknet
from tests.int8_support import qdq_bytes
from tests.support import random_darknet
from tests.tflite_support import random_windows
from yolo_edge.export.quantization import rounding
from yolo_edge.export.quantization.affine import correct_affine
from yolo_edge.export.quantization.apply import apply_plan, channel_scale
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.quantization.recipe import Recipe, finish
from yolo_edge.export.quantization.rounding import _patches, _round_dense, _round_small, learn_rounding
from yolo_edge.export.quantization.structure import name_of
from yolo_edge.export.quantization.walk import Layer, walk
from yolo_edge.ondevice.runtimes.onnx import new_session


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("walk")), 3)


@pytest.fixture(scope="module")
def layers(prepared: Prepared) -> dict[str, Layer]:
    return layers_of(prepared)


def layers_of(prepared: Prepared) -> dict[str, Layer]:
    """Every convolution when it is reached."""
    found: dict[str, Layer] = {}

    def keep(layer: Layer) -> Layer:
        found[name_of(layer.node)] = layer
        return layer

    walk(prepared.quantized(), prepared.tensors, prepared.calibration.importance_of_places(prepared.tensors), keep)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_without_integers_it_is_the_float_network(tmp_path: Path, seed: int) -> None:
    prepared = Prepared.of(random_darknet(tmp_path, seed), 2)
    quantized = prepared.quantized()
    # no tensor is stored, and every convolution that is reached gives what it gives in float
    bare = replace(quantized, plan=structs.replace(quantized.plan, tensors={}))
    importance = prepared.calibration.importance_of_places(prepared.tensors)
    expected = [all_tensors(prepared.graph, tensor) for tensor in prepared.tensors]
    reached = []

    def exact(layer: Layer) -> Layer:
        reached.append(name_of(layer.node))
        for side in (layer.floats, layer.held):
            for array, tensors in zip(side, expected, strict=True):
                assert_close(array, tensors[layer.node.inputs[0].name], 1e-4)  # type: ignore[union-attr]
        for array, tensors in zip(layer.expected, expected, strict=True):
            assert_close(array, tensors[name_of(layer.node.outputs[0])], 1e-4)
        ones = np.ones_like(layer.scale)
        return replace(layer, integers=layer.weight, scale=ones)

    mended = walk(bare, prepared.tensors, importance, exact)
    assert reached == list(mended) == [name_of(node) for node in quantized.structure.int8_convolutions()]
    assert all(len(layer.floats) == len(layer.held) == len(layer.expected) == 0 for layer in mended.values())


def test_the_integer_side_is_what_onnxruntime_computes(prepared: Prepared) -> None:
    quantized = prepared.quantized()
    found: dict[str, Sequence[np.ndarray]] = {}

    def keep(layer: Layer) -> Layer:
        found[name_of(layer.node.outputs[0])] = layer.found()
        return layer

    walk(quantized, prepared.tensors, prepared.calibration.importance_of_places(prepared.tensors), keep)
    (name,) = (value.name or "" for value in prepared.graph.graph.outputs)
    session = new_session(qdq_bytes(quantized), precise=True)
    for tensor, array in zip(prepared.tensors, found[name], strict=True):
        (expected,) = session.run([name], {"images": tensor})
        held = quantized.plan.tensors[name].stored(array)
        steps = np.abs(held - expected) / quantized.plan.tensors[name].scale
        # ten layers of halves that round one way or the other
        assert np.mean(steps) < 2
        assert steps.max() < 24


@given(st.floats(-40, 0), st.floats(0, 40), st.integers(0, 10_000))
@settings(max_examples=60)
def test_what_is_stored(low: float, high: float, seed: int) -> None:
    plan = TensorPlan.of_range(low, high)
    array = np.random.default_rng(seed).normal(0, 30, 200).astype(np.float32)
    integers = plan.quantize(array).astype(np.float64)
    np.testing.assert_allclose(plan.stored(array), (integers - plan.zero_point) * plan.scale, atol=1.01 * plan.scale)


# affine


def weighted(arrays: Sequence[np.ndarray], layer: Layer) -> np.ndarray:
    """[channels, values], each value as often as its place counts."""
    root = [np.broadcast_to(weight, array.shape[2:]) for array, weight in zip(arrays, layer.importance, strict=True)]
    flat = [array.reshape(array.shape[1], -1).astype(np.float64) for array in arrays]
    weights = np.concatenate([weight.reshape(-1) for weight in root]).astype(np.float64)
    return np.stack([np.concatenate([part[c] for part in flat]) for c in range(len(flat[0]))]), weights  # type: ignore[return-value]


def test_affine_gives_the_mean_and_the_slope(layers: dict[str, Layer]) -> None:
    inside = 0
    for layer in layers.values():
        coarse = replace(layer, integers=np.rint(layer.integers / 9).astype(np.int8), scale=layer.scale * 9)
        mended = correct_affine(coarse)
        np.testing.assert_array_equal(mended.integers, coarse.integers)
        (y, w), (z, _) = weighted(layer.expected, layer), weighted(mended.found(), layer)  # type: ignore[misc]
        scale = np.maximum(np.abs(y).max(axis=1), 1e-3)
        mean_y, mean_z = (np.average(side, axis=1, weights=w) for side in (y, z))
        np.testing.assert_allclose(mean_z / scale, mean_y / scale, atol=1e-4)
        factor = mended.scale / coarse.scale
        assert (np.abs(factor - 1) <= 0.15 + 1e-6).all()
        covariance = np.average((y - mean_y[:, None]) * (z - mean_z[:, None]), axis=1, weights=w)
        variance = np.average(np.square(z - mean_z[:, None]), axis=1, weights=w)
        free = (np.abs(factor - 1) < 0.149) & (variance > 1e-6)
        inside += int(free.sum())
        np.testing.assert_allclose((covariance / np.maximum(variance, 1e-30))[free], 1, atol=1e-3)
        only_mean = correct_affine(coarse, slope=False)
        np.testing.assert_array_equal(only_mean.scale, coarse.scale)
        z, _ = weighted(only_mean.found(), layer)
        np.testing.assert_allclose(np.average(z, axis=1, weights=w) / scale, mean_y / scale, atol=1e-4)
    assert inside > 50


def test_affine_lowers_the_error(layers: dict[str, Layer]) -> None:
    for layer in layers.values():
        before, after = (error(found.found(), layer) for found in (layer, correct_affine(layer)))
        assert after <= before * (1 + 1e-4)


def error(found: Sequence[np.ndarray], layer: Layer) -> float:
    return sum(
        float((np.square(array.astype(np.float64) - expected) * weight).sum())
        for array, expected, weight in zip(found, layer.expected, layer.importance, strict=True)
    )


# rounding


def random_covariance(rng: np.random.Generator, columns: int, rank: int) -> np.ndarray:
    mixed = rng.normal(0, 1, (columns, rank)) * np.exp(rng.normal(0, 1.5, rank))
    covariance: np.ndarray = mixed @ mixed.T / rank
    return covariance + np.eye(columns) * (0.01 * np.trace(covariance) / columns + 1e-12)


def lost(weight: np.ndarray, integers: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.einsum("oi,ij,oj->o", integers - weight, covariance, integers - weight)


@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 90), st.floats(0.3, 200))
@settings(max_examples=120)
def test_dense_rounding_is_never_worse_than_nearest(seed: int, columns: int, rank: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    covariance, weight = random_covariance(rng, columns, rank), rng.uniform(-reach, reach, (4, columns))
    found = _round_dense(weight, covariance)
    assert np.abs(found).max() <= 127
    assert (found == np.rint(found)).all()
    nearest = np.clip(np.rint(weight), -127, 127)
    assert (lost(weight, found, covariance) <= lost(weight, nearest, covariance) * (1 + 1e-9)).all()


@given(st.integers(0, 10**6), st.integers(1, 25), st.floats(0.3, 200))
@settings(max_examples=60)
def test_depthwise_rounding_is_never_worse_than_nearest(seed: int, columns: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    covariance = np.stack([random_covariance(rng, columns, int(rng.integers(1, columns + 2))) for _ in range(3)])
    weight = rng.uniform(-reach, reach, (3, 2, columns))
    found = _round_small(weight, covariance)
    assert np.abs(found).max() <= 127
    assert (found == np.rint(found)).all()
    nearest = np.clip(np.rint(weight), -127, 127)
    for group in range(3):
        before, after = (lost(weight[group], side[group], covariance[group]) for side in (nearest, found))
        assert (after <= before * (1 + 1e-9)).all()


def test_learned_rounding_of_layers(layers: dict[str, Layer]) -> None:
    """Depthwise and dense: the output, less its mean, is nearer to the float's."""
    changed, ratios = 0, []
    for layer in layers.values():
        coarse = replace(layer, scale=channel_scale(layer.weight) * 8)
        shape = (-1, *[1] * (layer.weight.ndim - 1))
        nearest = coarse.with_integers(np.rint(layer.weight / coarse.scale.reshape(shape)))
        found = learn_rounding(nearest)
        assert found.integers.dtype == np.int8
        assert np.abs(found.integers.astype(int)).max() <= 127
        np.testing.assert_array_equal(found.scale, nearest.scale)
        changed += int((found.integers != nearest.integers).sum())
        before, after = (error(correct_affine(each, slope=False).found(), layer) for each in (nearest, found))
        ratios.append(after / before)
    assert changed > 100
    assert np.median(ratios) < 0.95
    assert max(ratios) < 1.1


def test_layers_of_many_columns_stay(layers: dict[str, Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_MOST_COLUMNS", 4)
    layer = next(iter(layers.values()))
    assert learn_rounding(layer) is layer


def test_patches_are_what_convolutions_read() -> None:
    checked = 0
    for seed in range(80):
        graph, label = random_windows(seed)
        node = next((node for node in graph.graph if node.name == "convolved"), None)
        if node is None:
            continue
        rng = np.random.default_rng(seed)
        x = rng.normal(0, 1, tuple(node.inputs[0].shape)).astype(np.float32)  # type: ignore[union-attr, arg-type]
        weight, bias = (value.const_value.numpy() for value in node.inputs[1:])  # type: ignore[union-attr]
        expected = run_alone(graph, node, x)
        layer: Any = SimpleNamespace(node=node, weight=weight, expected=[expected])
        groups, columns = node.attributes.get_int("group", 1) or 1, int(np.prod(weight.shape[1:]))
        places = rng.permutation(expected[0, 0].size)
        read = _patches(layer, x, places).reshape(groups, columns, -1)
        found = weight.reshape(groups, -1, columns) @ read
        flat = expected[0].reshape(len(bias), -1)[:, places]
        np.testing.assert_allclose(found.reshape(len(bias), -1) + bias[:, None], flat, atol=1e-4, err_msg=label)
        checked += 1
    assert checked > 25


def run_alone(graph: ir.Model, node: ir.Node, x: np.ndarray) -> np.ndarray:
    import onnx

    proto = ir.to_proto(graph)
    data = onnx.utils.Extractor(proto).extract_model([node.inputs[0].name], [node.outputs[0].name])
    result: np.ndarray = new_session(data.SerializeToString()).run(None, {node.inputs[0].name: x})[0]
    return result


@pytest.mark.parametrize("recipe", [replace(PLAIN, affine="mean"), replace(PLAIN, rounding=True, affine="slope")])
def test_a_finished_plan_is_the_network_that_was_walked(prepared: Prepared, recipe: Recipe) -> None:
    importance = prepared.calibration.importance_of_places(prepared.tensors)
    draft = prepared.draft(recipe)
    plan = finish(prepared.graph, draft, recipe, prepared.tensors, importance)
    assert plan != draft
    walked: list[Layer] = []
    again: list[Layer] = []

    def mend(layer: Layer) -> Layer:
        rounded = learn_rounding(layer) if recipe.rounding else layer
        walked.append(correct_affine(rounded, recipe.affine == "slope"))
        return walked[-1]

    def keep(layer: Layer) -> Layer:
        again.append(layer)
        return layer

    network = apply_plan(prepared.graph, plan)
    walk(apply_plan(prepared.graph, draft), prepared.tensors, importance, mend)
    walk(network, prepared.tensors, importance, keep)
    for before, after in zip(walked, again, strict=True):
        np.testing.assert_array_equal(after.integers, before.integers)
        np.testing.assert_array_equal(network.convolution(after.node).weight, before.integers)
        np.testing.assert_array_equal(after.scale, before.scale)
        np.testing.assert_allclose(after.bias, before.bias, atol=1e-5 * np.abs(before.bias).max())
