"""Timing things side by side, so that a machine whose speed drifts slows all of them alike."""

import time
from collections.abc import Callable, Mapping
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
    rounds = len(a)
    block = max(round(rounds**0.5), 1)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, rounds - block + 1, (resamples, -(-rounds // block)))
    picks = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :rounds]
    ratios = np.median(a[picks], axis=1) / np.median(b[picks], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high))
