"""Timing things side by side, so that a machine whose speed drifts slows all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    min_rounds: int = 5,
    max_rounds: int = 100_000,
) -> dict[str, Seconds]:
    """Time functions in rounds: each round calls each once, starting with another one than the round before.

    Every function is called once before, untimed.

    Args:
        calls: Name → function.
        seconds: Stop after so long, once `min_rounds` are done.
        min_rounds: At least so many.
        max_rounds: At most so many.

    Returns:
        Name → seconds of each round, in order.
    """
    names = list(calls)
    for call in calls.values():
        call()
    samples: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    for done in range(max_rounds):
        if done >= min_rounds and time.perf_counter() >= end:
            break
        start = done % len(names)
        for name in names[start:] + names[:start]:
            call = calls[name]
            began = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in samples.items()}


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def median_ratio(a: Seconds, b: Seconds, *, resamples: int = 1000, seed: int = 0) -> Ratio:
    """The median of `a` as a multiple of the median of `b`, both from the same rounds.

    The interval is a percentile bootstrap over blocks of √n successive rounds, since neighbours resemble each other
    (moving blocks: Künsch 1989); a and b are drawn together.

    Raises:
        ValueError: Not the same number of rounds, or none.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"expected the same number of rounds above 0, got {len(a)} and {len(b)}")
    picks = _picks(1, len(a), resamples, seed)
    ratios = np.median(a[picks], axis=1) / np.median(b[picks], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))


def paired_ratio(a: Seconds, b: Seconds, *, resamples: int = 1000, seed: int = 0) -> Ratio:
    """`a` as a multiple of `b`, round by round: what slows a whole round cancels.

    The estimate is the geometric mean of the rounds' ratios, after those that are furthest from the median of their
    repeat, a tenth to each side, were moved to where that tenth begins (winsorized: a round that something interrupted
    counts, but not more than others). For the interval repeats are drawn first, then blocks of √n successive rounds
    within each: a process keeps the luck of its start, such as where its memory lies, and only other processes show how
    much that is.

    Args:
        a: Seconds, [repeats, rounds]. Each repeat is of processes of its own. Rounds that are NaN are left out.
        b: The same rounds.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Not the same repeats and rounds, or none.
    """
    if a.shape != b.shape or a.ndim != 2 or a.size == 0:
        raise ValueError(f"expected the same repeats and rounds, got {a.shape} and {b.shape}")
    logarithms = np.log(a / b)
    known = np.isfinite(logarithms)
    repeats = int(known.any(axis=1).sum())
    if not repeats:
        raise ValueError("no round is known of both")
    logarithms, known = logarithms[known.any(axis=1)], known[known.any(axis=1)]
    medians = np.nanmedian(logarithms, axis=1, keepdims=True)
    winsorized = medians + np.clip(logarithms - medians, *np.nanpercentile(logarithms - medians, [10, 90]))
    value = float(winsorized[known].mean())
    picks = _picks(known.shape[0], known.shape[1], resamples, seed)
    counts = known.reshape(-1)[picks].sum(axis=1)
    sums = np.where(known, winsorized, 0).reshape(-1)[picks].sum(axis=1)
    low, high = _interval(sums[counts > 0] / counts[counts > 0], value, repeats)
    return Ratio(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)))


def unpaired_ratio(a: Seconds, b: Seconds, *, resamples: int = 1000, seed: int = 0) -> Ratio:
    """`a` as a multiple of `b`, from different runs: nothing cancels, and each side is drawn by itself.

    Args:
        a: Medians of rounds, [repeats, rounds].
        b: The same of the other run, which may have other numbers of both.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: One of them is empty.
    """
    if a.ndim != 2 or b.ndim != 2 or 0 in (a.size, b.size):
        raise ValueError(f"expected repeats and rounds, got {a.shape} and {b.shape}")
    sides = [
        np.log(np.median(side.reshape(-1)[_picks(side.shape[0], side.shape[1], resamples, seed + i)], axis=1))
        for i, side in enumerate((a, b))
    ]
    value = float(np.log(np.median(a) / np.median(b)))
    low, high = _interval(sides[0] - sides[1], value, min(len(a), len(b)))
    return Ratio(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)))


def median_interval(
    turns: Sequence[Seconds], repeats: int, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the median of all samples, by the same bootstrap as `paired_ratio`.

    Args:
        turns: The samples of each turn: of the first repeat, then of the second …, each with as many turns.
        repeats: Their number.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: No samples, or turns that do not divide into the repeats.
    """
    samples = np.concatenate(list(turns)) if turns else np.empty(0)
    if not samples.size or len(turns) % repeats:
        raise ValueError(f"expected samples in turns of {repeats} repeats, got {len(turns)} turns")
    # each turn as a histogram over quantiles of the whole: a resample is then a sum of histograms
    edges = np.unique(np.quantile(samples, np.linspace(0, 1, _QUANTILES)))
    of_turn = np.repeat(np.arange(len(turns)), [len(turn) for turn in turns])
    bins = np.clip(np.searchsorted(edges, samples, "left") - 1, 0, max(len(edges) - 2, 0))
    width = max(len(edges) - 1, 1)
    histograms = np.bincount(of_turn * width + bins, minlength=len(turns) * width).reshape(len(turns), width)
    picks = _picks(repeats, len(turns) // repeats, resamples, seed)
    counts = np.zeros((resamples, len(turns)))
    np.add.at(counts, (np.arange(resamples)[:, None], picks), 1)
    totals = np.cumsum(counts @ histograms, axis=1)
    halves = totals[:, -1] / 2
    found = (totals < halves[:, None]).sum(axis=1)
    medians = (edges[found] + edges[np.minimum(found + 1, len(edges) - 1)]) / 2
    low, high = _interval(np.log(medians), float(np.log(np.median(samples))), repeats)
    return float(np.exp(low)), float(np.exp(high))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t; None of less than three values, which say too little."""
    if len(values) < 3:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = _t_975(len(values) - 1) * error
    return mean - half, mean + half


# Student's t at 97.5 % for 1, 2, … degrees of freedom
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_QUANTILES = 1001


def _picks(repeats: int, rounds: int, resamples: int, seed: int) -> NDArray[np.intp]:
    """Indices of rounds, [resamples, repeats · rounds]: repeats, then moving blocks within them, with replacement."""
    block = max(round(rounds**0.5), 1)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, rounds - block + 1, (resamples, repeats, -(-rounds // block)))
    within = (starts[..., None] + np.arange(block)).reshape(resamples, repeats, -1)[..., :rounds]
    chosen = rng.integers(0, repeats, (resamples, repeats, 1))
    return (chosen * rounds + within).reshape(resamples, -1)


def _t_975(degrees: int) -> float:
    return _T_975[degrees - 1] if degrees <= len(_T_975) else 1.96 + 2.4 / degrees


def _interval(resampled: Seconds, value: float, repeats: int) -> tuple[float, float]:
    """The percentile interval, widened for few repeats.

    n of them, drawn with replacement, vary √((n-1)/n) as much as they should, and their spread is itself uncertain,
    which Student's t allows for.
    """
    low, high = np.percentile(resampled, [2.5, 97.5])
    if repeats > 1:
        factor = (repeats / (repeats - 1)) ** 0.5 * _t_975(repeats - 1) / 1.96
        low, high = value + (low - value) * factor, value + (high - value) * factor
    return min(float(low), value), max(float(high), value)
