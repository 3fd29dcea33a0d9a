"""What the decoders of each family make of their head maps, densely, in numpy: what recognition compares with.

All boxes are centre x, centre y, width, height in input pixels, [boxes, 4]; scores are [boxes, classes]. The formulas
of the families are in `yolo_edge.ondevice.decode`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_edge.ondevice.maps import sigmoid

Maps = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Level:
    """The head convolutions of one grid.

    Attributes:
        stride: Input pixels a cell.
        rows: Of the grid.
        columns: Of the grid.
        tensors: Role → name of the map [1, channels, rows, columns].
        anchors: (width, height) in pixels, of families that have any.
    """

    stride: int
    rows: int
    columns: int
    tensors: dict[str, str]
    anchors: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Dense:
    """Every box of every cell.

    Attributes:
        boxes: float32 [n, 4].
        objectness: float32 [n, 1], or None.
        classes: float32 [n, classes]: probabilities.
    """

    boxes: np.ndarray
    objectness: np.ndarray | None
    classes: np.ndarray


def anchor_grid(levels: Sequence[Level], maps: Maps, classes: int, *, squared: bool, cells_first: bool) -> Dense:
    """`yolov5` (squared) and `yolo`: one map a level, [anchors · (5 + classes)] channels."""
    boxes, objectness, scores = [], [], []
    for level in levels:
        entry = maps[level.tensors["map"]].reshape(-1, 5 + classes, level.rows, level.columns)
        x, y = _cells(level)
        anchors = np.array(level.anchors, np.float32)[:, :, None, None]
        if squared:
            center = 2 * sigmoid(entry[:, :2]) - np.float32(0.5) + np.stack([x, y])
            size = np.square(2 * sigmoid(entry[:, 2:4])) * anchors
        else:
            center = sigmoid(entry[:, :2]) + np.stack([x, y])
            size = np.exp(entry[:, 2:4]) * anchors
        values = np.concatenate([center * level.stride, size, sigmoid(entry[:, 4:])], axis=1)
        rows = values.transpose((2, 3, 0, 1) if cells_first else (0, 2, 3, 1)).reshape(-1, 5 + classes)
        boxes.append(rows[:, :4])
        objectness.append(rows[:, 4:5])
        scores.append(rows[:, 5:])
    return Dense(np.concatenate(boxes), np.concatenate(objectness), np.concatenate(scores))


def distributions(levels: Sequence[Level], maps: Maps, offset: float) -> Dense:
    """`dfl` and `nanodet_plus`: four distributions over the distances to the sides, and a map of classes.

    `offset`: where in a cell they are measured from.
    """
    away = []
    for level in levels:
        logits = maps[level.tensors["box"]]
        bins = logits.shape[1] // 4
        logits = logits.reshape(4, bins, -1)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        away.append((odds / odds.sum(axis=1, keepdims=True) * np.arange(bins, dtype=np.float32)[:, None]).sum(axis=1))
    return _around(levels, maps, away, offset)


def distances(levels: Sequence[Level], maps: Maps) -> Dense:
    """`ltrb`: the distances to the four sides in cells, and a map of classes."""
    return _around(levels, maps, [maps[level.tensors["box"]].reshape(4, -1) for level in levels], 0.5)


def _around(levels: Sequence[Level], maps: Maps, away: Sequence[np.ndarray], offset: float) -> Dense:
    """Boxes by the distances [4, cells] of their sides, and a map of classes."""
    boxes, scores = [], []
    for level, sides in zip(levels, away, strict=True):
        x, y = (axis.reshape(-1) + np.float32(offset) for axis in _cells(level))
        low, high = np.stack([x, y]) - sides[:2], np.stack([x, y]) + sides[2:]
        boxes.append(np.concatenate([(low + high) / 2, high - low]).T * level.stride)
        scores.append(_rows(sigmoid(maps[level.tensors["classes"]])))
    return Dense(np.concatenate(boxes), None, np.concatenate(scores))


def offsets(levels: Sequence[Level], maps: Maps) -> Dense:
    """`yolox`: offsets and logarithms of sizes in cells, objectness and classes, each a map."""
    boxes, objectness, scores = [], [], []
    for level in levels:
        box = maps[level.tensors["box"]][0]
        x, y = _cells(level)
        center, size = box[:2] + np.stack([x, y]), np.exp(box[2:])
        boxes.append(_rows(np.concatenate([center, size])[None]) * level.stride)
        objectness.append(_rows(sigmoid(maps[level.tensors["objectness"]])))
        scores.append(_rows(sigmoid(maps[level.tensors["classes"]])))
    return Dense(np.concatenate(boxes), np.concatenate(objectness), np.concatenate(scores))


def _rows(array: np.ndarray) -> np.ndarray:
    return np.asarray(array.reshape(array.shape[1], -1).T)


def _cells(level: Level) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: level.rows, : level.columns].astype(np.float32)
    return x, y


# how a decoder may write a box down: (pixels of the input, boxes) → what stands in its output
BOX_FORMS: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "centre and size in pixels": lambda boxes, size: boxes,
    "corners in pixels": lambda boxes, size: _corners(boxes),
    "centre and size in fractions": lambda boxes, size: boxes / np.array(size * 2, np.float32),
    "corners in fractions": lambda boxes, size: _corners(boxes) / np.array(size * 2, np.float32),
    "corners in pixels, y first": lambda boxes, size: _corners(boxes)[:, [1, 0, 3, 2]],
}


def _corners(boxes: np.ndarray) -> np.ndarray:
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
