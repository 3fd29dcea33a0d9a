"""Heads of several maps: families whose boxes, objectness and classes come from convolutions of their own.

As in `yolo_edge.ondevice.decode`, a cell is column i, row j of the grid, σ the logistic function, boxes are in input
pixels, and the roles of the maps are in parentheses.

- `dfl` (YOLOv8, 11, 10; PP-YOLOE; YOLOv6-M and L; NanoDet; Li et al. 2020, generalized focal loss): for each of the
  four sides (box) a distribution over the distances 0, 1, … in cells; l = Σ k·softmax(t)_k. x1 = (i + ½ − l)·stride and
  so on; confidence = σ(t_c) (classes).
- `nanodet_plus` (NanoDet-Plus): as `dfl`, measured from the corner of the cell: x1 = (i − l)·stride.
- `ltrb` (YOLOv6-N and S, YOLO26): as `dfl`, with the distances themselves: l = t (box).
- `yolox` (Ge et al. 2021): x = (t_x + i)·stride, w = exp(t_w)·stride (box); confidence = σ(t_o)·σ(t_c) (objectness,
  classes).
- `fastestdet` (FastestDet, utils/tool.py): x = (tanh(t_x) + i)·stride, w = σ(t_w)·width of the input (box); confidence
  = σ(t_o)^0.6 · softmax(t)_c^0.4 (objectness, classes).
- `yolo_fastestv2` (Yolo-FastestV2, utils/utils.py): boxes as `yolov5`, four values for each anchor (box), an
  objectness for each anchor, and classes that all anchors of a cell share: confidence = σ(t_o) · softmax(t)_c.

Heads that are `one_to_one` were trained to give each object one box: a cell gives a box for every class that passes,
and nothing is suppressed.
"""

import math
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from yolo_edge.ondevice.quantized import head_affine, may_exceed
from yolo_edge.ondevice.spec import Head, ModelSpec

Decoded = Tuple[np.ndarray, np.ndarray, np.ndarray]
Outputs = Mapping[str, np.ndarray]

# 160 000 anchors wide is beyond any picture; larger logits would only overflow
MAX_LOG_SIZE = np.float32(12)
# family → the maps of a head
MAP_ROLES: Dict[str, Tuple[str, ...]] = {
    "dfl": ("box", "classes"),
    "fastestdet": ("box", "objectness", "classes"),
    "ltrb": ("box", "classes"),
    "nanodet_plus": ("box", "classes"),
    "yolo_fastestv2": ("box", "objectness", "classes"),
    "yolox": ("box", "objectness", "classes"),
}
# families whose maps have values for each anchor
ANCHORED = ("yolo_fastestv2",)
# families whose boxes are four distributions → where in a cell distances are measured from
DISTRIBUTIONS: Dict[str, float] = {"dfl": 0.5, "nanodet_plus": 0.0}
# FastestDet: how objectness and class go into the confidence
OBJECTNESS_POWER, CLASS_POWER = 0.6, 0.4


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), without overflow, in the type of `x`."""
    result: np.ndarray = 1 / (1 + np.exp(np.minimum(-x, np.float32(80))))
    return result


def logit(p: float) -> float:
    """The x with sigmoid(x) = p; ∓infinity at (or outside) 0 and 1."""
    if p <= 0:
        return -math.inf
    if p >= 1:
        return math.inf
    return math.log(p / (1 - p))


def map_widths(head: Head, classes: int) -> Dict[str, Optional[int]]:
    """Role → how many channels that map of a head has; None where any multiple of four will do."""
    each = max(len(head.anchors), 1) if head.family in ANCHORED else 1
    return {"box": None if head.family in DISTRIBUTIONS else 4 * each, "objectness": each, "classes": classes}


def _rows(head: Head, array: np.ndarray) -> np.ndarray:
    """A raw map as [cells, channels], a view of it."""
    channels = array.shape[3 if head.layout == "NHWC" else 1]
    rows: np.ndarray = array.reshape(-1, channels) if head.layout == "NHWC" else array.reshape(channels, -1).T
    return rows


class _Rows:
    """A raw map as rows of cells, [cells, channels]: floats, or integers that become floats where they are read."""

    def __init__(self, head: Head, role: str, outputs: Outputs):
        name = head.tensors[role]
        self._values = _rows(head, outputs[name])
        self._affine = head_affine(head, name, outputs[name])

    def __getitem__(self, cells: np.ndarray) -> np.ndarray:
        """The numbers of some cells, float32 [n, channels]."""
        found: np.ndarray = self._values[cells]
        if self._affine is not None:
            found = found * self._affine[0] + self._affine[1]
        return found

    def above(self, limit: float) -> np.ndarray:
        """The cells whose largest number exceeds a limit."""
        affine, values = self._affine, self._values
        high = values > np.float32(limit) if affine is None else may_exceed(values, affine, limit)
        if high.flags.c_contiguous:
            # row by row numpy takes ten times as long to find the largest
            cells = np.unique(np.flatnonzero(high) // high.shape[1])
        else:
            cells = np.flatnonzero(high.any(axis=1))
        found: np.ndarray = cells[self[cells].max(axis=1, initial=-np.inf) > np.float32(limit)]
        return found


def _likely_cells(head: Head, outputs: Outputs, threshold: float) -> Tuple[np.ndarray, ...]:
    """Cells whose best class passes the threshold, that class, and its logit; all that pass of one-to-one heads."""
    rows = _Rows(head, "classes", outputs)
    cell = rows.above(logit(threshold))
    logits = rows[cell]
    if head.one_to_one:
        which, class_id = np.nonzero(logits > np.float32(logit(threshold)))
        return cell[which], class_id, logits[which, class_id]
    class_id = logits.argmax(axis=1)
    return cell, class_id, logits[np.arange(len(cell)), class_id]


def _corner(spec: ModelSpec, head: Head, cell: np.ndarray) -> np.ndarray:
    """The column and row of cells, float32 [n, 2]."""
    columns = spec.grid(head)[1]
    return np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)


def _around(spec: ModelSpec, head: Head, cell: np.ndarray, offset: float, away: np.ndarray) -> np.ndarray:
    """Boxes whose sides are so many cells away from a place in their cell."""
    middle = _corner(spec, head, cell) + np.float32(offset)
    boxes: np.ndarray = np.concatenate([middle - away[:, :2], middle + away[:, 2:]], axis=1) * np.float32(head.stride)
    return boxes


def _decode_distributions(spec: ModelSpec, head: Head, outputs: Outputs, threshold: float) -> Decoded:
    cell, class_id, best = _likely_cells(head, outputs, threshold)
    logits = _Rows(head, "box", outputs)[cell]
    logits = logits.reshape(len(cell), 4, logits.shape[1] // 4)
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    bins = np.arange(logits.shape[2], dtype=np.float32)
    away = (odds * bins).sum(axis=2) / odds.sum(axis=2)
    return _around(spec, head, cell, DISTRIBUTIONS[head.family], away), sigmoid(best), class_id


def _decode_distances(spec: ModelSpec, head: Head, outputs: Outputs, threshold: float) -> Decoded:
    cell, class_id, best = _likely_cells(head, outputs, threshold)
    return _around(spec, head, cell, 0.5, _Rows(head, "box", outputs)[cell]), sigmoid(best), class_id


def _decode_offsets(spec: ModelSpec, head: Head, outputs: Outputs, threshold: float) -> Decoded:
    # what the objectness is multiplied with is at most 1, so it alone must pass
    objectness = _Rows(head, "objectness", outputs)
    cell = objectness.above(logit(threshold))
    logits = _Rows(head, "classes", outputs)[cell]
    class_id = logits.argmax(axis=1)
    confidence = sigmoid(objectness[cell][:, 0]) * sigmoid(logits[np.arange(len(cell)), class_id])
    keep = confidence > threshold
    cell, class_id, confidence = cell[keep], class_id[keep], confidence[keep]
    found = _Rows(head, "box", outputs)[cell]
    center = found[:, :2] + _corner(spec, head, cell)
    half = np.exp(np.minimum(found[:, 2:], MAX_LOG_SIZE)) / 2
    boxes = np.concatenate([center - half, center + half], axis=1) * np.float32(head.stride)
    return boxes, confidence, class_id


def _likeliest(logits: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The softmax of the best class of each row, float32 [n], and that class."""
    class_id = logits.argmax(axis=1)
    best = logits[np.arange(len(class_id)), class_id]
    return 1 / np.exp(logits - best[:, None]).sum(axis=1), class_id


