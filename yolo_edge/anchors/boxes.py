"""The boxes of a dataset as the network sees them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_edge.datasets import Dataset
from yolo_edge.ondevice.errors import InputError

RESIZES = ("stretch", "letterbox", "none")


@dataclass(frozen=True)
class BoxSizes:
    """Widths and heights of boxes, and what was left out.

    Attributes:
        boxes: float64 [n, 2].
        left_out: Why → how many.
    """

    boxes: NDArray[np.float64]
    left_out: dict[str, int]


def box_sizes(dataset: Dataset, size: tuple[int, int], resize: str, *, difficult: bool = False) -> BoxSizes:
    """Widths and heights after pictures were resized to the network's input.

    Args:
        dataset: The labels.
        size: (width, height) of the input in pixels.
        resize: "stretch" (each axis by itself), "letterbox" (aspect kept), or "none" (pixels of the pictures).
        difficult: Count VOC's difficult objects too.

    Raises:
        InputError: An unknown `resize`, or no box is left.
    """
    if resize not in RESIZES:
        raise InputError(f"resize: expected {', '.join(RESIZES)}, got {resize!r}")
    sides = dataset.xyxy[:, 2:] - dataset.xyxy[:, :2]
    reasons = {
        "crowd": dataset.crowd,
        "difficult": dataset.difficult & (not difficult),
        "zero_size": (sides <= 0).any(axis=1),
    }
    kept = np.ones(len(sides), bool)
    left_out = {}
    for reason, wrong in reasons.items():
        left_out[reason] = int((kept & wrong).sum())
        kept &= ~wrong
    if not kept.any():
        counts = ", ".join(f"{count} {reason.replace('_', '-')}" for reason, count in left_out.items() if count)
        raise InputError(f"{dataset.source}: no boxes to cluster" + (f" (left out: {counts})" if counts else ""))
    boxes = sides[kept]
    if resize == "none":
        return BoxSizes(boxes, left_out)
    scale = np.array(size) / dataset.sizes
    if resize == "letterbox":
        scale = scale.min(axis=1, keepdims=True)
    return BoxSizes(boxes * scale[dataset.image[kept]], left_out)
