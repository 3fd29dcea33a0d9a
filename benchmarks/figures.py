"""Figures of one cell from the samples of its repeats."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_edge.benchmarks.host import Peak
from yolo_edge.benchmarks.journal import CellRepeat
from yolo_edge.benchmarks.power import CellPower, Power
from yolo_edge.benchmarks.results import Latency, RatioVerdict, Samples
from yolo_edge.benchmarks.samples import ENCODING, TICK_NS, decode, decode_bytes, encode, encode_bytes
from yolo_edge.timing import Ratio, median_interval, paired_ratio

LEAST_REPEATS = 3  # fewer say too little
_LEAST_ROUNDS = 10  # undisturbed
_IDLE_DRIFT = 0.1  # of the power above idle, or of a tenth of that of the idle machine: less does not matter
_PEAK_NOISE = 0.05  # by which the peak of more threads may be below that of fewer, on as many CPUs
Medians = tuple[NDArray[np.float64], NDArray[np.float64]]  # of undisturbed inferences, of all


def verdict_of(ratio: Ratio, repeats: int) -> RatioVerdict:
    """What a ratio of times says: "no difference" where its interval holds 1.

    The luck of a process shows in other processes only: of less than three repeats no interval can be trusted.
    """
    if repeats < LEAST_REPEATS:
        return "too few repeats"
    if ratio.low <= 1 <= ratio.high:
        return "no difference"
    return "slower" if ratio.value > 1 else "faster"


def compare_medians(a: Medians, b: Medians) -> tuple[Ratio, int, bool]:
    """The ratio from the undisturbed rounds, or from all where those are too few; their number; whether undisturbed."""
    both = np.isfinite(a[0]) & np.isfinite(b[0])
    if both.any(axis=1).sum() >= min(LEAST_REPEATS, len(both)) and both.sum() >= min(_LEAST_ROUNDS, both.size):
        return paired_ratio(a[0], b[0]), int(both.sum()), True
    return paired_ratio(a[1], b[1]), both.size, False


def merge_samples(parts: Sequence[CellRepeat]) -> Samples:
    """The samples of all repeats of one cell as one."""
    names = list(parts[0].stages)
    values = {name: np.concatenate([decode(part.stages[name], sum(part.turns)) for part in parts]) for name in names}
    return Samples(
        tick_ns=TICK_NS,
        encoding=ENCODING,
        repeats=len(parts),
        turns=tuple(count for part in parts for count in part.turns),
        at_s=tuple(at for part in parts for at in part.at_s),
        windows=tuple(window for part in parts for window in part.windows),
        stages={name: encode(values[name] * 1e6) for name in names},
        cpu=_merge_cpu(parts),
    )


def _merge_cpu(parts: Sequence[CellRepeat]) -> str | None:
    found = [decode_bytes(part.cpu, sum(part.turns)) for part in parts if part.cpu is not None]
    return encode_bytes(np.concatenate(found)) if len(found) == len(parts) else None


def latency_of(turns: Sequence[NDArray[np.float64]], repeats: int) -> Latency:
    """Of the times of each turn, in milliseconds."""
    samples = np.concatenate(turns)
    p50, p90, p99 = (milliseconds(value) for value in np.percentile(samples, [50, 90, 99]))
    low, high = median_interval(turns, repeats)
    return Latency(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=milliseconds(samples.mean()),
        n=len(samples),
        ci95=(milliseconds(low), milliseconds(high)),
    )


def idle_drift(how: CellPower | None, power: Power | str) -> list[str]:
    """A note where the power of the idle machine changed so much that it matters to the net energy."""
    if how is None or isinstance(power, str):
        return []
    changes = [after - before for before, after in power.idle_w if before is not None and after is not None]
    change = float(np.mean(changes)) if changes else 0.0
    above = how.gross_w - how.idle_w
    if abs(change) <= _IDLE_DRIFT * max(above, _IDLE_DRIFT * how.idle_w):
        return []
    return [
        f"net energy is uncertain: the idle machine took {change:+.2f} W after a repeat, compared with before, this "
        f"cell {above:.2f} W more than idle"
    ]


def milliseconds(value: float | np.floating) -> float:
    """To a nanosecond."""
    return round(float(value), 6)


def least_of(values: Iterable[float | None]) -> float | None:
    """The least of a value that is compared with a limit; None: it never was; NaN counts as the least."""
    known = [value for value in values if value is not None]
    return round(float(np.min(known)), 4) if known else None


def median_ms(values: Iterable[float]) -> float:
    """Their median."""
    return milliseconds(np.median(list(values)))


def peak_share(
    macs: int | None, p50: float, threads: int, peaks: Mapping[str, Peak]
) -> tuple[float | None, str | None]:
    """The share of the peak with as many threads; None, and why, where that peak cannot be one."""
    peak = peaks.get(str(threads))
    if not macs or peak is None or not p50:
        return None, None
    fewer = max((other.gflops for count, other in peaks.items() if int(count) < threads), default=0.0)
    share = 2 * macs / (p50 * 1e6) / peak.gflops
    if share > 1 or peak.gflops < fewer * (1 - _PEAK_NOISE):
        return None, f"of peak: none, the peak was disturbed ({peak.gflops:.0f} GFLOP/s with threads {threads})"
    return round(share, 4), None
