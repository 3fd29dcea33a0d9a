"""How well detections agree with what they should be."""

from collections.abc import Sequence
from typing import Any

from yolo_edge.ondevice.detections import Detections

MAX_DETECTIONS = 300  # a picture and class; COCO's own limit of 100 is below what a detector may return


def average_precision_50(labels: Sequence[Detections], candidates: Sequence[Detections]) -> float | None:
    """COCO's AP at IoU 0.50 of `candidates`, with `labels` as the truth, picture by picture.

    With the detections of a float model as labels this is the *agreement* of another file with it.

    Args:
        labels: One entry a picture.
        candidates: One entry a picture, in the same order.

    Returns:
        The mean over the classes that have labels, 0..1; None when nothing is labelled.

    Raises:
        ValueError: Not as many pictures in both.
    """
    if len(labels) != len(candidates):
        raise ValueError(f"expected as many pictures in both, got {len(labels)} and {len(candidates)}")
    if not any(len(found) for found in labels):
        return None
    from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 - slow to import

    truth = [
        {**box, "id": number, "iscrowd": 0, "area": box["bbox"][2] * box["bbox"][3]}
        for number, box in enumerate(_boxes(labels), start=1)
    ]
    results = _boxes(candidates)
    if not results:
        return 0.0
    classes = sorted({box["category_id"] for box in [*truth, *results]})
    coco = COCO(
        {
            "images": [{"id": i, "width": 1, "height": 1} for i in range(len(labels))],
            "annotations": truth,
            "categories": [{"id": class_id, "name": str(class_id)} for class_id in classes],
        }
    )
    evaluation = COCOeval_faster(coco, coco.loadRes(results), "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.run()
    return float(evaluation.stats[1])


def _boxes(pictures: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": int(class_id),
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "score": float(confidence),
        }
        for image_id, found in enumerate(pictures)
        for (x1, y1, x2, y2), confidence, class_id in zip(found.xyxy, found.confidence, found.class_id, strict=True)
    ]
