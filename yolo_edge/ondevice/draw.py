"""Boxes and labels drawn into a picture, readable at any resolution."""

import unicodedata
from typing import Sequence, Tuple

import cv2
import numpy as np

from yolo_edge.ondevice.detections import Detections

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# well apart, and each readable with black or white text (BGR)
_PALETTE = (
    (56, 56, 255), (49, 210, 207), (10, 249, 72), (255, 149, 0), (255, 56, 203), (61, 219, 134),
    (23, 204, 146), (187, 212, 0), (255, 194, 0), (168, 153, 44), (147, 69, 52), (134, 34, 255),
    (31, 112, 255), (29, 178, 255), (199, 55, 255), (133, 0, 82),
)  # fmt: skip


def draw(image: np.ndarray, detections: Detections, names: Sequence[str]) -> np.ndarray:
    """A copy of `image` with a box and a label "name 0.87" for each detection.

    OpenCV's font has ASCII only: accents are dropped and other letters become "?".

    Args:
        image: BGR, uint8 [height, width, 3].
        detections: What to draw; the best is on top.
        names: Class names by class id.
    """
    canvas: np.ndarray = image.copy()
    height, width = canvas.shape[:2]
    line = max(round(min(height, width) / 250), 1)
    scale = max(min(height, width) / 900, 0.4)
    labels = []
    for box, confidence, class_id in reversed(list(zip(detections.xyxy, detections.confidence, detections.class_id))):
        color = _PALETTE[int(class_id) % len(_PALETTE)]
        x1, y1, x2, y2 = (round(float(side)) for side in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
        labels.append((f"{_ascii(names[int(class_id)])} {confidence:.2f}", (x1, y1, y2), color))
    # labels after all boxes, so that no line runs through a text
    for text, place, color in labels:
        _draw_label(canvas, text, place, color, scale)
    return canvas


def _draw_label(
    canvas: np.ndarray,
    text: str,
    place: Tuple[int, int, int],
    color: Tuple[int, int, int],
    scale: float,
) -> None:
    height, width = canvas.shape[:2]
    thickness = max(round(scale * 1.6), 1)
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(round(4 * scale), 2)
    full_width, full_height = text_width + 2 * margin, text_height + baseline + 2 * margin
    x1, y1, y2 = place
    # above the box; where there is no room, inside it; never outside the picture
    left = max(min(x1, width - full_width), 0)
    top = y1 - full_height if y1 >= full_height else min(y1, max(y2 - full_height, 0))
    top = max(min(top, height - full_height), 0)
    cv2.rectangle(canvas, (left, top), (left + full_width, top + full_height), color, cv2.FILLED)
    blue, green, red = color
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)
    origin = (left + margin, top + margin + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in kept)
