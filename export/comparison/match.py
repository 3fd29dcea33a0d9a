"""Which layer of one file is which of another: by weights, by what they give on the same pictures, by their place.

Names, numbers of operators and layouts differ between exporters; what a layer gives hardly does. Channels are compared
each by itself, so that files whose channels were scaled (equalisation) match too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_edge.export.comparison.trace import CONVOLUTION, INPUT, Layer, Trace

Values = Mapping[int, np.ndarray]

_PLACES = 256  # of a map that are compared, a picture
_LEAST = 0.3  # similarity: below, two layers are not taken for the same
_SAME_WEIGHTS, _LEAST_WEIGHTS = 0.95, 4
_AWAY, _OTHER_KIND = 0.02, 0.02  # what the distance in the files, and another kind of operator, takes off


@dataclass(frozen=True)
class Pair:
    """Two layers that compute the same.

    Attributes:
        first: Number of the layer in the first file.
        second: In the second.
        order: The axes of the second's result, those of length 1 left out, in the order of the first's.
        by: "weights", "activations" or "place".
        similarity: Correlation of their channels, each weighted with its variance in the first.
    """

    first: int
    second: int
    order: tuple[int, ...]
    by: str
    similarity: float


def rows_of(array: np.ndarray) -> np.ndarray:
    """[channels, places] of a result: the second axis of maps, else the shortest one."""
    shape = array.shape
    long = [axis for axis, side in enumerate(shape) if side > 1]
    axis = 1 if len(shape) >= 4 or not long else min(long, key=lambda i: shape[i])
    if not long:
        return array.reshape(1, -1)
    return np.moveaxis(array, axis, 0).reshape(shape[axis], -1)


def arranged(array: np.ndarray, shape: Sequence[int], order: Sequence[int]) -> np.ndarray:
    """A result of the second file in the layout that the first has."""
    result: np.ndarray = array.squeeze().transpose(tuple(order)).reshape(tuple(shape))
    return result


def match(first: Trace, second: Trace, values: Sequence[tuple[Values, Values]]) -> list[Pair]:
    """Match the layers of two files.

    Args:
        first: One file.
        second: The other.
        values: What both gave, one entry a picture.

    Returns:
        Pairs in the order of the first; layers without a counterpart are not among them.
    """
    rng = np.random.default_rng(0)
    places = {i: _places(first.layers[i].shape, len(values), rng) for i in values[0][0]}
    samples = {i: _Sample.of([a[i] for a, _ in values], places[i]) for i in values[0][0]}
    candidates: list[tuple[float, int, Pair]] = []
    by_size: dict[tuple[int, ...], list[int]] = {}
    for j in values[0][1]:
        by_size.setdefault(_size(second.layers[j].shape), []).append(j)
    for i, sample in samples.items():
        layer = first.layers[i]
        for j in by_size.get(_size(layer.shape), []):
            other = second.layers[j]
            best = Pair(i, j, (), "", -1.0)
            for order in _orders(layer.shape, other.shape):
                # layers of one size have their samples at places of their own
                arrays = [arranged(b[j], layer.shape, order) for _, b in values]
                found = sample.similarity(_Sample.of(arrays, places[i]))
                if found > best.similarity:
                    best = Pair(i, j, order, "activations", found)
            if not best.by:
                continue
            same = _same_weights(layer, other)
            away = abs(i / len(first.layers) - j / len(second.layers))
            score = best.similarity - _AWAY * away - _OTHER_KIND * (layer.kind != other.kind)
            if same >= _SAME_WEIGHTS:
                best = Pair(i, j, best.order, "weights", best.similarity)
                score = same + score
            if score >= _LEAST:
                candidates.append((score, i, best))
    pairs: dict[int, Pair] = {}
    taken: set[int] = set()
    for _, _, pair in sorted(candidates, key=lambda item: (-item[0], item[1], item[2].second)):
        if pair.first not in pairs and pair.second not in taken:
            pairs[pair.first] = pair
            taken.add(pair.second)
    _by_place(first, second, values, pairs, taken)
    return [pairs[i] for i in sorted(pairs)]


def _by_place(
    first: Trace,
    second: Trace,
    values: Sequence[tuple[Values, Values]],
    pairs: dict[int, Pair],
    taken: set[int],
) -> None:
    """What reads a matched layer, and is alone with its kind and size in that, matches too."""
    readers: dict[int, list[int]] = {}
    for j, layer in enumerate(second.layers):
        for source in layer.inputs:
            readers.setdefault(source, []).append(j)
    for i, layer in enumerate(first.layers):
        if i in pairs or layer.kind == INPUT or i not in values[0][0]:
            continue
        known = [pairs[source].second for source in layer.inputs if source in pairs]
        found = {
            j
            for source in known
            for j in readers.get(source, [])
            if j not in taken
            and second.layers[j].kind == layer.kind
            and _size(second.layers[j].shape) == _size(layer.shape)
        }
        if len(found) != 1:
            continue
        (j,) = found
        order = next(iter(_orders(layer.shape, second.layers[j].shape)), None)
        if order is not None:
            pairs[i] = Pair(i, j, order, "place", 0.0)
            taken.add(j)


@dataclass(frozen=True)
class _Sample:
    """Some places of each channel, less their mean and of length 1: [channels, places], with their variances."""

    rows: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray], places: Sequence[np.ndarray]) -> "_Sample":
        parts = [rows_of(array)[:, picked] for array, picked in zip(arrays, places, strict=True)]
        rows = np.concatenate(parts, axis=1).astype(np.float32)
        rows -= rows.mean(axis=1, keepdims=True)
        length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
        return cls(rows / np.maximum(length, 1e-12), np.square(length[:, 0]).astype(np.float64))

    def similarity(self, other: "_Sample") -> float:
        total = float(self.variance.sum())
        if total <= 0:
            return 0.0
        return float(((self.rows * other.rows).sum(axis=1) * self.variance).sum() / total)


def _places(shape: Sequence[int], pictures: int, rng: np.random.Generator) -> list[np.ndarray]:
    count = rows_of(np.empty(tuple(shape), np.bool_)).shape[1]
    return [rng.choice(count, _PLACES, replace=False) if count > _PLACES else np.arange(count) for _ in range(pictures)]


def _size(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(side for side in shape if side > 1))


def _orders(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, ...]]:
    """Axes of the second, those of length 1 left out, in the order of the first: as they are, or channels last."""
    a, b = ([side for side in shape if side > 1] for shape in (first, second))
    rank = len(b)
    plain, last = tuple(range(rank)), (rank - 1, *range(rank - 1))
    first_to_last = (*range(1, rank), 0)
    orders = dict.fromkeys([plain, last, first_to_last] if rank else [plain])
    return [order for order in orders if [b[axis] for axis in order] == a]


def _same_weights(a: Layer, b: Layer) -> float:
    """How alike the weights of two convolutions are, row by row; 0 where they cannot be compared."""
    if a.kind != CONVOLUTION or a.weights is None or b.weights is None:
        return 0.0
    x, y = a.weights.array, b.weights.array
    if x.shape != y.shape or x[0].size < _LEAST_WEIGHTS:
        return 0.0
    x, y = (array.reshape(len(array), -1).astype(np.float64) for array in (x, y))
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(np.median((x * y).sum(axis=1) / np.maximum(lengths, 1e-30)))
