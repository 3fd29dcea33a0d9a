"""Non-maximum suppression."""

import cv2
import numpy as np

MAX_CANDIDATES = 30_000  # the best of so many boxes are compared; Ultralytics' limit too


def nms(
    xyxy: np.ndarray,
    confidence: np.ndarray,
    class_id: np.ndarray,
    iou: float,
    max_detections: int,
    agnostic: bool = False,
) -> np.ndarray:
    """Greedy NMS, class by class unless `agnostic`.

    Classes are kept apart by moving each to a place of its own, so that one call serves all of them.

    Args:
        xyxy: float32 [n, 4], any unit.
        confidence: float32 [n].
        class_id: int64 [n].
        iou: A box is dropped when it overlaps a better one by more than this.
        max_detections: Keep at most so many.
        agnostic: Let boxes of different classes suppress each other.

    Returns:
        Indices of the kept boxes by falling confidence, int64.
    """
    if len(confidence) == 0 or max_detections < 1:
        return np.empty(0, np.int64)
    if len(confidence) > MAX_CANDIDATES:
        best = np.argsort(-confidence, kind="stable")[:MAX_CANDIDATES]
        return np.asarray(best[nms(xyxy[best], confidence[best], class_id[best], iou, max_detections, agnostic)])
    corners = xyxy.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    if not agnostic:
        span = corners.max() - corners.min() + 1
        boxes[:, :2] += (class_id * span)[:, None]
    # arrays serve as the sequences that its stub asks for
    kept = cv2.dnn.NMSBoxes(boxes, confidence, 0.0, iou)  # type: ignore[arg-type]
    return np.asarray(kept, np.int64).reshape(-1)[:max_detections]
