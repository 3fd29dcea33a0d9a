"""Average precision from matches, for the pictures as they are or drawn again and again (bootstrap).

AP is COCO's: the mean over the recalls 0, 0.01, …, 1 of the best precision at that recall or a higher one
(`COCOeval.accumulate` of pycocotools).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from yolo_edge.evaluation.boxes import Flags, Floats, Integers
from yolo_edge.evaluation.matching import IOU_THRESHOLDS, Matches

Weights = NDArray[np.float64]

_RECALLS = np.linspace(0, 1, 101)
_MAX_BLOCK = 1 << 23  # numbers in an intermediate array


def average_precision(matches: Matches, weights: Weights, classes: int, threads: int = 1) -> Floats:
    """AP of each class at each threshold of `IOU_THRESHOLDS`.

    Args:
        matches: Of one model.
        weights: float64 [pictures, draws]: how often each picture counts in each draw.
        classes: How many there are.
        threads: That share the classes; what they find is the same.

    Returns:
        float64 [classes, thresholds, draws]; NaN where no label of the class counts.
    """
    draws = weights.shape[1]
    result = np.full((classes, len(IOU_THRESHOLDS), draws), np.nan)
    bounds = np.searchsorted(matches.class_id, np.arange(classes + 1))

    def find(class_id: int) -> None:
        rows = slice(*bounds[class_id : class_id + 2])
        positives = matches.positive_image[matches.positive_class == class_id]
        for block in _blocks(len(positives) + bounds[class_id + 1] - bounds[class_id], draws):
            total = weights[positives, block].sum(axis=0)
            found = _of_class(
                matches.image[rows], matches.true[rows], matches.ignored[rows], weights[:, block], np.maximum(total, 1)
            )
            result[class_id, :, block] = np.where(total > 0, found, np.nan)

    if threads == 1:
        for class_id in range(classes):
            find(class_id)
    else:  # numpy's work on whole arrays lets other threads run
        with ThreadPoolExecutor(threads, "precision") as pool:
            list(pool.map(find, range(classes)))
    return result


def _blocks(rows: int, draws: int) -> Iterator[slice]:
    step = max(_MAX_BLOCK // max(rows, 1), 1)
    return (slice(start, min(start + step, draws)) for start in range(0, draws, step))


def _of_class(image: Integers, true: Flags, ignored: Flags, weights: Weights, total: Floats) -> Floats:
    """AP of one class, float64 [thresholds, draws]; `total` float64 [draws]: its labels, at least 1."""
    # precision is looked at where something is found; what is wrong everywhere only adds up in between
    special = np.flatnonzero((true | ignored).any(axis=1))
    result = np.zeros((true.shape[1], weights.shape[1]))
    if not true.any():
        return result
    wrong_before = _sums_before(image, special, weights)
    of_special = weights[image[special]]
    for threshold in range(true.shape[1]):
        hit = true[special, threshold]
        if not hit.any():
            continue
        right = np.cumsum(of_special[hit], axis=0)
        counted = np.cumsum(of_special * ~ignored[special, threshold, None], axis=0)[hit] + wrong_before[hit]
        precision = right / np.maximum(counted, 1)
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.searchsorted(_RECALLS, right / total, "right")
        steps = np.diff(reached, axis=0, prepend=0)
        result[threshold] = (steps * precision).sum(axis=0) / len(_RECALLS)
    return result


def _sums_before(image: Integers, special: Integers, weights: Weights) -> Floats:
    """For each special row the weight of all rows before it that are not special, float64 [special, draws]."""
    ordinary = np.ones(len(image), bool)
    ordinary[special] = False
    rows = np.flatnonzero(ordinary[: special[-1]])
    sums = np.zeros((len(special), weights.shape[1]))
    place = np.searchsorted(special, rows)
    heads = np.flatnonzero(np.diff(place, prepend=-1))
    if len(rows):
        sums[place[heads]] = np.add.reduceat(weights[image[rows]], heads, axis=0)
    return np.cumsum(sums, axis=0)