def _decode_fastestdet(spec: ModelSpec, head: Head, outputs: Outputs, threshold: float) -> Decoded:
    objectness = _Rows(head, "objectness", outputs)
    # the class's part is at most 1
    cell = objectness.above(logit(max(threshold, 0) ** (1 / OBJECTNESS_POWER)))
    probability, class_id = _likeliest(_Rows(head, "classes", outputs)[cell])
    there = sigmoid(objectness[cell][:, 0])
    confidence = there ** np.float32(OBJECTNESS_POWER) * probability ** np.float32(CLASS_POWER)
    keep = confidence > threshold
    cell, class_id, confidence = cell[keep], class_id[keep], confidence[keep]
    found = _Rows(head, "box", outputs)[cell]
    center = (np.tanh(found[:, :2]) + _corner(spec, head, cell)) * np.float32(head.stride)
    half = sigmoid(found[:, 2:]) * np.array([spec.input.width, spec.input.height], np.float32) / 2
    return np.concatenate([center - half, center + half], axis=1), confidence, class_id


def _decode_shared_classes(spec: ModelSpec, head: Head, outputs: Outputs, threshold: float) -> Decoded:
    rows = _Rows(head, "objectness", outputs)
    # the class's part is at most 1
    likely = rows.above(logit(threshold))
    objectness = sigmoid(rows[likely])
    shared, classes = _likeliest(_Rows(head, "classes", outputs)[likely])
    confidences = objectness * shared[:, None]
    anchor, which = np.nonzero(threshold < confidences.T)
    cell, class_id = likely[which], classes[which]
    confidence = confidences[which, anchor]
    values = _Rows(head, "box", outputs)[cell].reshape(len(cell), len(head.anchors), 4)
    found = sigmoid(values[np.arange(len(cell)), anchor])
    stretch = np.float32(head.scale_xy)
    center = found[:, :2] * stretch - (stretch - 1) / 2 + _corner(spec, head, cell)
    center = center * np.float32(head.stride)
    half = np.square(2 * found[:, 2:]) * np.array(head.anchors, np.float32)[anchor] / 2
    return np.concatenate([center - half, center + half], axis=1), confidence, class_id


DECODERS: Dict[str, Callable[[ModelSpec, Head, Outputs, float], Decoded]] = {
    "dfl": _decode_distributions,
    "fastestdet": _decode_fastestdet,
    "ltrb": _decode_distances,
    "nanodet_plus": _decode_distributions,
    "yolo_fastestv2": _decode_shared_classes,
    "yolox": _decode_offsets,
}
