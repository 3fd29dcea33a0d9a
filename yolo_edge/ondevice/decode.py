"""From raw head maps to boxes. Only cells whose objectness passes the threshold are looked at.

Formulas. A cell (column i, row j) of a head with anchors (p_w, p_h) predicts for each anchor t_x, t_y, t_w, t_h,
t_o and one t_c a class; s is `scale_xy`, σ the logistic function, all boxes in input pixels:

    x = (σ(t_x)·s − (s − 1)/2 + i) · stride        w = p_w · exp(t_w)
    y = (σ(t_y)·s − (s − 1)/2 + j) · stride        h = p_h · exp(t_h)
    confidence = σ(t_o) · P(class)

- `yolo` (darknet `[yolo]`, YOLOv3 and v4; src/yolo_layer.c): P = σ(t_c).
- `yolov5` (YOLOv5; darknet `new_coords=1`, Scaled-YOLOv4): as `yolo`, with w = p_w · (2σ(t_w))², h = p_h · (2σ(t_h))².
- `gaussian_yolo` (darknet `[Gaussian_yolo]`; Choi et al. 2019): each of the four t has an uncertainty u behind it;
  confidence = σ(t_o) · σ(t_c) · (1 − mean of the four σ(u)).
- `region` (darknet `[region]`, YOLOv2; src/region_layer.c): P = softmax over the classes; σ where `softmax=0`. With a
  word tree (YOLO9000): a softmax over the children of each node; the class is found by walking down from the root to
  the likeliest child while the product of the probabilities stays above 0.5, and the confidence is σ(t_o), as darknet
  has it. With a map the confidence of each mapped class is σ(t_o) times the product from its root.
"""

import math
from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Tuple

import numpy as np

from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.spec import Head, ModelSpec
from yolo_edge.ondevice.wordtree import map_probabilities, walk

Decoded = Tuple[np.ndarray, np.ndarray, np.ndarray]

# 160 000 anchors wide is beyond any picture; larger logits would only overflow
_MAX_LOG_SIZE = np.float32(12)


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


def _exponential(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(np.minimum(logits, _MAX_LOG_SIZE))
    return result


def _squared(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.square(2 * sigmoid(logits))
    return result


@dataclass(frozen=True)
class _Layout:
    """Where the values of a box stand among the channels of an anchor; the classes follow the objectness."""

    center: Tuple[int, int] = (0, 1)
    size: Tuple[int, int] = (2, 3)
    objectness: int = 4
    uncertainty: Tuple[int, ...] = ()
    grow: Callable[[np.ndarray], np.ndarray] = _exponential


_LAYOUTS: Dict[str, _Layout] = {
    "gaussian_yolo": _Layout((0, 2), (4, 6), 8, (1, 3, 5, 7)),
    "region": _Layout(),
    "yolo": _Layout(),
    "yolov5": _Layout(grow=_squared),
}


def entries_before_classes(family: str) -> int:
    """How many channels of an anchor come before its classes."""
    return _LAYOUTS[family].objectness + 1


def decode(spec: ModelSpec, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    """Decode all heads; a cell's anchor gives one box, of its best class.

    Args:
        spec: The model's spec.
        outputs: Output name → float32 map, [1, C, rows, columns].
        threshold: Boxes at or below this confidence are left out.

    Returns:
        xyxy float32 [n, 4] in input pixels (not clipped), confidence float32 [n], class_id int64 [n].
    """
    parts = [_decode_anchor_grid(spec, head, outputs, threshold) for head in spec.heads]
    boxes, confidence, class_id = zip(*parts)
    return np.concatenate(boxes), np.concatenate(confidence), np.concatenate(class_id)


def check_heads(spec: ModelSpec, shapes: Mapping[str, Tuple[int, ...]]) -> None:
    """Check that a model has the outputs that its spec speaks of.

    Args:
        spec: The model's spec.
        shapes: Output name → shape.

    Raises:
        SpecError: An unknown family, a missing output, or one of another shape; both values are stated.
    """
    for i, head in enumerate(spec.heads):
        where = f"spec.heads[{i}]"
        if head.family not in _LAYOUTS:
            raise SpecError(f"{where}.family: expected one of {', '.join(_LAYOUTS)}, got {head.family!r}")
        if not head.anchors:
            raise SpecError(f"{where}.anchors: a {head.family} head has anchors, this one has none")
        if "map" not in head.tensors:
            raise SpecError(f"{where}.tensors: a {head.family} head has a tensor 'map', this one has none")
        name = head.tensors["map"]
        if name not in shapes:
            raise SpecError(f"{where}.tensors: the model has no output {name!r}; it has {', '.join(shapes)}")
        classes = _tensor_classes(spec, head)
        channels = len(head.anchors) * (entries_before_classes(head.family) + classes)
        expected = (1, channels, *spec.grid(head))
        if tuple(shapes[name]) != expected:
            raise SpecError(
                f"{where}.tensors: output {name!r} should be {list(expected)} with {len(head.anchors)} "
                f"anchors and {classes} classes, and is {list(shapes[name])}"
            )


def _tensor_classes(spec: ModelSpec, head: Head) -> int:
    return len(head.tree) or len(spec.names)


def _decode_anchor_grid(spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    layout = _LAYOUTS[head.family]
    rows, columns = spec.grid(head)
    entries = outputs[head.tensors["map"]].reshape(len(head.anchors), -1, rows * columns)
    # what the objectness is multiplied with is at most 1, so it alone must pass
    anchor, cell = np.nonzero(entries[:, layout.objectness] > np.float32(logit(threshold)))
    found = entries[anchor, :, cell]
    probability, class_id = _best_class(head, found[:, layout.objectness + 1 :])
    confidence = sigmoid(found[:, layout.objectness]) * probability
    if layout.uncertainty:
        confidence = confidence * (1 - sigmoid(found[:, layout.uncertainty]).mean(axis=1))
    keep = confidence > threshold
    found, anchor, cell = found[keep], anchor[keep], cell[keep]

    stretch = np.float32(head.scale_xy)
    place = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
    center = (sigmoid(found[:, layout.center]) * stretch - (stretch - 1) / 2 + place) * np.float32(head.stride)
    half = layout.grow(found[:, layout.size]) * np.array(head.anchors, np.float32)[anchor] / 2
    return np.concatenate([center - half, center + half], axis=1), confidence[keep], class_id[keep]


def _best_class(head: Head, logits: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The probability float32 [n] and the id int64 [n] of the likeliest class of each row."""
    if head.tree_map:
        logits = map_probabilities(head.tree, head.tree_map, logits)
        class_id = logits.argmax(axis=1)
        return logits[np.arange(len(class_id)), class_id], class_id
    if head.tree:
        return np.ones(len(logits), np.float32), walk(head.tree, logits)
    class_id = logits.argmax(axis=1)
    best = logits[np.arange(len(class_id)), class_id]
    if head.class_activation == "softmax":
        return 1 / np.exp(logits - best[:, None]).sum(axis=1), class_id
    return sigmoid(best), class_id
