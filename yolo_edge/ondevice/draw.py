"""Boxes and labels drawn into a picture, readable at any resolution."""

import unicodedata
from typing import List, Sequence, Tuple

import cv2
import numpy as np

from yolo_edge.ondevice.detections import Detections

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# well apart, and each readable with black or white text (BGR)
_PALETTE = (
    (56, 56, 255), (49, 210, 207), (10, 249, 72), (255, 149, 0), (255, 56, 203), (19, 69, 139),
    (61, 219, 134), (187, 212, 0), (255, 194, 0), (187, 187, 255), (147, 69, 52), (134, 34, 255),
    (60, 110, 0), (29, 178, 255), (199, 55, 255), (133, 0, 82),
)  # fmt: skip
# where the palette begins anew: of COCO's classes that are often in a picture together, a person's and a pizza's
# colours alone are equal then, and all others well apart
_STEP = 9

Box = Tuple[int, int, int, int]


def color_of(class_id: int) -> Tuple[int, int, int]:
    """Blue, green and red of a class, 0..255: the same in all pictures."""
    again, first = divmod(class_id, len(_PALETTE))
    return _PALETTE[(first + _STEP * again) % len(_PALETTE)]


def draw(image: np.ndarray, detections: Detections, names: Sequence[str]) -> np.ndarray:
    """A copy of `image` with a box and a label "name 0.87" for each detection.

    OpenCV's font has ASCII only: accents are dropped and other letters become "?".

    Args:
        image: BGR, uint8 [height, width, 3].
        detections: What to draw; the best is on top, and its label finds a place first.
        names: Class names by class id.
    """
    canvas: np.ndarray = image.copy()
    shorter = min(canvas.shape[:2])
    line, scale = max(round(shorter / 250), 1), max(shorter / 900, 0.3)
    boxes: List[Box] = [(round(x1), round(y1), round(x2), round(y2)) for x1, y1, x2, y2 in detections.xyxy.tolist()]
    colors = [color_of(class_id) for class_id in detections.class_id.tolist()]
    for (x1, y1, x2, y2), color in zip(reversed(boxes), reversed(colors)):
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
    # labels after all boxes, so that no line runs through a text
    taken: List[Box] = []
    for box, color, class_id, confidence in zip(boxes, colors, detections.class_id, detections.confidence):
        text = f"{_ascii(names[int(class_id)])} {confidence:.2f}"
        taken.append(_draw_label(canvas, text, box, color, scale, taken))
    return canvas


def _draw_label(
    canvas: np.ndarray, text: str, box: Box, color: Tuple[int, int, int], scale: float, taken: List[Box]
) -> Box:
    thickness = max(round(scale * 1.6), 1)
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(round(4 * scale), 2)
    label = _place_label(box, (text_width + 2 * margin, text_height + baseline + 2 * margin), canvas.shape[:2], taken)
    cv2.rectangle(canvas, label[:2], label[2:], color, cv2.FILLED)
    blue, green, red = color
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)
    origin = (label[0] + margin, label[1] + margin + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, ink, thickness, cv2.LINE_AA)
    return label


def _place_label(box: Box, size: Tuple[int, int], picture: Tuple[int, ...], taken: List[Box]) -> Box:
    """Above the box, inside it, or below it: the first place within the picture that no other label has."""
    width, height = size
    x1, y1, _, y2 = box
    inside = [y1, y2 - height] if y2 - y1 > 3 * height else []  # a label does not cover what it names
    left = max(min(x1, picture[1] - width), 0)
    room = max(picture[0] - height, 0)
    tops = [y1 - height, y2, *inside, y1 - 2 * height, y2 + height]
    places = [(left, top, left + width, top + height) for top in tops if 0 <= top <= room]
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    top = max(min(y1, room), 0)
    return (free or places or [(left, top, left + width, top + height)])[0]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    kept = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in kept)
