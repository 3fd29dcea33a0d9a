"""What a power meter read over time, and the energy in any part of it."""

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np

from yolo_edge.ondevice.power.meter import AMPERES, JOULES, VOLTS, WATTS, Column


@dataclass(frozen=True)
class PowerTrace:
    """Readings of one meter.

    Attributes:
        kind: Of the meter.
        scope: What it sees; see `PowerMeter`.
        estimated: Whether the hardware computes its figures from a model.
        total: The rails whose sum is what `scope` says.
        columns: Of a reading.
        times: Seconds of each reading on the clock of what was measured, float64 [n], rising.
        values: As read, in the units of the columns, float64 [n, columns]; NaN: not read.
    """

    kind: str
    scope: str
    estimated: bool
    total: Tuple[str, ...]
    columns: Tuple[Column, ...]
    times: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.times), len(self.columns)):
            raise ValueError(f"expected {len(self.times)} x {len(self.columns)} values, got {self.values.shape}")
        if len(self.times) > 1 and not (np.diff(self.times) > 0).all():
            raise ValueError("the times of a trace rise")
        if len({_quantity(self.columns, rail) for rail in self.total}) != 1:
            raise ValueError("a total is of power or of energy")

    @property
    def rate(self) -> float:
        """Readings a second, the median; 0 of less than two."""
        return float(1 / np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0

    @property
    def counts(self) -> bool:
        """Whether the meter counts energy itself, so that nothing between two readings is lost."""
        return _quantity(self.columns, self.total[0]) == "energy"

    def watts(self) -> Tuple[np.ndarray, np.ndarray]:
        """The total over time, as times and watts; of a counter the means between readings, at their middles."""
        times, energy, power = self._total()
        if power is not None:
            return times, power
        return (times[1:] + times[:-1]) / 2, np.diff(energy) / np.diff(times)

    def joules(self, starts: Sequence[float], ends: Sequence[float]) -> np.ndarray:
        """The energy of windows; NaN where readings do not reach over both ends.

        Between two readings power goes straight from the one to the other (the trapezoidal rule), that of a counter
        stays the same. A window's ends are interpolated.

        Args:
            starts: Seconds, [windows].
            ends: Seconds, [windows].

        Returns:
            Joules, float64 [windows].
        """
        times, energy, power = self._total()
        edges = np.stack([np.asarray(starts, np.float64), np.asarray(ends, np.float64)])
        if len(times) < 2:
            return np.full(edges.shape[1:], np.nan)
        i = np.clip(np.searchsorted(times, edges, "right") - 1, 0, len(times) - 2)
        after, width = edges - times[i], times[i + 1] - times[i]
        if power is None:
            found = energy[i] + (energy[i + 1] - energy[i]) * after / width
        else:
            slope = (power[i + 1] - power[i]) / width
            found = energy[i] + power[i] * after + slope * after**2 / 2
        outside = (edges < times[0]) | (edges > times[-1])
        return np.asarray(np.diff(np.where(outside, np.nan, found), axis=0)[0])

    def largest_gap(self, start: float, end: float) -> float:
        """Longest time without a reading in a window, in seconds; infinite where its ends are not between readings."""
        times = self._total()[0]
        if len(times) < 2 or start < times[0] or end > times[-1]:
            return float("inf")
        first = int(np.searchsorted(times, start, "right")) - 1
        last = int(np.searchsorted(times, end, "left"))
        return float(np.diff(times[first : last + 1]).max(initial=0.0))

    def readings(self, start: float, end: float) -> int:
        """How many readings of the total there are in a window; of a counter, how often it had moved."""
        times, energy, power = self._total()
        if power is None:
            moved = np.concatenate([np.zeros(min(1, len(times)), bool), np.diff(energy) > 0])
            times = times[moved]
        return int(np.searchsorted(times, end, "right") - np.searchsorted(times, start, "left"))

    def _total(self) -> Tuple[np.ndarray, np.ndarray, "np.ndarray | None"]:
        """Times, joules since the first, watts (None of a counter); of readings that have all rails of the total."""
        cached: Tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = self.__dict__.get("_cached")
        if cached is None:
            cached = self._sum()
            self.__dict__["_cached"] = cached
        return cached

    def _sum(self) -> Tuple[np.ndarray, np.ndarray, "np.ndarray | None"]:
        needed = [i for i, column in enumerate(self.columns) if column.rail in self.total]
        whole = np.isfinite(self.values[:, needed]).all(axis=1)
        times, values = self.times[whole], self.values[whole]
        if self.counts:
            return times, sum((self._counted(rail, values) for rail in self.total), np.zeros(len(times))), None
        power = sum((self._power(rail, values) for rail in self.total), np.zeros(len(times)))
        steps = np.diff(times) * (power[1:] + power[:-1]) / 2
        return times, np.concatenate([np.zeros(min(1, len(times))), np.cumsum(steps)]), power

    def _power(self, rail: str, values: np.ndarray) -> np.ndarray:
        found = {column.unit: values[:, i] for i, column in enumerate(self.columns) if column.rail == rail}
        for unit, factor in WATTS.items():
            if unit in found:
                return np.asarray(found[unit] * factor)
        volts = next(found[unit] * factor for unit, factor in VOLTS.items() if unit in found)
        return np.asarray(next(volts * found[unit] * factor for unit, factor in AMPERES.items() if unit in found))

    def _counted(self, rail: str, values: np.ndarray) -> np.ndarray:
        """Joules since the first reading. A counter that is lower than before has begun again."""
        number = next(i for i, c in enumerate(self.columns) if c.rail == rail and c.unit in JOULES)
        column = self.columns[number]
        steps = np.diff(values[:, number])
        if (steps < 0).any():
            if column.wrap is None:
                raise ValueError(f"the counter of {rail} falls, and where it begins again is not known")
            steps = np.where(steps < 0, steps + column.wrap, steps)
            if (steps < 0).any():
                raise ValueError(f"the counter of {rail} falls by more than its range")
        return np.concatenate([np.zeros(min(1, len(values))), np.cumsum(steps)]) * JOULES[column.unit]


def _quantity(columns: Sequence[Column], rail: str) -> str:
    """What a rail's columns give: power, or energy."""
    units: Dict[str, List[str]] = {"power": [], "energy": [], "volts": [], "amperes": []}
    for column in columns:
        if column.rail == rail:
            for name, table in (("power", WATTS), ("energy", JOULES), ("volts", VOLTS), ("amperes", AMPERES)):
                if column.unit in table:
                    units[name].append(column.unit)
    if len(units["energy"]) == 1:
        return "energy"
    if len(units["power"]) == 1 or (len(units["volts"]) == len(units["amperes"]) == 1):
        return "power"
    raise ValueError(f"the columns of {rail} give no power: {units}")
