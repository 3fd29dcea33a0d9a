"""Which file to deploy: the best of those measured that keeps within limits, and what limits the next better one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from yolo_edge.benchmarks.accuracy import Accuracy, accuracy_of
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, Latency, energy_scope, model_name
from yolo_edge.timing import mean_interval

Quantity = Literal["latency", "energy", "mAP", "mAP50", "memory", "size"]
Interval = tuple[float, float]

# quantity → its unit, and whether more is better
QUANTITIES: dict[Quantity, tuple[str, bool]] = {
    "latency": ("ms", False),
    "energy": ("mJ", False),
    "mAP": ("", True),
    "mAP50": ("", True),
    "memory": ("MB", False),
    "size": ("MB", False),
}


@dataclass(frozen=True)
class Basis:
    """Which of the measured figures count.

    Attributes:
        stage: "inference", or "total": picture to boxes.
        percentile: "p50", "p90" or "p99" of the times.
        energy: "gross", or "net": without what the idle machine takes.
        best: What the best has most of; of latency, energy, memory and size the least.
        certain: The whole 95 % interval has to be within a limit, not the figure alone.
        invalid: Cells that were throttled or disturbed may be chosen, too.
    """

    stage: Literal["inference", "total"] = "inference"
    percentile: Literal["p50", "p90", "p99"] = "p50"
    energy: Literal["gross", "net"] = "gross"
    best: Quantity = "mAP"
    certain: bool = False
    invalid: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure, and its 95 % interval where one is known."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Candidate:
    """A cell with what is known of it.

    Attributes:
        result: The run that it is from.
        cell: What was measured.
        accuracy: Of its model, where known.
        figures: By quantity; what was not measured is missing.
        scope: What the power meter saw; None without energy.
    """

    result: BenchmarkResult
    cell: Cell
    accuracy: Accuracy | None
    figures: Mapping[Quantity, Figure]
    scope: str | None = None

    @property
    def name(self) -> str:
        """For a person: file, runtime, threads."""
        return f"{model_name(self.cell.model)} ({self.cell.runtime}, threads {self.cell.threads})"


@dataclass(frozen=True)
class Margin:
    """How far a figure is from its limit.

    Attributes:
        quantity: Which.
        limit: At most, or at least for accuracies.
        figure: As measured; None: it was not, which keeps no limit.
        margin: Positive inside of the limit, in the quantity's unit; None without a figure.
        interval: Of the margin, from that of the figure, where one is known.
    """

    quantity: Quantity
    limit: float
    figure: Figure | None
    margin: float | None = None
    interval: Interval | None = None

    @property
    def kept(self) -> bool:
        """Whether the figure alone is within the limit."""
        return self.margin is not None and self.margin >= 0

    @property
    def clear(self) -> bool | None:
        """Whether the whole interval is on the side of the figure; None where there is no interval."""
        if self.interval is None:
            return None
        return self.interval[0] >= 0 if self.kept else self.interval[1] < 0

    @property
    def excess(self) -> float:
        """By what fraction of the limit the figure is beyond it; 0 within, infinite where it was not measured."""
        if self.margin is None:
            return math.inf
        if self.margin >= 0:
            return 0.0
        return -self.margin / self.limit if self.limit > 0 else math.inf

    def keeps(self, basis: Basis) -> bool:
        """Whether the limit is kept, as the basis wants it."""
        return self.kept and not (basis.certain and self.clear is not True)


@dataclass(frozen=True)
class Fit:
    """A candidate against the limits.

    Attributes:
        candidate: Which.
        margins: One a limit.
        limiting: Of `margins`, those that are not kept.
        distrusted: Why its times are not to be trusted, where they may not be chosen; else None.
    """

    candidate: Candidate
    margins: tuple[Margin, ...]
    limiting: tuple[Margin, ...] = ()
    distrusted: str | None = None

    @property
    def fits(self) -> bool:
        """Whether it may be chosen."""
        return not self.limiting and self.distrusted is None


@dataclass(frozen=True)
class Choice:
    """What was found.

    Attributes:
        fits: Of all candidates, best first as if there were no limits; what the goal is not known of comes last.
        chosen: The best of those that fit; None where none does.
        next: The next better one than that, and what limits it; None where nothing better was measured. Where none
            fits, and of several that are equally good: the one whose largest excess over a limit is the least.
    """

    fits: tuple[Fit, ...]
    chosen: Fit | None
    next: Fit | None

    @property
    def failures(self) -> dict[Quantity, int]:
        """Limit → how many candidates do not keep it."""
        found: dict[Quantity, int] = {}
        for fit in self.fits:
            for margin in fit.limiting:
                found[margin.quantity] = found.get(margin.quantity, 0) + 1
        return found


def choose(candidates: Sequence[Candidate], limits: Mapping[Quantity, float], basis: Basis = Basis()) -> Choice:
    """The best of the candidates that keeps all limits.

    Of two that are equally good the faster is taken, then the one with less energy, the smaller file, the first by
    name. A figure that was not measured keeps no limit. Emulated cells are never chosen; those that are not valid are
    where the basis allows it.

    Args:
        candidates: Of one device, their accuracies on one dataset, their energies of one scope.
        limits: Quantity → at most; of accuracies at least. In ms, mJ, MB, fractions.
        basis: Which figures count.
    """
    fits = sorted((_fit(candidate, limits, basis) for candidate in candidates), key=lambda fit: _rank(fit, basis))
    chosen = next((fit for fit in fits if fit.fits and _known(fit, basis)), None)
    real = [fit for fit in fits if not fit.candidate.cell.emulated and _known(fit, basis)]
    if chosen is None:
        return Choice(tuple(fits), None, min(real, key=_distance, default=None))
    goal = _goal(chosen, basis)
    better = [fit for fit in real if _goal(fit, basis) > goal]
    nearest = min((_goal(fit, basis) for fit in better), default=0.0)
    return Choice(
        tuple(fits), chosen, min((fit for fit in better if _goal(fit, basis) == nearest), key=_distance, default=None)
    )


def find_candidates(
    results: Sequence[BenchmarkResult], accuracies: Sequence[Accuracy], basis: Basis = Basis()
) -> list[Candidate]:
    """The cells of all results; of one that was measured several times the newest valid run, or the newest.

    Args:
        results: As read.
        accuracies: Measured on one dataset.
        basis: Which figures count.
    """
    newest: dict[tuple[object, ...], Candidate] = {}
    for result in sorted(results, key=lambda one: one.created):
        for cell in result.cells:
            key = (result.host.name, result.host.hardware, cell.sha256, cell.device, cell.runtime, cell.threads)
            before = newest.get(key)
            if before is not None and before.cell.valid and not cell.valid:
                continue
            accuracy = accuracy_of(cell.model, accuracies, cell.sha256)
            newest[key] = Candidate(result, cell, accuracy, _figures(cell, accuracy, basis), energy_scope(result, cell))
    return list(newest.values())


def _figures(cell: Cell, accuracy: Accuracy | None, basis: Basis) -> dict[Quantity, Figure]:
    found: dict[Quantity, Figure] = {"size": Figure(cell.bytes / 1e6)}
    if cell.memory_mb is not None:
        found["memory"] = Figure(cell.memory_mb)
    latency: Latency | None = cell.latency_ms if basis.stage == "inference" else cell.total_ms
    value = None if latency is None else getattr(latency, basis.percentile)
    if latency is not None and value is not None:  # native tools give no p90
        # the interval that results hold is that of the median
        found["latency"] = Figure(value, latency.ci95 if basis.percentile == "p50" else None)
    if cell.energy_mj is not None:
        repeats = getattr(cell.power, f"{basis.energy}_mj") if cell.power is not None else ()
        found["energy"] = Figure(getattr(cell.energy_mj, basis.energy), mean_interval(repeats))
    if accuracy is not None:
        found["mAP"] = Figure(accuracy.mAP50_95, accuracy.intervals.get("mAP50_95"))
        found["mAP50"] = Figure(accuracy.mAP50, accuracy.intervals.get("mAP50"))
    return found


def _fit(candidate: Candidate, limits: Mapping[Quantity, float], basis: Basis) -> Fit:
    margins = tuple(_margin(quantity, limit, candidate.figures.get(quantity)) for quantity, limit in limits.items())
    distrusted = None
    if candidate.cell.emulated:
        distrusted = "emulated: its times mean nothing"
    elif not candidate.cell.valid and not basis.invalid:
        distrusted = f"not valid: {candidate.cell.invalid_reason or 'no reason given'}"
    return Fit(candidate, margins, tuple(margin for margin in margins if not margin.keeps(basis)), distrusted)


def _margin(quantity: Quantity, limit: float, figure: Figure | None) -> Margin:
    if figure is None:
        return Margin(quantity, limit, None)
    more_is_better = QUANTITIES[quantity][1]
    sign = 1 if more_is_better else -1
    interval = None
    if figure.interval is not None:
        ends = [sign * (end - limit) for end in figure.interval]
        interval = (min(ends), max(ends))
    return Margin(quantity, limit, figure, sign * (figure.value - limit), interval)


def _distance(fit: Fit) -> tuple[float, bool]:
    return max((margin.excess for margin in fit.limiting), default=0.0), fit.distrusted is not None


def _known(fit: Fit, basis: Basis) -> bool:
    return basis.best in fit.candidate.figures


def _goal(fit: Fit, basis: Basis) -> float:
    """More is better."""
    value = fit.candidate.figures[basis.best].value
    return value if QUANTITIES[basis.best][1] else -value


def _rank(fit: Fit, basis: Basis) -> tuple[object, ...]:
    figures = fit.candidate.figures
    rest = [figures[name].value if name in figures else math.inf for name in ("latency", "energy", "size")]
    known = _known(fit, basis)
    return (not known, -_goal(fit, basis) if known else 0.0, *rest, fit.candidate.name)
