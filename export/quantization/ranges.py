"""From statistics to scales: how far the integers of each tensor reach.

`minmax` takes what was seen; `percentile` leaves out one value in ten thousand on each side; `mse` minimises the
square error; `auto` minimises the error that is left behind the activation that follows, weighted with how much of it
reaches the heads. Tensors that share their parameters are looked at together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import onnx_ir as ir

from yolo_edge.export.quantization.calibration import TensorStatistics, join
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.quantization.structure import SIGMOID, Structure, activation_behind, name_of

MODES = ("minmax", "percentile", "mse", "auto")

_POINTS = 2048
_OUTSIDE = 1e-4  # of the values, on each side, for percentile
_FRACTIONS = np.linspace(0.1, 1.0, 19)

Activation = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Member:
    """One tensor of a group: its values, how much an error on each weighs, and what becomes of them."""

    values: np.ndarray
    weights: np.ndarray
    activation: Activation | None

    @cached_property
    def expected(self) -> np.ndarray:
        """The values behind the activation."""
        return self.values if self.activation is None else self.activation(self.values)


def choose_ranges(
    structure: Structure,
    statistics: Mapping[str, TensorStatistics],
    mode: str = "auto",
    power: float = 2,
) -> dict[str, TensorPlan]:
    """Scale and zero-point of every tensor that int8 nodes touch.

    Args:
        structure: Of the graph.
        statistics: Of its tensors, as they are quantized (equalised).
        mode: Of `MODES`.
        power: Of the error, for "auto": 2, or 4 to mind large errors more.
    """
    members: dict[str, list[str]] = {}
    for name, group in structure.group.items():
        members.setdefault(group, []).append(name)
    values = {name_of(value): value for value in structure.graph.graph.inputs}
    values.update({name_of(node.outputs[0]): node.outputs[0] for node in structure.graph.graph})
    plans = {}
    for names in members.values():
        plan = _fixed([values[name] for name in names], structure)
        if plan is None:
            plan = _choose(structure, [values[name] for name in names], statistics, mode, power)
        plans.update(dict.fromkeys(names, plan))
    return plans


def _fixed(values: list[ir.Value], structure: Structure) -> TensorPlan | None:
    producer = values[0].producer()
    if producer is not None and producer.op_type == "Sigmoid" and structure.is_int8(producer):
        return SIGMOID
    return None


def _choose(
    structure: Structure,
    values: list[ir.Value],
    statistics: Mapping[str, TensorStatistics],
    mode: str,
    power: float,
) -> TensorPlan:
    found = [statistics[name_of(value)] for value in values]
    low, high = min(float(item.low.min()) for item in found), max(float(item.high.max()) for item in found)
    if mode == "minmax" or any(value.is_graph_input() for value in values):
        return TensorPlan.of_range(low, high)
    if mode == "percentile":
        points, shares = join(found, _POINTS, [item.histogram for item in found])
        reached = np.cumsum(shares) / max(shares.sum(), 1e-300)
        inside = (reached > _OUTSIDE) & (reached < 1 - _OUTSIDE)
        kept = points[inside] if inside.any() else points
        return TensorPlan.of_range(float(kept[0]), float(kept[-1]))
    members = []
    for value, item in zip(values, found, strict=True):
        members.append(_member(structure, value, item) if mode == "auto" else _plain(item))
    return _search(members, low, high, power if mode == "auto" else 2)


def _plain(found: TensorStatistics) -> _Member:
    return _Member(*join([found], _POINTS, [found.histogram]), None)


def _member(structure: Structure, value: ir.Value, found: TensorStatistics) -> _Member:
    following = activation_behind(value)
    activation = None
    if following is not None and structure.is_int8(following):
        activation = silu
        if following.op_type == "LeakyRelu":
            alpha = following.attributes.get_float("alpha") or 0.0
            activation = partial(_leaky, alpha)
    # where nothing is known of what errors do, all count alike: else the shortest range would seem the best
    weights = found.energy if found.energy.any() else found.histogram
    return _Member(*join([found], _POINTS, [weights]), activation)


def silu(x: np.ndarray) -> np.ndarray:
    """X · σ(x)."""
    result: np.ndarray = x / (1 + np.exp(-np.clip(x, -80, 80)))
    return result


def _leaky(alpha: float, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, alpha * x)


def _search(members: list[_Member], low: float, high: float, power: float) -> TensorPlan:
    """The best of a grid, then of a finer one around it."""
    best, center = (np.inf, TensorPlan.of_range(low, high)), (1.0, 1.0)
    for spread in (None, 0.04):
        lows, highs = (
            _FRACTIONS if spread is None else np.clip(c + spread * np.arange(-2, 3) / 2, 0.02, 1) for c in center
        )
        for a in np.unique(lows) if low < 0 else (1.0,):
            for b in np.unique(highs) if high > 0 else (1.0,):
                plan = TensorPlan.of_range(a * low, b * high)
                error = sum(_error(member, plan, power) for member in members)
                if error < best[0]:
                    best, center = (error, plan), (float(a), float(b))
    return best[1]


def _error(member: _Member, plan: TensorPlan, power: float) -> float:
    found = plan.stored(member.values)
    if member.activation is not None:
        found = member.activation(found)
    difference = found - member.expected
    return float((member.weights * (np.square(difference) if power == 2 else np.abs(difference) ** power)).sum())
