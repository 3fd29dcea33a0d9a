"""A whole scene: background, distractors, codes, what covers them, and the camera."""

import math

import cv2
import numpy as np

from yolo_edge.sample import ARUCO_MARKER, BARCODE, QR_CODE
from yolo_edge.sample.scenes.backgrounds import background
from yolo_edge.sample.scenes.camera import photograph
from yolo_edge.sample.scenes.codes import code
from yolo_edge.sample.scenes.distractors import distractor
from yolo_edge.sample.scenes.patch import (
    Patch,
    Picture,
    between,
    chance,
    colour,
    one_of,
    opaque,
    rectangle,
    spread,
)
from yolo_edge.sample.scenes.scan import Scene, scan
from yolo_edge.sample.scenes.surfaces import put_on_surface
from yolo_edge.sample.scenes.warp import Box, Pose, bounds, lay, tilt_or_bend, turned

_SIZES = ((640, 480), (640, 480), (480, 640), (640, 360), (512, 512), (480, 360), (416, 416), (360, 640))
_INPUT = 320  # sizes of codes are meant for pictures whose longer side has so many pixels
_SMALLEST, _LARGEST = 16.0, 300.0
_SCANS = 0.04  # of the scenes with codes
_VISIBLE = 0.75  # of a code's box; less would be a guess for a person too


def scene(seed: int, index: int, *, codes: bool = True) -> Scene:
    """The scene of this number; the same on every run with one version of OpenCV.

    Boxes are those of the modules: without quiet zone, and without the digits under bars.

    Args:
        seed: One for a whole set, 0 or more.
        index: Which of the set, 0 or more.
        codes: False for a picture of backgrounds and of things that only look like codes.

    Raises:
        InputError: This OpenCV draws no ArUco markers.
        ValueError: A seed or an index below 0.
    """
    if codes and chance(np.random.default_rng([seed, index]), _SCANS):
        return scan(np.random.default_rng([seed, index, 2]))
    rng = np.random.default_rng([seed, index, codes])
    size: tuple[int, int] = one_of(rng, _SIZES)
    picture = background(rng, size)
    unit = max(size) / _INPUT
    for _ in range(int(rng.integers(0, 6)) if codes else int(rng.integers(2, 9))):
        patch = tilt_or_bend(rng, distractor(rng, unit * spread(rng, 20, 220)))
        lay(rng, picture, patch, _anywhere(rng, turned(rng, patch.size), patch, size))
    found: list[tuple[int, Box]] = []
    for _ in range(int(rng.choice([0, 1, 2, 3, 5], p=[0.06, 0.54, 0.22, 0.11, 0.07])) if codes else 0):
        found += _add_code(rng, picture, unit, [box for _, box in found])
    for _, box in found:
        if chance(rng, 0.12):
            _cover_part(rng, picture, box)
    sides = [max(x2 - x1, y2 - y1) for _, (x1, y1, x2, y2) in found]
    image = photograph(rng, picture, min(sides, default=100.0))
    return Scene(
        image,
        np.array([box for _, box in found], np.float32).reshape(-1, 4),
        np.array([class_id for class_id, _ in found], np.int64),
    )


def _anywhere(rng: np.random.Generator, pose: Pose, patch: Patch, size: tuple[int, int]) -> Pose:
    """Its middle anywhere in the picture."""
    x1, y1, x2, y2 = bounds(pose(rectangle(0, 0, *patch.size)))
    return pose.moved(between(rng, 0, size[0]) - (x1 + x2) / 2, between(rng, 0, size[1]) - (y1 + y2) / 2)


