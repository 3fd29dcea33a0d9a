"""Rounding weights: to float16 so that what a convolution makes of an even surface stays the same, and to int8."""

import numpy as np

FLOAT16_MAX = float(np.finfo(np.float16).max)
INT8_MAX = 127  # symmetric: -128 is not used
_FRACTIONS = np.linspace(1.0, 0.6, 17)

_WORST_NOISE = 1e-6  # 60 dB; a float16 weight usually has 70 or more
_BLOCK = 1 << 14  # weights that are worked on at a time: some 1.6 MB of float64


def as_float16(weight: np.ndarray) -> np.ndarray | None:
    """The weights of a convolution in float16, or None where they must stay as they are.

    Args:
        weight: float32 [out, ...].

    Returns:
        What `to_float16` gives. None: some are beyond what float16 can hold, or so many below its normal numbers that
        the noise is above -60 dB, as in weights that take pixels of 0..255.
    """
    if np.abs(weight).max(initial=0) > FLOAT16_MAX:
        return None
    rounded = np.empty(weight.shape, np.float16)
    rows = max(_BLOCK // max(weight[0].size, 1), 1)
    noise = power = 0.0
    for start in range(0, len(weight), rows):
        block = weight[start : start + rows]
        rounded[start : start + rows] = to_float16(block)
        noise += float(np.square(block - rounded[start : start + rows], dtype=np.float64).sum())
        power += float(np.square(block, dtype=np.float64).sum())
    return None if noise > _WORST_NOISE * power else rounded


def to_float16(weight: np.ndarray) -> np.ndarray:
    """Round the weights of a convolution to float16, keeping the sum of each output channel.

    Rounding each weight to its nearest neighbour leaves a small error in the sum of a channel's weights; since
    neighbouring activations resemble each other, and those after a ReLU are positive, it is that sum which reaches the
    outputs. So the weights for which it costs least (those nearly halfway between two float16 values) are rounded the
    other way until the sum is right. What it gains: benchmarks/scripts/float16_rounding.py.

    Args:
        weight: float32 [out, ...], within ±65504.

    Returns:
        float16 of the same shape; each element is one of the two neighbours of the weight. Zeros stay zero.
    """
    exact = weight.astype(np.float64).reshape(len(weight), -1)
    nearest = exact.astype(np.float16)
    error = exact - nearest
    missing = error.sum(axis=1, keepdims=True)  # to be added to the channel's sum
    direction = np.sign(missing)
    other = np.nextafter(nearest, (direction * FLOAT16_MAX).astype(np.float16))
    step = np.abs(other.astype(np.float64) - nearest)
    # added squared error a unit of sum: (error − step)² − error², over the step
    movable = (error * direction > 0) & (nearest != 0) & (step > 0)
    cost = np.where(movable, step - 2 * error * direction, np.inf)
    order = np.argsort(cost, axis=1, kind="stable")
    moved = np.cumsum(np.take_along_axis(np.where(movable, step, 0), order, axis=1), axis=1)
    # flip while the sum comes nearer: half a step past the mark is as far as it may go
    sorted_step = np.diff(moved, axis=1, prepend=0)
    flips = (moved - sorted_step / 2 <= np.abs(missing)) & (sorted_step > 0)
    chosen = np.zeros_like(flips)
    np.put_along_axis(chosen, order, flips, axis=1)
    return np.where(chosen, other, nearest).reshape(weight.shape)


def as_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of a convolution as integers with a scale an output channel, for files that compute in float.

    Args:
        weight: float32 [out, ...].

    Returns:
        int8 of the same shape, -127..127, and float32 [out]: of scales that reach to the largest weight of a channel or
        a little less the one that leaves the smallest square error.
    """
    exact = weight.reshape(len(weight), -1).astype(np.float64)
    largest = np.maximum(np.abs(exact).max(axis=1, keepdims=True), 1e-30)
    best = np.full((len(exact), 1), np.inf)
    scale = np.empty_like(largest)
    for fraction in _FRACTIONS:
        step = (fraction * largest / INT8_MAX).astype(np.float32).astype(np.float64)
        error = np.square(np.clip(np.rint(exact / step), -INT8_MAX, INT8_MAX) * step - exact).sum(axis=1, keepdims=True)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, step, scale)
    integers = np.clip(np.rint(exact / scale), -INT8_MAX, INT8_MAX).astype(np.int8)
    return integers.reshape(weight.shape), scale[:, 0].astype(np.float32)
