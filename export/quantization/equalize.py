"""Free equalisation: channels between a convolution and depthwise ones get ranges that suit a common scale.

Dividing a channel by s before a depthwise convolution, and its weights there by 1/s, changes nothing, through
activations that scale along (ReLU, leaky ReLU), pools, sums and joints; with a scale for each output channel it costs
the weights nothing either. s minimises the noise at the heads, Σ_t D_t²/12 · Σ_c s_c² gain_tc, where D_t is the step of
tensor t (a smooth maximum of its channels' ranges over 255), by Adam over log s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, constant_of, shape_of
from yolo_edge.export.quantization.apply import weights_of
from yolo_edge.export.quantization.calibration import TensorStatistics
from yolo_edge.export.quantization.structure import computed_inputs, name_of
from yolo_edge.export.unions import Unions

_POWER, _ROW_POWER = 60, 20  # of the smooth maximum

_STEPS, _RATE = 150, 0.03
_SMALLEST = 1e-8

# these leave channels where they are, and what is multiplied before them may be multiplied behind
_THROUGH = frozenset({"Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", "Resize"})


@dataclass(frozen=True)
class Equalisation:
    """What every channel is divided by.

    Attributes:
        divisor: Tensor → float64 [channels]; tensors all of whose divisors are 1 are not among them.
    """

    divisor: Mapping[str, np.ndarray]

    def of(self, value: ir.Value, channels: int) -> np.ndarray:
        """The divisors of a tensor."""
        return self.divisor.get(name_of(value), np.ones(channels))

    def factors(self, node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
        """What the rows and the columns of a convolution's weights are multiplied with."""
        source = computed_inputs(node)[0]
        out = 1 / self.of(node.outputs[0], shape_of(node.outputs[0])[1])
        return out, self.of(source, shape_of(source)[1])


def equalize(graph: Graph, statistics: Mapping[str, TensorStatistics], dense: bool = False) -> Equalisation:
    """Find the divisors of all channels that may have one.

    Args:
        graph: Canonical, with expanded activations.
        statistics: Of its tensors.
        dense: Also channels that dense convolutions read, whose weights pay for it.
    """
    links = _Links(graph, dense)
    tensors = [name for name in links.start if name in statistics]
    roots = np.concatenate([links.roots(name) for name in tensors]) if tensors else np.empty(0, np.int64)
    free = links.free[roots]
    used, variable = np.unique(roots[free], return_inverse=True)
    if not len(used):
        return Equalisation({})
    index = np.full(len(roots), -1)
    index[free] = variable
    sizes = [len(statistics[name].low) for name in tensors]
    of_tensor = dict(zip(tensors, np.split(index, np.cumsum(sizes)[:-1]), strict=True))
    terms: list[_Steps | _Rows] = [_Steps.of(graph, statistics, tensors, index)]
    if dense:
        terms += _row_terms(graph, statistics, of_tensor)
    logarithm = _minimise(terms, len(used))
    divisor = np.ones(len(roots))
    divisor[free] = np.exp(logarithm)[variable]
    parts = np.split(divisor, np.cumsum(sizes)[:-1])
    return Equalisation({name: part for name, part in zip(tensors, parts, strict=True) if (part != 1).any()})


def _minimise(terms: Sequence["_Steps | _Rows"], count: int) -> np.ndarray:
    """Adam (Kingma and Ba 2014) over the logarithms of the divisors, float64 [count]."""
    x, m, v = np.zeros(count), np.zeros(count), np.zeros(count)
    for step in range(1, _STEPS + 1):
        gradient, loss = np.zeros(count), 0.0
        for term in terms:
            loss += term.add_slopes(x, gradient)
        # only relative changes count
        gradient /= max(loss, 1e-300)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * np.square(gradient)
        x = x - _RATE * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-12)
    return x


@dataclass(frozen=True)
class _Steps:
    """The noise of rounding activations: Σ_t D_t²/12 · Σ_c s_c² gain_tc. Flat over the channels of all tensors."""

    tensor: np.ndarray
    count: int
    logarithms: tuple[np.ndarray, np.ndarray]
    gain: np.ndarray
    index: np.ndarray

    @classmethod
    def of(
        cls, graph: Graph, statistics: Mapping[str, TensorStatistics], tensors: Sequence[str], index: np.ndarray
    ) -> "_Steps":
        slopes = {
            name_of(node.inputs[0]): node.attributes.get_float("alpha") or 0.0
            for node in graph.graph
            if node.op_type == "LeakyRelu" and node.inputs[0] is not None
        }
        found = [statistics[name] for name in tensors]
        reach = [item.reach(slopes.get(name, 1.0)) for item, name in zip(found, tensors, strict=True)]
        low, high = (np.log(np.maximum(np.concatenate(side), _SMALLEST)) for side in zip(*reach, strict=True))
        return cls(
            np.repeat(np.arange(len(tensors)), [len(item.low) for item in found]),
            len(tensors),
            (low, high),
            np.concatenate([item.gain for item in found]) / (12 * 255**2),
            index,
        )

    def add_slopes(self, x: np.ndarray, gradient: np.ndarray) -> float:
        """The loss at x; its derivative is added to `gradient`."""
        has = self.index >= 0
        shift = np.where(has, x[self.index], 0)
        weighted = self.gain * np.exp(2 * shift)
        total = np.bincount(self.tensor, weighted, self.count)
        span, pulls = np.zeros(self.count), np.zeros(len(self.tensor))
        for side in self.logarithms:
            norm, share = _smooth_maximum(side - shift, self.tensor, self.count)
            span += norm
            pulls -= norm[self.tensor] * share
        slope = 2 * span[self.tensor] * pulls * total[self.tensor] + 2 * np.square(span)[self.tensor] * weighted
        gradient += np.bincount(self.index[has], slope[has], len(gradient))
        return float((np.square(span) * total).sum())