def _add_code(rng: np.random.Generator, picture: Picture, unit: float, taken: list[Box]) -> list[tuple[int, Box]]:
    """One more printed thing with a code, or a board of markers, where it covers no other; nothing without room."""
    height, width = picture.shape[:2]
    class_id = int(rng.choice([QR_CODE, ARUCO_MARKER, BARCODE], p=[0.36, 0.26, 0.38]))
    smallest = _SMALLEST * (1.6 if class_id == BARCODE else 1)
    wanted = between(rng, 0.4 * _LARGEST, _LARGEST) if chance(rng, 0.3) else spread(rng, smallest, _LARGEST)
    side = min(unit * wanted, 0.95 * min(width, height))
    texture = float(np.clip(side * 1.3, 24, 420))
    board = class_id == ARUCO_MARKER and side < 0.3 * min(width, height) and chance(rng, 0.15)
    patch = _board(rng, texture) if board else put_on_surface(rng, code(rng, class_id, texture))
    patch = tilt_or_bend(rng, patch)
    pose = turned(rng, patch.size)
    x1, y1, x2, y2 = bounds(pose(patch.codes[0].outline))
    pose = pose.scaled(side / max(x2 - x1, y2 - y1, 1e-3))
    for _ in range(10):
        placed = _with_room(rng, pose, patch, (width, height))
        boxes = [bounds(placed(code.outline)) for code in patch.codes]
        whole = bounds(placed(rectangle(0, 0, *patch.size)))
        if all(_visible(box, width, height) >= _VISIBLE for box in boxes) and not any(
            _overlap(whole, other) for other in taken
        ):
            lay(rng, picture, patch, placed)
            return [(code.class_id, _clipped(box, width, height)) for code, box in zip(patch.codes, boxes, strict=True)]
    return []


def _with_room(rng: np.random.Generator, pose: Pose, patch: Patch, size: tuple[int, int]) -> Pose:
    """Its first code anywhere in the picture, now and then a little beyond its edge."""
    x1, y1, x2, y2 = bounds(pose(patch.codes[0].outline))
    beyond = 0.15 if chance(rng, 0.15) else 0.0
    x, y = (
        between(rng, -beyond * side, max(-beyond * side, length - side * (1 - beyond)))
        for side, length in ((x2 - x1, size[0]), (y2 - y1, size[1]))
    )
    return pose.moved(x - x1, y - y1)


def _board(rng: np.random.Generator, side: float) -> Patch:
    """Markers in rows, as for calibration."""
    rows, columns = (int(n) for n in rng.integers(1, 4, 2))
    drawn = [code(rng, ARUCO_MARKER, side) for _ in range(rows * columns)]
    cell = max(max(patch.size) for patch in drawn) + round(side * between(rng, 0, 0.3))
    image = np.full((rows * cell, columns * cell, 3), colour(rng, 200, 255, 0.2), np.uint8)
    placed = []
    for number, patch in enumerate(drawn):
        x, y = (number % columns) * cell, (number // columns) * cell
        image[y : y + patch.size[1], x : x + patch.size[0]] = patch.image
        placed += [found.moved(x, y) for found in patch.codes]
    return opaque(image, tuple(placed))


def _clipped(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    return max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)


def _visible(box: Box, width: int, height: int) -> float:
    """The share of the box that is in the picture."""
    x1, y1, x2, y2 = _clipped(box, width, height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(0.0, x2 - x1) * max(0.0, y2 - y1) / area if area > 0 else 0.0


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _cover_part(rng: np.random.Generator, picture: Picture, box: Box) -> None:
    """A finger, a strap or an edge over a fifth of the code at most."""
    x1, y1, x2, y2 = box
    middle, reach = np.array([(x1 + x2) / 2, (y1 + y2) / 2]), np.array([x2 - x1, y2 - y1]) / 2
    angle = between(rng, 0, 2 * math.pi)
    ray = np.array([math.cos(angle), math.sin(angle)])
    tone = colour(rng, 20, 255, 0.8) if chance(rng, 0.5) else (110 + int(rng.integers(60)), 140, 200)
    depth = between(rng, 0.65, 1.0)
    start, end = middle + ray * reach * depth, middle + ray * reach * 3
    thick = max(1, round(float(reach.min()) * between(rng, 0.15, 0.7)))
    cv2.line(picture, (round(start[0]), round(start[1])), (round(end[0]), round(end[1])), tone, thick, cv2.LINE_AA)
