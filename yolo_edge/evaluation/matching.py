"""Which detection is which label: COCO's greedy matching, for all pictures, classes and IoU thresholds at once.

The rules are those of `COCOeval.evaluateImg` (pycocotools): in a picture and class detections go by falling
confidence, each to the free label of the largest IoU at or above the threshold, the later one on ties; to labels that
do not count only when no other is left; crowds take any number. What is matched with a label that does not count, and
what is unmatched and of another size, counts as neither right nor wrong.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from yolo_edge.evaluation.boxes import Flags, Floats, Found, Integers, Truth, iou

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# COCO's sizes, by area in pixels
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}

_MAX_PAIRS = 1 << 24  # boxes compared at a time


@dataclass(frozen=True)
class Matches:
    """Detections of one model, matched; by class, then by falling confidence.

    Attributes:
        class_id: int64 [d].
        image: int64 [d].
        true: bool [d, thresholds]: matched with a label that counts.
        ignored: bool [d, thresholds]: counts neither as right nor as wrong.
        positive_class: int64 [p]: of the labels that count.
        positive_image: int64 [p].
    """

    class_id: Integers
    image: Integers
    true: Flags
    ignored: Flags
    positive_class: Integers
    positive_image: Integers


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and a label of its picture and class that overlap by the lowest threshold or more.

    Attributes:
        found: The detections that the pairs speak of, by class, then by falling confidence.
        rank: int64 [e]: which of the detections with pairs, in its picture and class, has this one.
        detection: int64 [e].
        label: int64 [e].
        iou: float64 [e].
    """

    found: Found
    rank: Integers
    detection: Integers
    label: Integers
    iou: Floats


def find_overlaps(truth: Truth, found: Found, max_detections: int) -> Overlaps:
    """Compare the detections with the labels of their picture and class.

    Args:
        truth: The labels.
        found: The detections.
        max_detections: Those beyond, in a picture and class, are left out.
    """
    order = np.lexsort((-found.confidence, found.class_id))
    found = found.select(order)
    # a number for each picture and class; with several detections in one they stand by falling confidence
    group = found.class_id * truth.images + found.image
    within = _rank_in_group(group)
    kept = within < max_detections
    found, group = found.select(kept), group[kept]
    label_group = truth.class_id * truth.images + truth.image
    label_order = np.argsort(label_group, kind="stable")
    sorted_groups = label_group[label_order]
    first = np.searchsorted(sorted_groups, group, "left")
    count = np.searchsorted(sorted_groups, group, "right") - first
    detection, label, overlaps = [], [], []
    for start, end in _blocks(count):
        repeats = count[start:end]
        left = np.repeat(np.arange(start, end), repeats)
        offset = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        right = label_order[np.repeat(first[start:end], repeats) + offset]
        overlap = iou(found.xyxy[left], truth.xyxy[right], truth.crowd[right])
        near = overlap >= IOU_THRESHOLDS[0]
        detection.append(left[near])
        label.append(right[near])
        overlaps.append(overlap[near])
    pairs = np.concatenate([np.empty(0, np.int64), *detection])
    with_pairs = np.unique(pairs)
    rank = np.zeros(len(found.image), np.int64)
    rank[with_pairs] = _rank_in_group(group[with_pairs])
    return Overlaps(
        found,
        rank[pairs],
        pairs,
        np.concatenate([np.empty(0, np.int64), *label]),
        np.concatenate([np.empty(0, np.float64), *overlaps]),
    )


def match(truth: Truth, overlaps: Overlaps, size: str = "all") -> Matches:
    """Match detections with labels at every threshold of `IOU_THRESHOLDS`.

    Args:
        truth: The labels.
        overlaps: Of them with the detections.
        size: One of `SIZES`: labels of another area do not count.
    """
    low, high = SIZES[size]
    ignored_label = truth.ignored | (truth.area < low) | (truth.area > high)
    found = overlaps.found
    shape = (len(found.image), len(IOU_THRESHOLDS))
    true, on_ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    taken = np.zeros((len(truth.image), len(IOU_THRESHOLDS)), bool)
    # detections of one rank are in different pictures or classes: they cannot want the same label
    order = np.lexsort((overlaps.label, overlaps.detection, overlaps.rank))
    bounds = np.searchsorted(overlaps.rank[order], np.arange(overlaps.rank.max(initial=-1) + 2))
    for start, end in pairwise(bounds.tolist()):
        edges = order[start:end]
        label, overlap = overlaps.label[edges], overlaps.iou[edges]
        free = ~taken[label] | truth.crowd[label, None]
        possible = free & (overlap[:, None] >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10))
        worth = np.where(possible, (overlap + 2 * ~ignored_label[label])[:, None], -1)
        detections, begin = np.unique(overlaps.detection[edges], return_index=True)
        best = np.maximum.reduceat(worth, begin)
        of_edge = np.repeat(np.arange(len(detections)), np.diff(np.append(begin, len(edges))))
        chosen = np.where(worth == best[of_edge], np.arange(len(edges))[:, None], -1)
        winner = np.maximum.reduceat(chosen, begin)  # the last one of equals
        which, threshold = np.nonzero(best > 0)
        winners = label[winner[which, threshold]]
        taken[winners, threshold] = True
        counts = ~ignored_label[winners]
        true[detections[which[counts]], threshold[counts]] = True
        on_ignored[detections[which[~counts]], threshold[~counts]] = True
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    area = sides.prod(axis=1)
    other_size = ((area < low) | (area > high))[:, None] & ~true
    return Matches(
        class_id=found.class_id,
        image=found.image,
        true=true,
        ignored=on_ignored | other_size,
        positive_class=truth.class_id[~ignored_label],
        positive_image=truth.image[~ignored_label],
    )


def _rank_in_group(group: Integers) -> Integers:
    """The place of each entry among those of its group, in the order that they stand in."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    start = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(group) else np.empty(0, np.int64)
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(start, np.diff(np.append(start, len(group))))
    return rank


def _blocks(count: Integers) -> list[tuple[int, int]]:
    """Stretches of detections with about `_MAX_PAIRS` comparisons each."""
    total = np.cumsum(count)
    if not len(total):
        return []
    steps = np.arange(_MAX_PAIRS, total[-1], _MAX_PAIRS)
    cuts = np.unique([0, *np.searchsorted(total, steps), len(count)]).tolist()
    return list(pairwise(cuts))
