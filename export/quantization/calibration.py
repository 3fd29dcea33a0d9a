"""What goes through a network: histograms of every channel of every tensor, from pictures that stream by.

Two passes: the first finds how far each channel reaches, the second fills its histogram. Memory depends on the network
and not on the number of pictures.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_edge.export.graph import Graph, shape_of
from yolo_edge.export.quantization.gradients import Gradients
from yolo_edge.export.quantization.importance import importance
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import activation_behind, name_of
from yolo_edge.ondevice.spec import ModelSpec

BINS = 256
_BETA = 0.5  # of importance, beside an even share
_MOST = 100.0
_SAMPLED = 512  # places of a map that a picture gives to the histograms


@dataclass(frozen=True)
class TensorStatistics:
    """How the values of a tensor [1, channels, …] are distributed, channel by channel.

    Attributes:
        low: float64 [channels], the smallest value.
        high: float64 [channels], the largest value.
        histogram: float64 [channels, BINS], the share of values in equal bins between the two.
        energy: float64 [channels, BINS]: what errors of 1 on the values of a bin, or on what the activation that alone
            uses the tensor makes of them, add to the weighted noise energy at the heads.
        gain: float64 [channels]: what an error of 1 on every value of a channel adds.
    """

    low: np.ndarray
    high: np.ndarray
    histogram: np.ndarray
    energy: np.ndarray
    gain: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The middle of each bin, float64 [channels, BINS]."""
        width = (self.high - self.low) / BINS
        result: np.ndarray = self.low[:, None] + (np.arange(BINS) + 0.5) * width[:, None]
        return result

    def reach(self, below: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """How far integers have to reach, channel by channel: float64 [channels] below 0 and above.

        What is cut off there costs as much as 256 steps that reach as far cost by rounding.

        Args:
            below: What is left of errors below 0: the slope of a leaky ReLU.
        """
        weight = self.energy + 1e-6 * self.energy.sum(axis=1, keepdims=True) * self.histogram + 1e-30 * self.histogram
        values, total = self.values, weight.sum(axis=1, keepdims=True)
        found = []
        for sign, slope in ((-1, below), (1, 1.0)):
            side = np.maximum(sign * values, 0)
            order = slice(None) if sign > 0 else slice(None, None, -1)
            side, mass = side[:, order], weight[:, order]
            sums = [np.cumsum((mass * side**power)[:, ::-1], axis=1)[:, ::-1] for power in (0, 1, 2)]
            cut = np.square(slope) * (sums[2] - 2 * side * sums[1] + np.square(side) * sums[0])
            enough = cut <= np.square(side / 255) / 12 * total
            # the last bin always is enough
            found.append(np.take_along_axis(side, np.argmax(enough, axis=1)[:, None], axis=1)[:, 0])
        return found[0], found[1]

    def scaled(self, divisor: np.ndarray) -> "TensorStatistics":
        """The statistics of the tensor divided, channel by channel, by numbers above 0."""
        square = np.square(divisor)
        return TensorStatistics(
            self.low / divisor,
            self.high / divisor,
            self.histogram,
            self.energy * square[:, None],
            self.gain * square,
        )


def all_outputs(graph: Graph) -> Graph:
    """A copy of a graph that gives every tensor with channels."""
    model = graph.clone()
    for node in model.graph:
        value = node.outputs[0]
        if not value.is_graph_output() and len(shape_of(value)) >= 2:
            model.graph.outputs.append(value)
    return model


def reach(
    session: GraphSession, source: str, tensors: Iterable[np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """How far each channel reaches.

    Args:
        session: Of `all_outputs`.
        source: The name of its input.
        tensors: Inputs, float32 [1, 3, height, width].

    Returns:
        By name of a tensor the smallest and the largest values, float32 [channels].
    """
    low: dict[str, np.ndarray] = {}
    high: dict[str, np.ndarray] = {}
    for tensor in tensors:
        for name, value in {source: tensor, **session({source: tensor})}.items():
            smallest, largest = (each(_rows(value), axis=1) for each in (np.min, np.max))
            low[name] = np.minimum(low.get(name, smallest), smallest)
            high[name] = np.maximum(high.get(name, largest), largest)
    return low, high


class Calibration:
    """Collects statistics of the tensors of a graph.

    Attributes:
        statistics: Name of a value → what was seen.
        pictures: How many were seen.
    """

    def __init__(self, graph: Graph, spec: ModelSpec, seed: int = 0):
        """Prepare to run `graph`, canonical with expanded activations, whose raw heads `spec` describes."""
        self._spec = spec
        self._slopes_of = Gradients(graph)
        self._weighed_by = _activations(graph)
        self._heads = [name_of(value) for value in graph.graph.outputs]
        self._convolved = [name_of(node.outputs[0]) for node in graph.graph if node.op_type == "Conv"]
        self._input = name_of(graph.graph.inputs[0])
        self._session = GraphSession(all_outputs(graph))
        self._rng = np.random.default_rng(seed)
        self.pictures = 0
        self.statistics: Mapping[str, TensorStatistics] = {}

    def run(self, tensors: Callable[[], Iterable[np.ndarray]]) -> None:
        """Go over the pictures twice.

        Args:
            tensors: Gives the input tensors, float32 [1, 3, height, width], from the first on each time.
        """
        low, high = reach(self._session, self._input, tensors())
        tallies = {name: _Tally(low[name], high[name]) for name in low}
        self.pictures = 0
        for tensor in tensors():
            self.pictures += 1
            self._tally(tensor, tallies)
        self.statistics = {name: tally.statistics(self.pictures) for name, tally in tallies.items()}

    def importance_of_places(self, tensors: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
        """How much each place of what convolutions give counts: half evenly, half by what an error there adds.

        Args:
            tensors: Inputs, float32 [1, 3, height, width].

        Returns:
            Name of a convolution's output → float32 [rows, columns] a picture, on average 1 over all.
        """
        found: dict[str, list[np.ndarray]] = {name: [] for name in self._convolved}
        for tensor in tensors:
            for name, (_, slope) in self._slopes(tensor, found).items():
                found[name].append(np.square(slope[0]).mean(axis=0))
        for maps in found.values():
            mean = float(np.mean([each.mean() for each in maps])) or 1.0
            # a single place must not decide
            maps[:] = [(1 - _BETA) + _BETA * np.minimum(each / mean, _MOST) for each in maps]
        return found

    def _slopes(
        self, tensor: np.ndarray, names: Collection[str] | None = None
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Value and derivative of tensors, in a direction of random signs weighted with importance."""
        values = self._values(tensor)
        weights = importance(self._spec, {name: values[name] for name in self._heads})
        signs = np.array([-1, 1], np.float32)
        directions = {name: np.sqrt(weight) * self._rng.choice(signs, weight.shape) for name, weight in weights.items()}
        slopes = self._slopes_of(values, directions, names)
        return {name: (values[name], slope) for name, slope in slopes.items()}

    def _values(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        return {self._input: tensor, **self._session({self._input: tensor})}

    def _tally(self, tensor: np.ndarray, tallies: Mapping[str, "_Tally"]) -> None:
        found = self._slopes(tensor)
        for name, tally in tallies.items():
            if name in found:
                value, own = found[name]
                _, behind = found[self._weighed_by.get(name, name)]
                tally.add(value, own, behind, self._rng)


class _Tally:
    """The sums of one tensor."""

    def __init__(self, low: np.ndarray, high: np.ndarray):
        self._low, self._high = low, high
        self._factor = np.where(high > low, BINS / np.maximum(high - low, 1e-30), 0).astype(np.float32)[:, None]
        self._counts = np.zeros(len(low) * BINS)
        self._energy = np.zeros(len(low) * BINS)
        self._gain = np.zeros(len(low))

    def add(self, value: np.ndarray, own: np.ndarray, behind: np.ndarray, rng: np.random.Generator) -> None:
        """Count the values of one picture; `own` and `behind` are derivatives, of its shape."""
        value = _rows(value)
        channels, places = value.shape
        picked: slice | np.ndarray = slice(None)
        share = 1.0
        if places > _SAMPLED:
            # neighbours resemble each other: one of each stretch, at random
            edges = np.linspace(0, places, _SAMPLED + 1)
            picked = (edges[:-1] + rng.random(_SAMPLED) * np.diff(edges)).astype(np.int64)
            share = places / _SAMPLED
        bins = ((value[:, picked] - self._low[:, None]) * self._factor).astype(np.int32)
        np.clip(bins, 0, BINS - 1, out=bins)
        bins += (np.arange(channels, dtype=np.int32) * BINS)[:, None]
        flat = bins.reshape(-1)
        self._counts += np.bincount(flat, minlength=len(self._counts))
        self._gain += np.square(_rows(own)).sum(axis=1)
        energy = np.square(_rows(behind)[:, picked]).reshape(-1)
        self._energy += np.bincount(flat, energy, minlength=len(self._energy)) * share

    def statistics(self, pictures: int) -> TensorStatistics:
        """What comes of the sums."""
        shape = (len(self._low), BINS)
        counts = self._counts.reshape(shape)
        return TensorStatistics(
            self._low.astype(np.float64),
            self._high.astype(np.float64),
            counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
            self._energy.reshape(shape) / pictures,
            self._gain / pictures,
        )


def _rows(value: np.ndarray) -> np.ndarray:
    """[1, channels, …] as [channels, places]."""
    return value.reshape(value.shape[1], -1)


def _activations(graph: Graph) -> dict[str, str]:
    """Tensor → the result of the activation that alone uses it."""
    found = {}
    for node in graph.graph:
        following = activation_behind(node.outputs[0])
        if following is not None:
            found[name_of(node.outputs[0])] = name_of(following.outputs[0])
    return found


def join(parts: Sequence[TensorStatistics], bins: int, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """One histogram of the channels of several tensors.

    Args:
        parts: The tensors.
        bins: How many.
        weights: For each tensor the weight of each bin of each channel.

    Returns:
        The middle of each bin with something in it, and its weight.
    """
    values = np.concatenate([part.values.reshape(-1) for part in parts])
    shares = np.concatenate([weight.reshape(-1) for weight in weights])
    kept = shares > 0
    values, shares = values[kept], shares[kept]
    if not len(values):
        return np.zeros(1), np.zeros(1)
    counted, edges = np.histogram(values, bins, weights=shares)
    # the same bins again: given as edges they would be summed with the rounding errors of the whole
    sums, _ = np.histogram(values, bins, (edges[0], edges[-1]), weights=shares * values)
    filled = counted > 0
    return sums[filled] / counted[filled], counted[filled]
