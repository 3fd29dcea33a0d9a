"""How alike the detections of two models are, picture by picture."""

import numpy as np

from yolo_edge.evaluation.boxes import Floats, Found, Truth
from yolo_edge.evaluation.matching import find_overlaps
from yolo_edge.evaluation.metrics import MAX_DETECTIONS


def shared_overlaps(first: Found, second: Found) -> Floats:
    """For each picture twice the sum of the overlaps (IoU) of boxes that both have, by the number of all boxes.

    Pairs are of one class and overlap by half or more; the largest overlaps are paired first. 1: the same boxes, or
    none in either; 0: none in common.

    Returns:
        float64 [pictures].

    Raises:
        ValueError: Not as many pictures in both.
    """
    if first.images != second.images:
        raise ValueError(f"expected as many pictures in both, got {first.images} and {second.images}")
    classes = 1 + int(max(first.class_id.max(initial=-1), second.class_id.max(initial=-1)))
    overlaps = find_overlaps(Truth.of_detections(first, classes), second, MAX_DETECTIONS)
    shared = np.zeros(first.images)
    taken: set[tuple[str, int]] = set()
    for edge in np.argsort(-overlaps.iou, kind="stable"):
        ends = {("first", int(overlaps.label[edge])), ("second", int(overlaps.detection[edge]))}
        if not taken & ends:
            taken |= ends
            shared[first.image[overlaps.label[edge]]] += overlaps.iou[edge]
    boxes = sum(np.bincount(found.image, minlength=found.images) for found in (first, second))
    result: Floats = np.where(boxes > 0, 2 * shared / np.maximum(boxes, 1), 1.0)
    return result
