"""k-means dimension clusters (Redmon & Farhadi 2017, YOLO9000, section 2): widths and heights by distance 1 − IoU.

Boxes are compared with a common corner: IoU = min(w, p_w) · min(h, p_h) / union. A centre moves to the mean, as in the
paper, or to the median of its boxes, which reaches a higher average IoU.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_edge.ondevice.errors import InputError

Floats = NDArray[np.float64]

UPDATES = ("median", "mean")
"""Where the centre of a cluster moves to, see `cluster`."""
STARTS = 16
"""How often `cluster` starts, unless it is told."""
MAX_K = 1000
MAX_STARTS = 1000
RATIO_LIMIT = 4.0  # of YOLOv5's best possible recall (utils/autoanchor.py)

_MAX_BOXES = 1 << 15  # more boxes are put together in bins
_BINS_AN_OCTAVE = 12
_MAX_ROUNDS = 300
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Clusters:
    """Anchors and how they fit.

    Attributes:
        anchors: float64 [k, 2]: width and height.
        avg_iou: Mean over the boxes of the IoU with the best anchor, 0..1.
        bpr: Best possible recall: the part of the boxes that have an anchor within a factor of 4 in width and height.
        share: float64 [k]: the part of the boxes that each anchor is best for.
    """

    anchors: Floats
    avg_iou: float
    bpr: float
    share: Floats


@dataclass(frozen=True)
class _Points:
    """Distinct boxes, or bins of similar ones.

    Attributes:
        size: float64 [n, 2].
        weight: float64 [n]: how many boxes.
        orders: The order of the points by width, and by height.
    """

    size: Floats
    weight: Floats
    orders: tuple[NDArray[np.intp], NDArray[np.intp]]


def check_boxes(given: ArrayLike) -> Floats:
    """What was given as float64 [n, 2], if it can be clustered.

    Raises:
        InputError: No boxes, or one that is not finite, or without width or height.
    """
    try:
        boxes = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected boxes, width and height each ({error})") from error
    if boxes.ndim != 2 or boxes.shape[1] != 2 or not len(boxes):
        raise InputError(f"expected boxes, width and height each, got {list(boxes.shape)}")
    bad = np.flatnonzero(~(np.isfinite(boxes) & (boxes > 0)).all(axis=1))
    if len(bad):
        width, height = boxes[bad[0]]
        raise InputError(f"box {bad[0]}: expected a width and a height above 0, got {width:g} x {height:g}")
    return boxes


def cluster(
    boxes: ArrayLike, k: int, *, update: str = "median", seed: int = 0, starts: int = STARTS, exact: bool = False
) -> Clusters:
    """Find k anchors.

    The anchors come by rising area, to five digits. Up to 32 768 boxes are clustered as they are, more of them in bins
    of a 12th of an octave; the anchors are then scored on all boxes. The same boxes and seed give the same anchors.

    Args:
        boxes: [n, 2]: widths and heights, any unit.
        k: How many anchors.
        update: "median" or "mean".
        seed: Of the starts, 0 or more.
        starts: The best of so many is taken.
        exact: No bins, however many boxes there are.

    Raises:
        InputError: An option out of its range, bad boxes, or fewer distinct boxes than k.
    """
    boxes = check_boxes(boxes)
    if update not in UPDATES:
        raise InputError(f"update: expected {' or '.join(UPDATES)}, got {update!r}")
    if not (1 <= k <= MAX_K and 1 <= starts <= MAX_STARTS):
        raise InputError(f"expected k of 1..{MAX_K} and 1..{MAX_STARTS} starts, got {k} and {starts}")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")
    points = _points(boxes, k, exact)
    if k > len(points.size):
        problem = f"there are {len(points.size)} distinct boxes among {len(boxes)}"
        raise InputError(f"k = {k}: {problem}; choose a smaller k")
    rng = np.random.default_rng(seed)
    best, best_iou = points.size[:k], -1.0
    for _ in range(starts):
        centres, avg_iou = _lloyd(points, _start(points, k, rng), update)
        if avg_iou > best_iou:
            best, best_iou = centres, avg_iou
    return score(boxes, _round(best[np.argsort(best.prod(axis=1), kind="stable")]))


def score(boxes: ArrayLike, anchors: ArrayLike) -> Clusters:
    """How well anchors fit boxes.

    Args:
        boxes: [n, 2]: widths and heights.
        anchors: [k, 2], in the same unit.

    Raises:
        InputError: Bad boxes or anchors.
    """
    boxes, anchors = check_boxes(boxes), check_boxes(anchors)
    counts = np.zeros(len(anchors))
    total, recalled = 0.0, 0
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        overlap, best = _nearest(block, anchors)
        counts += np.bincount(best, minlength=len(anchors))
        total += float(overlap.sum())
        recalled += int(_within_reach(block, anchors).sum())
    return Clusters(anchors, total / len(boxes), recalled / len(boxes), counts / len(boxes))


def iou(boxes: Floats, anchor: Floats) -> Floats:
    """IoU of boxes [n, 2] with one anchor [2] at a common corner, [n]."""
    width, height = boxes.T
    intersection = np.minimum(width, anchor[0]) * np.minimum(height, anchor[1])
    return np.asarray(intersection / (width * height + anchor[0] * anchor[1] - intersection))


def _within_reach(boxes: Floats, anchors: Floats) -> NDArray[np.bool_]:
    """Which boxes have an anchor that is off by less than `RATIO_LIMIT` along both axes."""
    width, height = (np.ascontiguousarray(side) for side in boxes.T)
    found = np.zeros(len(boxes), bool)
    for w, h in anchors:
        fits = (width < RATIO_LIMIT * w) & (width > w / RATIO_LIMIT)
        found |= fits & (height < RATIO_LIMIT * h) & (height > h / RATIO_LIMIT)
    return found


def _nearest(boxes: Floats, anchors: Floats) -> tuple[Floats, NDArray[np.uint16]]:
    """For each box the best IoU and the anchor that has it, the first on ties."""
    best = iou(boxes, anchors[0])
    number = np.zeros(len(boxes), np.uint16)  # few bits: sorting by them is quick
    for i in range(1, len(anchors)):
        overlap = iou(boxes, anchors[i])
        better = overlap > best
        number[better] = i
        np.maximum(best, overlap, out=best)
    return best, number


def _round(anchors: Floats) -> Floats:
    """Anchors to five significant digits, as they are written down."""
    return np.array([[float(f"{side:.5g}") for side in anchor] for anchor in anchors])


def _points(boxes: Floats, k: int, exact: bool) -> _Points:
    size, weight = _distinct(boxes) if exact or len(boxes) <= _MAX_BOXES else _binned(boxes)
    if len(size) < k:
        size, weight = _distinct(boxes)
    # columns lie together: they are gone through one by one
    size = np.asfortranarray(size)
    return _Points(size, weight, (np.argsort(size[:, 0], kind="stable"), np.argsort(size[:, 1], kind="stable")))


def _distinct(boxes: Floats) -> tuple[Floats, Floats]:
    rounded = boxes.astype(np.float32).astype(np.float64)  # equal ones differ by what their arithmetic left behind
    order = np.lexsort((rounded[:, 1], rounded[:, 0]))
    ordered = rounded[order]
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    return np.asarray(ordered[new]), np.diff(np.append(np.flatnonzero(new), len(boxes))).astype(np.float64)


def _binned(boxes: Floats) -> tuple[Floats, Floats]:
    """The mean box of each bin of a grid in log size, and how many there are in it."""
    cells = np.floor(np.log2(boxes) * _BINS_AN_OCTAVE).astype(np.int64)
    cells -= cells.min(axis=0)
    _, number, counts = np.unique(
        cells[:, 0] * (int(cells[:, 1].max()) + 1) + cells[:, 1], return_inverse=True, return_counts=True
    )
    sums = [np.bincount(number, boxes[:, axis]) for axis in (0, 1)]
    return np.stack(sums, axis=1) / counts[:, None], counts.astype(np.float64)


def _start(points: _Points, k: int, rng: np.random.Generator) -> Floats:
    """K distinct points, each likelier the farther it is from those before (k-means++: Arthur & Vassilvitskii 2007)."""
    chosen = [int(rng.choice(len(points.size), p=points.weight / points.weight.sum()))]
    distance = 1 - iou(points.size, points.size[chosen[0]])
    while len(chosen) < k:
        distance[chosen] = 0
        odds = distance * points.weight
        if not odds.sum() > 0:  # boxes that differ by less than a float can tell
            odds = np.ones(len(odds))
            odds[chosen] = 0
        chosen.append(int(rng.choice(len(odds), p=odds / odds.sum())))
        distance = np.minimum(distance, 1 - iou(points.size, points.size[chosen[-1]]))
    return np.array(points.size[chosen])


def _lloyd(points: _Points, centres: Floats, update: str) -> tuple[Floats, float]:
    """Move the centres until no box changes its cluster (Lloyd); returns them and their average IoU."""
    before = np.empty(0, np.uint16)
    average = 0.0
    for _ in range(_MAX_ROUNDS):
        fit, nearest = _nearest(points.size, centres)
        average = float((fit * points.weight).sum() / points.weight.sum())
        if np.array_equal(nearest, before):
            break
        before = nearest
        counts = np.bincount(nearest, points.weight, minlength=len(centres)).astype(np.float64)
        if update == "mean":
            sums = [np.bincount(nearest, points.weight * points.size[:, i], minlength=len(centres)) for i in (0, 1)]
            moved = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
        else:
            moved = np.stack([_medians(points, nearest, counts, axis) for axis in (0, 1)], axis=1)
        for empty in np.flatnonzero(counts == 0):
            # an empty cluster starts anew at the box that fits worst
            worst = int(fit.argmin())
            moved[empty] = points.size[worst]
            fit[worst] = 2
        centres = moved
    return centres, average


def _medians(points: _Points, nearest: NDArray[np.uint16], counts: Floats, axis: int) -> Floats:
    """The weighted median of each cluster along one axis."""
    order = points.orders[axis]
    grouped = order[np.argsort(nearest[order], kind="stable")]  # by cluster, then by size
    reached = np.cumsum(points.weight[grouped])
    # the point where half of the cluster's weight is passed
    half = np.cumsum(counts) - counts / 2
    at = np.minimum(np.searchsorted(reached, half), len(grouped) - 1)
    return np.asarray(points.size[grouped[at], axis])
