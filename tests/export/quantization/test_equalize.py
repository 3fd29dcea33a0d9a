"""Equalisation changes nothing but the ranges."""

from pathlib import Path

import numpy as np
import pytest

from tests.export.quantization.support import Prepared, all_tensors, assert_close, depthwise_darknet, in_float
from tests.support import random_darknet
from yolo_edge.export.quantization.apply import apply_plan
from yolo_edge.export.quantization.equalize import Equalisation, equalize
from yolo_edge.export.quantization.recipe import Recipe


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("activation", ["leaky", "relu"])
@pytest.mark.parametrize("seed", range(2))
def test_the_float_network_stays_the_same(tmp_path: Path, seed: int, activation: str, dense: bool) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, seed, activation), 2)
    found = equalize(prepared.graph, prepared.statistics, dense)
    assert found.divisor
    check_exact(prepared, found, dense)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks_stay_the_same(tmp_path: Path, seed: int, dense: bool) -> None:
    prepared = Prepared.of(random_darknet(tmp_path, seed), 2)
    check_exact(prepared, equalize(prepared.graph, prepared.statistics, dense), dense)


def check_exact(prepared: Prepared, found: Equalisation, dense: bool) -> None:
    recipe = Recipe("equalize", rescale=False, dense=dense, ranges="minmax")
    plan = in_float(prepared.draft(recipe))
    changed = [name for name, item in plan.convolutions.items() if item.output_factor or item.input_factor]
    assert bool(changed) == bool(found.divisor)
    network = apply_plan(prepared.graph, plan)
    tensor = np.random.default_rng(9).random(prepared.tensors[0].shape, dtype=np.float32)
    before, after = (all_tensors(graph, tensor) for graph in (prepared.graph, network.graph))
    for name, array in before.items():
        divisor = found.divisor.get(name, np.ones(array.shape[1])).reshape(1, -1, *[1] * (array.ndim - 2))
        assert_close(after[name] * divisor, array, 2e-5)
    for value in prepared.graph.graph.outputs:
        assert value.name not in found.divisor
    assert "images" not in found.divisor


@pytest.mark.parametrize("seed", range(3))
def test_the_noise_falls(tmp_path: Path, seed: int) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, seed), 3)
    found = equalize(prepared.graph, prepared.statistics)
    assert noise(prepared, found) < 0.8 * noise(prepared, Equalisation({}))


def noise(prepared: Prepared, found: Equalisation) -> float:
    """Σ_t D_t²/12 · Σ_c s_c² gain_tc, with the largest range of a channel instead of a smooth one."""
    slopes = {
        node.inputs[0].name: node.attributes.get_float("alpha")
        for node in prepared.graph.graph
        if node.op_type == "LeakyRelu" and node.inputs[0] is not None
    }
    total = 0.0
    for name, statistics in prepared.statistics.items():
        divisor = found.divisor.get(name, np.ones(len(statistics.low)))
        below, above = statistics.reach(slopes.get(name) or 1.0)
        step = ((below / divisor).max() + (above / divisor).max()) / 255
        total += step**2 / 12 * float((divisor**2 * statistics.gain).sum())
    return total


@pytest.mark.parametrize("activation", ["swish", "mish", "logistic"])
def test_nothing_goes_through_other_activations(tmp_path: Path, activation: str) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, 0, activation), 2)
    found = equalize(prepared.graph, prepared.statistics)
    # convolutions without an activation before depthwise ones are free all the same
    behind = {node.inputs[0].name for node in prepared.graph.graph if node.op_type in ("Sigmoid", "Mish", "Mul")}
    behind |= {node.outputs[0].name for node in prepared.graph.graph if node.op_type in ("Sigmoid", "Mish", "Mul")}
    assert behind
    assert not behind & set(found.divisor)


def test_dense_convolutions_pay_only_when_asked(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 2)
    free, dense = (equalize(prepared.graph, prepared.statistics, flag) for flag in (False, True))
    assert set(free.divisor) < set(dense.divisor)
    for node in prepared.graph.graph:
        if node.op_type == "Conv" and (node.attributes.get_int("group", 1) or 1) == 1:
            assert node.inputs[0] is not None
            assert node.inputs[0].name not in free.divisor


def test_without_statistics_nothing_is_done(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 1)
    for dense in (False, True):
        assert equalize(prepared.graph, {}, dense) == Equalisation({})


def test_channels_that_say_nothing_keep_the_rest_finite(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 1)
    flat = [np.zeros_like(prepared.tensors[0])]
    prepared.calibration.run(lambda: flat)
    for dense in (False, True):
        for divisor in equalize(prepared.graph, prepared.statistics, dense).divisor.values():
            assert np.isfinite(divisor).all()
            assert (divisor > 0).all()
