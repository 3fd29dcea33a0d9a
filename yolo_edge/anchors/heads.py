"""Which head predicts which anchors, and how a darknet cfg says it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_edge.anchors.kmeans import Floats
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


def assign(anchors: Floats, strides: Sequence[int]) -> list[HeadAnchors]:
    """Share anchors out among heads: small areas to small strides, as many to each; what is left over to the largest.

    Args:
        anchors: float64 [k, 2], by rising area.
        strides: Of the heads, in the network's order: yolov3 goes from coarse to fine, yolov4 from fine to coarse.

    Raises:
        InputError: Fewer anchors than heads.
    """
    if len(anchors) < len(strides):
        raise InputError(f"k = {len(anchors)}: there are {len(strides)} heads, each needs an anchor")
    each, left = divmod(len(anchors), len(strides))
    masks: dict[int, tuple[int, ...]] = {}
    start = 0
    for place, head in enumerate(sorted(range(len(strides)), key=lambda i: strides[i])):
        count = each + (place >= len(strides) - left)
        masks[head] = tuple(range(start, start + count))
        start += count
    return [HeadAnchors(stride, masks[i]) for i, stride in enumerate(strides)]


def format_anchors(anchors: Floats, unit: float = 1) -> str:
    """`w,h, w,h, …` as a cfg has them; in grid cells with the stride as the unit."""
    return ", ".join(f"{w:g},{h:g}" for w, h in np.round(anchors / unit, 2 if unit == 1 else 4))


def yolo_fragment(anchors: Floats, heads: Sequence[HeadAnchors], classes: int) -> str:
    """The lines for `[yolo]` sections (YOLOv3 and later: pixels) and the convolutions before them."""
    lines = [f"anchors = {format_anchors(anchors)}", f"num = {len(anchors)}"]
    for number, head in enumerate(heads, start=1):
        mask = ",".join(map(str, head.mask))
        lines.append(
            f"# head {number}, stride {head.stride}: mask = {mask}    "
            f"in the convolution before it: filters = {(classes + 5) * len(head.mask)}"
        )
    return "\n".join(lines)


def region_fragment(anchors: Floats, stride: int, classes: int) -> str:
    """The lines for a `[region]` section (YOLOv2: grid cells) and the convolution before it."""
    return "\n".join(
        [
            f"anchors = {format_anchors(anchors, stride)}",
            f"num = {len(anchors)}",
            f"# in the convolution before it: filters = {(classes + 5) * len(anchors)}",
        ]
    )