@dataclass(frozen=True)
class _Rows:
    """The noise of rounding the weights of a dense convolution: Σ_o gain_o R_o²/(12·127²) · Σ_i k² E[x_i²]/s_i².

    R_o is the largest weight of a row once its columns are multiplied by s.
    """

    logarithm: np.ndarray  # of the largest weight of each row and column [out, in]
    gain: np.ndarray  # [out], with the constants
    power: np.ndarray  # [in]
    index: np.ndarray  # [in]

    def add_slopes(self, x: np.ndarray, gradient: np.ndarray) -> float:
        """The loss at x; its derivative is added to `gradient`."""
        has = self.index >= 0
        shift = np.where(has, x[self.index], 0)
        reach = self.logarithm + shift
        top = reach.max(axis=1, keepdims=True)
        raised = np.exp(_ROW_POWER * (reach - top))
        sums = raised.sum(axis=1, keepdims=True)
        rows = np.square(np.exp(top) * sums ** (1 / _ROW_POWER))[:, 0] * self.gain
        through = self.power * np.exp(-2 * shift)
        total, energy = float(rows.sum()), float(through.sum())
        slope = 2 * (rows[:, None] * raised / sums).sum(axis=0) * energy - 2 * through * total
        gradient += np.bincount(self.index[has], slope[has], len(gradient))
        return total * energy


def _row_terms(
    graph: Graph, statistics: Mapping[str, TensorStatistics], index: Mapping[str, np.ndarray]
) -> list[_Rows]:
    terms = []
    for node in graph.graph:
        if node.op_type != "Conv" or (node.attributes.get_int("group", 1) or 1) != 1:
            continue
        source = name_of(computed_inputs(node)[0])
        if (index[source] < 0).all():
            continue
        weight, _ = weights_of(node)
        largest = np.abs(weight).reshape(*weight.shape[:2], -1).max(axis=2).astype(np.float64)
        found = statistics[source]
        power = (np.square(found.values) * found.histogram).sum(axis=1) * np.prod(weight.shape[2:])
        gain = statistics[name_of(node.outputs[0])].gain / (12 * 127**2)
        terms.append(_Rows(np.log(np.maximum(largest, 1e-12)), gain, power, index[source]))
    return terms


def _smooth_maximum(reach: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The p-norm of exp(reach) of each group, and the share that each element has in its derivative."""
    top = np.full(groups, -np.inf)
    np.maximum.at(top, group, reach)
    raised = np.exp(_POWER * (reach - top[group]))
    sums = np.bincount(group, raised, groups)
    return np.exp(top) * sums ** (1 / _POWER), raised / sums[group]


class _Links:
    """Which channels must be divided by the same number, and which may be divided at all."""

    def __init__(self, graph: Graph, dense: bool):
        self._dense = dense
        self.start: dict[str, int] = {}
        count = 0
        for value in [*graph.graph.inputs, *(node.outputs[0] for node in graph.graph)]:
            shape = shape_of(value)
            if len(shape) == 4:
                self.start[name_of(value)] = count
                count += shape[1]
        self._unions: Unions[int] = Unions()
        fixed = np.zeros(count, bool)
        for value in [*graph.graph.inputs, *graph.graph.outputs]:
            fixed[self._channels(value)] = True
        for node in graph.graph:
            self._link(node, fixed)
        self._roots = np.array([self._unions.find(i) for i in range(count)], np.int64)
        self.free = np.ones(count, bool)
        self.free[self._roots[fixed]] = False

    def roots(self, name: str) -> np.ndarray:
        """For each channel of a tensor the one that stands for its group."""
        start = self.start[name]
        following = [other for other in self.start.values() if other > start]
        end = min(following, default=len(self._roots))
        return self._roots[start:end]

    def _channels(self, value: ir.Value) -> np.ndarray:
        start = self.start.get(name_of(value))
        return np.empty(0, np.int64) if start is None else start + np.arange(shape_of(value)[1])

    def _link(self, node: ir.Node, fixed: np.ndarray) -> None:
        out, inputs = node.outputs[0], computed_inputs(node)
        alike = all(shape_of(value)[1:2] == shape_of(out)[1:2] for value in inputs)
        moved = node.op_type == "Resize" or len(inputs) == len(node.inputs)  # no constant is added
        if node.op_type in _THROUGH and alike and moved:
            for value in inputs:
                self._join(self._channels(value), self._channels(out))
            return
        if node.op_type == "Concat" and node.attributes.get_int("axis") == 1:
            self._join(np.concatenate([self._channels(value) for value in inputs]), self._channels(out))
            return
        if node.op_type == "Slice" and len(shape_of(out)) == 4:
            start, _, axis, _ = (int(np.asarray(constant_of(value)).reshape(())) for value in node.inputs[1:])
            if axis == 1:
                channels = self._channels(out)
                self._join(self._channels(inputs[0])[start : start + len(channels)], channels)
                return
        if node.op_type == "Conv":
            count = shape_of(inputs[0])[1]
            groups = node.attributes.get_int("group", 1) or 1
            if count == 1 or (groups != count and not (self._dense and groups == 1)):
                fixed[self._channels(inputs[0])] = True
            return
        for value in [*inputs, out]:
            fixed[self._channels(value)] = True

    def _join(self, a: np.ndarray, b: np.ndarray) -> None:
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            self._unions.join(j, i)
