"""Random labels and detections, and what pycocotools makes of them."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np

from yolo_edge.evaluation import Found, Truth


@dataclass
class Case:
    truth: Truth
    found: Found
    images: int
    classes: int


def random_case(seed: int, images: int, classes: int, noise: int = 4, ties: bool = True) -> Case:
    """Labels of all sizes, some crowds and some without area; detections near them and anywhere."""
    rng = np.random.default_rng(seed)
    labels, areas, crowds, found = [], [], [], []
    for image in range(images):
        for _ in range(rng.integers(0, 8)):
            class_id, side = int(rng.integers(classes)), float(np.exp(rng.uniform(1, 6)))
            width, height = side * rng.uniform(0.5, 2), side
            if rng.random() < 0.04:
                width = 0.0
            x, y = rng.uniform(-20, 600, 2)
            labels.append((image, class_id, x, y, x + width, y + height))
            areas.append(width * height * rng.uniform(0.4, 1))
            crowds.append(rng.random() < 0.1)
            for _ in range(rng.integers(0, 4)):
                jitter = rng.normal(0, 0.15, 4)
                left, top = x + jitter[0] * width, y + jitter[1] * height
                right, bottom = left + width * np.exp(jitter[2]), top + height * np.exp(jitter[3])
                guess = class_id if rng.random() < 0.8 else int(rng.integers(classes))
                found.append((image, guess, left, top, right, bottom, rng.random()))
        for _ in range(rng.integers(0, noise + 1)):
            x, y, width, height = rng.uniform(1, 300, 4)
            found.append((image, int(rng.integers(classes)), x, y, x + width, y + height, rng.random() ** 3))
    boxes = np.array(labels).reshape(-1, 6)
    crowd = np.array(crowds, bool)
    guesses = np.array(found).reshape(-1, 7)
    if ties:
        guesses[:, 6] = guesses[:, 6].round(2)
    truth = Truth(
        images, classes, boxes[:, 0].astype(int), boxes[:, 1].astype(int), boxes[:, 2:], np.array(areas), crowd, crowd
    )
    detections = Found(images, guesses[:, 0].astype(int), guesses[:, 1].astype(int), guesses[:, 2:6], guesses[:, 6])
    return Case(truth, detections, images, classes)


def pycocotools_map(case: Case, max_detections: int = 300) -> dict[str, float | None]:
    """mAP50, mAP50_95 and mAP50-95 by size; None where there are no labels."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = case.truth, case.found
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(case.images)],
            "categories": [{"id": i, "name": str(i)} for i in range(case.classes)],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(truth.image[i]),
                    "category_id": int(truth.class_id[i]),
                    "bbox": _xywh(truth.xyxy[i]),
                    "area": float(truth.area[i]),
                    "iscrowd": int(truth.crowd[i]),
                }
                for i in range(len(truth.image))
            ],
        }
        coco.createIndex()
        results = [
            {
                "image_id": int(found.image[i]),
                "category_id": int(found.class_id[i]),
                "bbox": _xywh(found.xyxy[i]),
                "score": float(found.confidence[i]),
            }
            for i in range(len(found.image))
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # threshold, recall, class, size, maximum
    values = {"mAP50": precision[0, :, :, 0, 0], "mAP50_95": precision[..., 0, 0]}
    values |= {size: precision[..., i, 0] for i, size in enumerate(("small", "medium", "large"), start=1)}
    return {name: float(part[part > -1].mean()) if (part > -1).any() else None for name, part in values.items()}


def _xywh(box: np.ndarray) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
