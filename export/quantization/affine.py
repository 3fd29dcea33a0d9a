"""Affine correction: the mean and the slope of each channel of a convolution, as integers give it, become the float's.

With y in float and z from integers, a = cov(y, z)/var(z) scales the weights of a channel (their integers stay) and
mean(y) − a·mean(z) goes into the bias. Places count by their importance.
"""

from dataclasses import replace

import numpy as np

from yolo_edge.export.quantization.walk import Layer

_MOST = 0.15  # of the slope: what is further off is noise


def correct_affine(layer: Layer, slope: bool = True) -> Layer:
    """Correct one layer.

    Args:
        layer: The layer.
        slope: Correct that too, not only the mean.
    """
    total, sums = 0.0, np.zeros((4, len(layer.bias)))
    for expected, found, weight in zip(layer.expected, layer.found(), layer.importance, strict=True):
        y, z = (array.reshape(len(layer.bias), -1).astype(np.float64) for array in (expected, found))
        w = weight.reshape(-1).astype(np.float64)
        total += float(w.sum())
        sums += [y @ w, z @ w, (y * z) @ w, (z * z) @ w]
    mean_y, mean_z, product, square = sums / total
    variance = square - mean_z**2
    factor = np.ones(len(layer.bias))
    if slope:
        moving = variance > 1e-12
        factor[moving] = (product - mean_y * mean_z)[moving] / variance[moving]
        factor = np.clip(factor, 1 - _MOST, 1 + _MOST)
    bias = factor * layer.bias + mean_y - factor * mean_z
    return replace(layer, scale=(layer.scale * factor).astype(np.float32), bias=bias.astype(np.float32))
