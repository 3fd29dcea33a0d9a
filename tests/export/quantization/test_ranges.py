"""How far integers reach, by each mode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.export.quantization.support import Prepared, depthwise_darknet
from tests.support import random_darknet
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.quantization.ranges import MODES, choose_ranges, silu
from yolo_edge.export.quantization.structure import SIGMOID, Structure


@pytest.fixture(scope="module", params=["leaky", "swish"])
def prepared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("ranges"), 1, request.param))


def members(structure: Structure) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, group in structure.group.items():
        found.setdefault(group, []).append(name)
    return found


def square_error(statistics: TensorStatistics, plan: TensorPlan) -> float:
    values = statistics.values.astype(np.float32)
    return float((statistics.histogram * np.square(plan.stored(values).astype(np.float64) - values)).sum())


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(prepared: Prepared, mode: str) -> None:
    structure = Structure.of(prepared.graph)
    plans = choose_ranges(structure, prepared.statistics, mode)
    assert set(plans) == set(structure.group)
    joined = 0
    for names in members(structure).values():
        assert len({plans[name] for name in names}) == 1
        joined += len(names) > 1
        plan = plans[names[0]]
        if plan == SIGMOID:
            continue
        low = min(prepared.statistics[name].low.min() for name in names)
        high = max(prepared.statistics[name].high.max() for name in names)
        assert plan.bounds[0] <= 0 <= plan.bounds[1]
        assert plan.stored(np.zeros(1, np.float32)) == 0
        assert plan.bounds[0] >= min(low, 0) - plan.scale
        assert plan.bounds[1] <= max(high, 0) + plan.scale
        if mode == "minmax" or "images" in names:
            assert plan == TensorPlan.of_range(low, high)
        elif mode == "percentile":
            found = [prepared.statistics[name] for name in names]
            outside = [
                ((item.values < plan.bounds[0] - plan.scale) | (item.values > plan.bounds[1] + plan.scale))
                for item in found
            ]
            share = sum(float(item.histogram[out].sum()) for item, out in zip(found, outside, strict=True))
            # and what is in a bin with the limit
            assert share <= 6e-4 * sum(len(item.low) for item in found)
        elif mode == "mse":
            plain = TensorPlan.of_range(low, high)
            errors = [sum(square_error(prepared.statistics[name], p) for name in names) for p in (plan, plain)]
            assert errors[0] <= errors[1] * 1.001
    assert joined


def test_mse_against_brute_force(prepared: Prepared) -> None:
    structure = Structure.of(prepared.graph)
    plans = choose_ranges(structure, prepared.statistics, "mse")
    for names in list(members(structure).values())[1:4]:
        if plans[names[0]] == SIGMOID:
            continue
        found = [prepared.statistics[name] for name in names]
        low, high = min(item.low.min() for item in found), max(item.high.max() for item in found)
        candidates = [
            TensorPlan.of_range(a * low, b * high) for a in np.linspace(0.1, 1, 10) for b in np.linspace(0.1, 1, 10)
        ]
        least = min(sum(square_error(item, plan) for item in found) for plan in candidates)
        assert sum(square_error(item, plans[names[0]]) for item in found) <= least * 1.02


@pytest.mark.parametrize("power", [2, 4])
def test_auto_leaves_less_behind_the_activation(prepared: Prepared, power: float) -> None:
    structure = Structure.of(prepared.graph)
    plans = choose_ranges(structure, prepared.statistics, "auto", power)
    plain = choose_ranges(structure, prepared.statistics, "minmax")
    silus = {node.inputs[0].name for node in structure.graph.graph if node.op_type == "Sigmoid" and node.inputs[0]}
    leaky = {node.inputs[0].name for node in structure.graph.graph if node.op_type == "LeakyRelu" and node.inputs[0]}

    def error(name: str, plan: TensorPlan) -> float:
        found = prepared.statistics[name]
        held, exact = plan.stored(found.values.astype(np.float32)).astype(np.float64), found.values
        if name in silus:
            held, exact = silu(held), silu(exact)
        elif name in leaky:
            held, exact = (np.maximum(x, 0.1 * x) for x in (held, exact))
        return float((found.energy * np.abs(held - exact) ** power).sum())

    for names in members(structure).values():
        if plans[names[0]] != SIGMOID and "images" not in names:
            chosen, other = (sum(error(name, found[name]) for name in names) for found in (plans, plain))
            assert chosen <= other * 1.001, names


def test_sigmoids_are_fixed(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, 0, "swish"), 1)
    structure = Structure.of(prepared.graph)
    gates = [node for node in structure.graph.graph if node.op_type == "Sigmoid"]
    assert gates
    for mode in MODES:
        plans = choose_ranges(structure, prepared.statistics, mode)
        assert {plans[node.outputs[0].name or ""] for node in gates} == {SIGMOID}


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    prepared = Prepared.of(random_darknet(tmp_path, seed), 2)
    structure = Structure.of(prepared.graph)
    for mode in MODES:
        plans = choose_ranges(structure, prepared.statistics, mode)
        assert all(plans[name] == plans[group] for name, group in structure.group.items())


def test_tensors_whose_influence_is_not_known_are_not_cut_blindly(prepared: Prepared) -> None:
    structure = Structure.of(prepared.graph)
    silent = {name: replace(found, energy=np.zeros_like(found.energy)) for name, found in prepared.statistics.items()}
    plans, by_square = (
        choose_ranges(structure, statistics, mode)
        for statistics, mode in ((silent, "auto"), (prepared.statistics, "mse"))
    )
    activated = {node.inputs[0].name for node in structure.graph.graph if node.op_type in ("LeakyRelu", "Sigmoid")}  # type: ignore[union-attr]
    for names in members(structure).values():
        if not activated & set(names):
            for name in names:
                found = prepared.statistics[name]
                assert square_error(found, plans[name]) <= 30 * square_error(found, by_square[name]), name
