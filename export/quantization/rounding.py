"""Learned rounding: the integers of a convolution are those that give its output best, not those nearest its weights.

First the weights move to where they make up best for the errors of what they read, as far as a few pictures tell (ridge
regression). The error of an output channel is then quadratic in its weights, (w − q)ᵀ·C·(w − q), with C the covariance
of what the convolution reads (its mean goes into the bias). Weights are rounded one after another, and what each loses
is made up for by those that follow: Frantar et al. 2022 (GPTQ), after Hassibi and Stork 1993. For depthwise
convolutions, whose C is small, single steps up and down follow until none helps.
"""

from collections.abc import Sequence

import numpy as np

from yolo_edge.export.quantization.plan import MAX_WEIGHT
from yolo_edge.export.quantization.walk import Arrays, Layer

_SAMPLES, _SAMPLES_A_COLUMN = 1600, 6  # windows that a covariance comes from, at least where there are so many
_RIDGE = 0.2  # of the mean variance: weights move towards what makes up for errors before them
_DAMPING = 0.01  # of the mean variance, for directions that pictures do not show
_BLOCK = 64
_MOST_COLUMNS = 1200
_SWEEPS = 6


def learn_rounding(layer: Layer, seed: int = 0) -> Layer:
    """Round one layer anew; layers with more than `_MOST_COLUMNS` weights a channel stay as they are."""
    out = len(layer.weight)
    columns = int(np.prod(layer.weight.shape[1:]))
    groups = layer.node.attributes.get_int("group", 1) or 1
    if columns > _MOST_COLUMNS:
        return layer
    covariance, missed = _covariances(layer, groups, seed)
    weight = layer.weight.reshape(groups, out // groups, columns).astype(np.float64)
    weight = weight + _made_up(weight, covariance, missed)
    scale = layer.scale.reshape(groups, out // groups, 1).astype(np.float64)
    if groups == 1:
        integers = _round_dense(weight[0] / scale[0], covariance[0])
    else:
        integers = _round_small(weight / scale, covariance)
    return layer.with_integers(integers.reshape(layer.weight.shape))


def _made_up(weight: np.ndarray, covariance: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """What the weights [groups, out, columns] can do about errors of what they read: a ridge regression."""
    columns = weight.shape[2]
    ridge = _RIDGE * np.einsum("gii->g", covariance)[:, None, None] / columns * np.eye(columns)
    result: np.ndarray = np.linalg.solve(covariance + ridge, (weight @ missed).transpose(0, 2, 1)).transpose(0, 2, 1)
    return result


def _covariances(layer: Layer, groups: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the patches that each group reads, and how far their covariance with those in float is from it.

    Both float64 [groups, columns, columns].
    """
    columns = int(np.prod(layer.weight.shape[1:]))
    most = -(-max(_SAMPLES, _SAMPLES_A_COLUMN * columns) // len(layer.importance))
    places = [
        _places(importance.size, most, np.random.default_rng([seed, i]))
        for i, importance in enumerate(layer.importance)
    ]
    weight = np.concatenate([each.reshape(-1)[at] for each, at in zip(layer.importance, places, strict=True)])
    weight = weight / weight.sum()
    read, exact = (
        _centered(layer, arrays, places, weight).reshape(groups, columns, -1) for arrays in (layer.held, layer.floats)
    )
    weighted = (read * weight).transpose(0, 2, 1)
    covariance = (read @ weighted).astype(np.float64)
    missed = (exact @ weighted).astype(np.float64) - covariance
    diagonal = np.einsum("gii->gi", covariance)
    diagonal += _DAMPING * diagonal.mean(axis=1, keepdims=True) + 1e-12
    return covariance, missed


def _centered(layer: Layer, arrays: Arrays, places: Sequence[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The windows of some places of all pictures less their mean, [in, rows · columns, places]."""
    parts = [_patches(layer, array, at) for array, at in zip(arrays, places, strict=True)]
    joined = np.ascontiguousarray(np.concatenate(parts, axis=2))  # indexing leaves places first, slow for products
    joined -= (joined @ weight)[..., None]
    return joined


def _places(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(count) if count <= most else rng.choice(count, most, replace=False)


def _patches(layer: Layer, array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The windows of some places, [in, rows · columns, places]."""
    attributes = layer.node.attributes
    rows, columns = layer.weight.shape[2:]
    top, left, bottom, right = attributes.get_ints("pads") or (0, 0, 0, 0)
    down, across = attributes.get_ints("strides") or (1, 1)
    dilation = attributes.get_ints("dilations") or (1, 1)
    padded = np.pad(array[0], ((0, 0), (top, bottom), (left, right))) if top or left or bottom or right else array[0]
    width = layer.expected[0].shape[3]
    y, x = places // width * down, places % width * across
    offsets = np.mgrid[:rows, :columns].reshape(2, -1) * np.array(dilation)[:, None]
    return padded[:, y[None] + offsets[0][:, None], x[None] + offsets[1][:, None]]


def _round_dense(weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """GPTQ over [out, columns] in units of the scale, the columns that vary most first."""
    order = np.argsort(-np.diagonal(covariance), kind="stable")
    work = weight[:, order].copy()
    # the upper factor of the inverse: its row i has what the columns behind i make up for
    inverse = np.linalg.inv(covariance[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    columns = work.shape[1]
    rounded = np.empty_like(work)
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        lost = np.empty((len(work), end - start))
        for i in range(start, end):
            rounded[:, i] = np.clip(np.rint(work[:, i]), -MAX_WEIGHT, MAX_WEIGHT)
            lost[:, i - start] = (work[:, i] - rounded[:, i]) / upper[i, i]
            work[:, i + 1 : end] -= lost[:, i - start, None] * upper[i, None, i + 1 : end]
        work[:, end:] -= lost @ upper[start:end, end:]
    found = rounded[:, np.argsort(order)]
    nearest = np.clip(np.rint(weight), -MAX_WEIGHT, MAX_WEIGHT)
    # going through the weights one by one is greedy, and now and then loses to the nearest
    lost_by, lost_by_nearest = ((each @ covariance * each).sum(axis=1) for each in (found - weight, nearest - weight))
    result: np.ndarray = np.where((lost_by <= lost_by_nearest)[:, None], found, nearest)
    return result


def _round_small(weight: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Nearest, then the single step that helps most while one does; [groups, out, columns]."""
    rounded: np.ndarray = np.clip(np.rint(weight), -MAX_WEIGHT, MAX_WEIGHT)
    diagonal = np.einsum("gii->gi", covariance)[:, None]
    for _ in range(_SWEEPS * weight.shape[2]):
        slope = 2 * np.einsum("gij,goj->goi", covariance, rounded - weight)
        step = -np.sign(slope)
        gain = np.abs(slope) - diagonal  # what a step of one saves
        gain[np.abs(rounded + step) > MAX_WEIGHT] = -np.inf
        best = gain.argmax(axis=2)[..., None]
        helps = np.take_along_axis(gain, best, axis=2) > 0
        if not helps.any():
            break
        np.put_along_axis(
            rounded, best, np.take_along_axis(rounded, best, 2) + np.take_along_axis(step, best, 2) * helps, 2
        )
    return rounded
