"""Which head predicts which anchors, and how a darknet cfg says it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from yolo_edge.ondevice.errors import InputError


@dataclass(frozen=True)
class HeadAnchors:
    """The anchors of one head.

    Attributes:
        stride: Input pixels a cell.
        mask: Which of the anchors, by number.
    """

    stride: int
    mask: tuple[int, ...]


def default_strides(k: int) -> tuple[int, ...]:
    """Strides of the heads that k anchors are usual for, as in yolov3 (9), yolov3-tiny (6) and yolov2 (up to 5)."""
    return (32, 16, 8) if k >= 9 else (32, 16) if k >= 6 else (32,)


def assign(anchors: ArrayLike, strides: Sequence[int]) -> list[HeadAnchors]:
    """Share anchors out among heads: small areas to small strides, as many to each; what is left over to the largest.

    Args:
        anchors: [k, 2], by rising area.
        strides: Of the heads, in the network's order: yolov3 goes from coarse to fine, yolov4 from fine to coarse.

    Raises:
        InputError: No heads, or fewer anchors than heads.
    """
    k = len(np.asarray(anchors))
    if not strides:
        raise InputError("strides: expected one a head, got none")
    if k < len(strides):
        raise InputError(f"k = {k}: there are {len(strides)} heads, each needs an anchor")
    each, left = divmod(k, len(strides))
    masks: dict[int, tuple[int, ...]] = {}
    start = 0
    for place, head in enumerate(sorted(range(len(strides)), key=lambda i: strides[i])):
        count = each + (place >= len(strides) - left)
        masks[head] = tuple(range(start, start + count))
        start += count
    return [HeadAnchors(stride, masks[i]) for i, stride in enumerate(strides)]


def format_anchors(anchors: ArrayLike, unit: float = 1) -> str:
    """`w,h, w,h, …` as a cfg has them; in grid cells with the stride as the unit."""
    return ", ".join(f"{w:g},{h:g}" for w, h in np.round(np.asarray(anchors, np.float64) / unit, 2 if unit == 1 else 4))


def yolo_fragment(anchors: ArrayLike, heads: Sequence[HeadAnchors], classes: int) -> str:
    """The lines for `[yolo]` sections (YOLOv3 and later) and the convolutions before them.

    Args:
        anchors: [k, 2]: widths and heights in pixels of the input.
        heads: Of `assign`.
        classes: How many.
    """
    lines = [f"anchors = {format_anchors(anchors)}", f"num = {len(np.asarray(anchors))}"]
    for number, head in enumerate(heads, start=1):
        mask = ",".join(map(str, head.mask))
        lines.append(
            f"# head {number}, stride {head.stride}: mask = {mask}    "
            f"in the convolution before it: filters = {(classes + 5) * len(head.mask)}"
        )
    return "\n".join(lines)


def region_fragment(anchors: ArrayLike, stride: int, classes: int) -> str:
    """The lines for a `[region]` section (YOLOv2), whose anchors are in grid cells, and the convolution before it.

    Args:
        anchors: [k, 2]: widths and heights in pixels of the input.
        stride: Input pixels a cell.
        classes: How many.
    """
    k = len(np.asarray(anchors))
    return "\n".join(
        [
            f"anchors = {format_anchors(anchors, stride)}",
            f"num = {k}",
            f"# in the convolution before it: filters = {(classes + 5) * k}",
        ]
    )
