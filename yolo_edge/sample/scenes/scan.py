"""Codes that fill their picture: scans, renderings, pictures cropped to the code."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolo_edge.sample import ARUCO_MARKER, BARCODE, QR_CODE
from yolo_edge.sample.scenes.camera import photograph
from yolo_edge.sample.scenes.codes import code, dense_qr_code
from yolo_edge.sample.scenes.patch import Picture, between, chance, corner_colour, one_of, spread, write_lines
from yolo_edge.sample.scenes.warp import bounds


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: BGR, uint8 [height, width, 3].
        boxes: float32 [n, 4]: x1, y1, x2, y2 in pixels.
        class_id: int64 [n]: 0 a QR code, 1 an ArUco or AprilTag marker, 2 a bar code.
    """

    image: Picture
    boxes: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.int64]


def scan(rng: np.random.Generator) -> Scene:
    """One code, straight, with little or no margin; half of them through a camera."""
    class_id = int(rng.choice([QR_CODE, ARUCO_MARKER, BARCODE], p=[0.6, 0.08, 0.32]))
    side = spread(rng, 120, 600)
    dense = class_id == QR_CODE and chance(rng, 0.6)
    patch = dense_qr_code(rng, side) if dense else code(rng, class_id, side)
    box = bounds(patch.codes[0].outline)
    paper = corner_colour(patch.image)
    # the quiet zone may be cut off, and paper put around
    left, top, right, bottom = (0.0 if chance(rng, 0.4) else between(rng, 0, 0.35) * side for _ in range(4))
    x1, y1 = max(0, round(box[0] - left)), max(0, round(box[1] - top))
    cropped = patch.image[y1 : round(box[3] + bottom), x1 : round(box[2] + right)]
    above, below, before, behind = (round(one_of(rng, (0.0, 0.0, between(rng, 0, 0.6))) * side) for _ in range(4))
    image = cv2.copyMakeBorder(cropped, above, below, before, behind, cv2.BORDER_CONSTANT, value=paper).astype(np.uint8)
    for y, height in ((0, above), (image.shape[0] - below, below)):
        if chance(rng, 0.5):
            write_lines(rng, image, 4, y + 2, image.shape[1] - 8, height - 4, (0, 0, 0) if sum(paper) > 380 else paper)
    if chance(rng, 0.5):
        image = photograph(rng, image, side * (0.15 if dense else 1))
    shift = np.array([before - x1, above - y1] * 2, np.float32)
    limit = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    boxes = np.clip(np.array([box], np.float32) + shift, 0, limit)
    return Scene(image, boxes, np.array([class_id], np.int64))
