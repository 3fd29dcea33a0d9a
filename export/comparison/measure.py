"""What separates two layers that compute the same: noise, ranges, saturation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yolo_edge.evaluation.snr import decibels
from yolo_edge.export.comparison.match import Pair, Values, arranged, rows_of
from yolo_edge.export.comparison.result import LayerResult, Stored
from yolo_edge.export.comparison.trace import INPUT, Storage, Trace

_RESCALED_DB, _RESCALED_LEAST = 3.0, 8.0
_SCALED = 0.15  # logarithm of slopes: noise alone makes them a little flatter
_SMALL = 0.01  # of the largest value: what of that becomes 0 is lost


@dataclass
class _Tally:
    """Sums over pictures and places, channel by channel."""

    slope: np.ndarray | None = None  # second → first, where channels were rescaled
    shift: np.ndarray | None = None
    signal: float = 0.0
    noise: float = 0.0
    stored_noise: float = 0.0
    product: float = 0.0
    other: float = 0.0
    count: int = 0
    saturated: int = 0
    large: int = 0
    vanished: int = 0
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))

    def add(self, first: np.ndarray, second: np.ndarray, storage: Storage | None) -> None:
        """Count one picture; both are [channels, places]."""
        x, y = first.astype(np.float64), second.astype(np.float64)
        units = x
        if self.slope is not None and self.shift is not None:
            y = y * self.slope[:, None] + self.shift[:, None]
            units = (x - self.shift[:, None]) / self.slope[:, None]
        self.signal += float(np.square(x).sum())
        self.noise += float(np.square(x - y).sum())
        self.product += float((x * y).sum())
        self.other += float(np.square(y).sum())
        self.count += x.size
        if storage is not None:
            low, high = storage.bounds
            half = storage.scale / 2
            self.saturated += int(((units < low - half) | (units > high + half)).sum())
            lost = storage.held(units) - units
            if self.slope is not None:
                lost = lost * self.slope[:, None]
            self.stored_noise += float(np.square(lost).sum())
            large = np.abs(x) >= _SMALL * np.abs(x).max()
            self.large += int(large.sum())
            self.vanished += int((large & (np.abs(units) < half)).sum())
        smallest, largest = x.min(axis=1), x.max(axis=1)
        self.low = smallest if not self.low.size else np.minimum(self.low, smallest)
        self.high = largest if not self.high.size else np.maximum(self.high, largest)


class Measurement:
    """Compares matched layers picture by picture."""

    def __init__(
        self,
        first: Trace,
        second: Trace,
        pairs: Sequence[Pair],
        values: Sequence[tuple[Values, Values]],
        roles: Mapping[str, str],
        known: bool,
    ):
        """Find out which layers are rescaled, from a few pictures.

        Args:
            first: The float file.
            second: The other.
            pairs: Of `match`.
            values: What both gave, one entry a picture.
            roles: Name of a raw head → what it says.
            known: The second file says how its raw heads are had, so that they may be rescaled.
        """
        self._roles, self._known = roles, known
        self._first, self._second, self._pairs = first, second, list(pairs)
        self._tallies = [_Tally(*self._rescaling(pair, values)) for pair in self._pairs]
        self.pictures = 0
        self._rescaled: set[int] = set()

    def add(self, first: Values, second: Values) -> None:
        """Count one picture."""
        self.pictures += 1
        for pair, tally in zip(self._pairs, self._tallies, strict=True):
            x, y = self._rows(pair, first, second)
            tally.add(x, y, self._second.layers[pair.second].storage)

    def results(self) -> list[LayerResult]:
        """All layers, what adds most noise first."""
        tallies = {pair.first: tally for pair, tally in zip(self._pairs, self._tallies, strict=True)}
        noise = {i: tally.noise / tally.signal if tally.signal else 0.0 for i, tally in tallies.items()}
        self._rescaled = {i for i, tally in tallies.items() if tally.slope is not None}
        found = [self._result(pair, tallies[pair.first], noise) for pair in self._pairs]
        return sorted(found, key=lambda item: (-item.added, item.sqnr_db))

    def _rows(self, pair: Pair, first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
        x = first[pair.first]
        return rows_of(x), rows_of(arranged(second[pair.second], x.shape, pair.order))

    def _rescaling(
        self, pair: Pair, values: Sequence[tuple[Values, Values]]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Slope and shift of each channel, where they explain what is different."""
        if self._first.layers[pair.first].name in self._roles and not self._known:
            return None, None
        parts = [self._rows(pair, a, b) for a, b in values]
        x, y = (np.concatenate([part[i] for part in parts], axis=1).astype(np.float64) for i in (0, 1))
        raw = float(np.square(x - y).sum())
        signal = float(np.square(x).sum())
        if not signal or decibels(signal, raw) > 25:
            return None, None
        mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
        moved = y - mean_y[:, None]
        variance = np.square(moved).mean(axis=1)
        slope = np.where(variance > 0, ((x - mean_x[:, None]) * moved).mean(axis=1) / np.maximum(variance, 1e-30), 0)
        fine = slope > 0
        slope = np.where(fine, slope, 1.0)
        shift = np.where(fine, mean_x - slope * mean_y, 0.0)
        fitted = float(np.square(x - (y * slope[:, None] + shift[:, None])).sum())
        better = decibels(signal, fitted)
        share = np.square(x).sum(axis=1) / signal
        off = float(np.sqrt((share * np.square(np.log(slope))).sum()))
        moved_by = float((share * np.abs(shift)).sum()) / float(np.sqrt(signal / x.size))
        if better < max(_RESCALED_LEAST, decibels(signal, raw) + _RESCALED_DB) or max(off, moved_by) < _SCALED:
            return None, None
        return slope, shift

    def _read_noise(self, number: int, noise: dict[int, float]) -> float:
        """The largest noise of what a layer reads, through layers without a counterpart."""
        found, waiting, seen = 0.0, list(self._first.layers[number].inputs), set[int]()
        while waiting:
            source = waiting.pop()
            if source in seen:
                continue
            seen.add(source)
            if source in noise:
                found = max(found, noise[source])
            elif self._first.layers[source].kind != INPUT:
                waiting += self._first.layers[source].inputs
        return found

    def _result(self, pair: Pair, tally: _Tally, noise: dict[int, float]) -> LayerResult:
        layer, other = self._first.layers[pair.first], self._second.layers[pair.second]
        storage, own = other.storage, noise[pair.first]
        widths = tally.high - tally.low
        stored = None
        if storage is not None:
            stored = Stored(
                dtype=storage.dtype, scale=storage.scale, zero_point=storage.zero_point, range=storage.bounds
            )
        return LayerResult(
            name=layer.name,
            op=layer.op,
            kind=layer.kind,
            quantized_name=other.name,
            quantized_op=other.op,
            matched_by=pair.by,
            similarity=round(pair.similarity, 4),
            channels=len(tally.low),
            role=self._roles.get(layer.name),
            sqnr_db=round(decibels(tally.signal, tally.noise), 2),
            added=float(f"{max(own - self._read_noise(pair.first, noise), 0.0):.4g}"),
            storage_sqnr_db=None if stored is None else round(decibels(tally.signal, tally.stored_noise), 2),
            weight_sqnr_db=self._weight_noise(pair),
            cosine=round(tally.product / max((tally.signal * tally.other) ** 0.5, 1e-300), 5),
            saturated=tally.saturated / max(tally.count, 1),
            lost_small=tally.vanished / max(tally.large, 1),
            range=(float(tally.low.min()), float(tally.high.max())),
            widest=(float(widths.max()), float(np.median(widths))),
            stored=stored,
            weights=None if other.weights is None else (other.weights.dtype, other.weights.scales),
            rescaled=tally.slope is not None,
        )

    def _weight_noise(self, pair: Pair) -> float | None:
        """Of weights of one shape, each row scaled to fit: a scale of a row is made good behind it."""
        a, b = (trace.layers[i].weights for trace, i in ((self._first, pair.first), (self._second, pair.second)))
        if a is None or b is None or a.array.shape != b.array.shape:
            return None
        if self._rescaled.intersection(self._first.layers[pair.first].inputs):  # so are the columns of the weights
            return None
        x, y = (item.array.reshape(len(item.array), -1).astype(np.float64) for item in (a, b))
        gain = (x * y).sum(axis=1) / np.maximum(np.square(y).sum(axis=1), 1e-30)
        return round(decibels(float(np.square(x).sum()), float(np.square(x - y * gain[:, None]).sum())), 2)
