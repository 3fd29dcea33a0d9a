"""How well detections agree with labels: COCO's mAP, differences between models, agreement."""

from yolo_edge.evaluation.boxes import Found, Truth
from yolo_edge.evaluation.metrics import (
    LABEL_CONFIDENCE,
    MAX_DETECTIONS,
    METRICS,
    RESAMPLES,
    Accuracy,
    Difference,
    agreement_accuracy,
    average_precision_50,
    bootstrap,
    differences,
    evaluate,
    intervals,
)
from yolo_edge.evaluation.overlap import shared_overlaps

__all__ = [
    "LABEL_CONFIDENCE",
    "MAX_DETECTIONS",
    "METRICS",
    "RESAMPLES",
    "Accuracy",
    "Difference",
    "Found",
    "Truth",
    "agreement_accuracy",
    "average_precision_50",
    "bootstrap",
    "differences",
    "evaluate",
    "intervals",
    "shared_overlaps",
]
