"""From raw head maps to boxes. Only cells whose objectness passes the threshold are looked at.

Formulas. A cell (column i, row j) of a head with anchors (p_w, p_h) predicts for each anchor t_x, t_y, t_w, t_h,
t_o and one t_c a class; s is `scale_xy`, σ the logistic function, all boxes in input pixels:

    x = (σ(t_x)·s − (s − 1)/2 + i) · stride        w = p_w · exp(t_w)
    y = (σ(t_y)·s − (s − 1)/2 + j) · stride        h = p_h · exp(t_h)
    confidence = σ(t_o) · P(class)

`yolo` (darknet `[yolo]`, YOLOv3 to v4; src/yolo_layer.c): P = σ(t_c). `region` (darknet `[region]`, YOLOv2;
src/region_layer.c): P = softmax over the classes, or σ where the cfg says `softmax=0`.
"""

import math
from typing import Callable, Dict, Mapping, Tuple

import numpy as np

from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.spec import Head, ModelSpec

Decoded = Tuple[np.ndarray, np.ndarray, np.ndarray]

# 160 000 anchors wide is beyond any picture; larger logits would only overflow
_MAX_LOG_SIZE = np.float32(12)


def decode(spec: ModelSpec, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    """Decode all heads; a cell's anchor gives one box, of its best class.

    Args:
        spec: The model's spec.
        outputs: Output name → float32 map, [1, C, rows, columns].
        threshold: Boxes at or below this confidence are left out.

    Returns:
        xyxy float32 [n, 4] in input pixels (not clipped), confidence float32 [n], class_id int64 [n].
    """
    parts = [DECODERS[head.family](spec, head, outputs, threshold) for head in spec.heads]
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
        if head.family not in DECODERS:
            raise SpecError(f"{where}.family: expected {' or '.join(sorted(DECODERS))}, got {head.family!r}")
        for role, expected in _expected_shapes(spec, head, where).items():
            if role not in head.tensors:
                raise SpecError(f"{where}.tensors: a {head.family} head has a tensor {role!r}, this one has none")
            name = head.tensors[role]
            if name not in shapes:
                raise SpecError(f"{where}.tensors: the model has no output {name!r}; it has {', '.join(shapes)}")
            if tuple(shapes[name]) != expected:
                raise SpecError(
                    f"{where}.tensors: output {name!r} should be {list(expected)} with {len(head.anchors)} "
                    f"anchors and {len(spec.names)} classes, and is {list(shapes[name])}"
                )


def _expected_shapes(spec: ModelSpec, head: Head, where: str) -> Dict[str, Tuple[int, ...]]:
    if not head.anchors:
        raise SpecError(f"{where}.anchors: a {head.family} head has anchors, this one has none")
    return {"map": (1, len(head.anchors) * (5 + len(spec.names)), *spec.grid(head))}


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


def _decode_anchor_grid(spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    rows, columns = spec.grid(head)
    entries = outputs[head.tensors["map"]].reshape(len(head.anchors), 5 + len(spec.names), rows * columns)
    # class probability is at most 1, so the objectness alone must pass
    anchor, cell = np.nonzero(entries[:, 4] > np.float32(logit(threshold)))
    found = entries[anchor, :, cell]
    class_logits = found[:, 5:]
    class_id = class_logits.argmax(axis=1)
    best = class_logits[np.arange(len(class_id)), class_id]
    if head.class_activation == "softmax":
        probability = 1 / np.exp(class_logits - best[:, None]).sum(axis=1)
    else:
        probability = sigmoid(best)
    confidence = sigmoid(found[:, 4]) * probability
    keep = confidence > threshold
    found, anchor, cell = found[keep], anchor[keep], cell[keep]

    stretch = np.float32(head.scale_xy)
    place = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
    center = (sigmoid(found[:, :2]) * stretch - (stretch - 1) / 2 + place) * np.float32(head.stride)
    sizes = np.array(head.anchors, np.float32)[anchor]
    half = np.exp(np.minimum(found[:, 2:4], _MAX_LOG_SIZE)) * sizes / 2
    return np.concatenate([center - half, center + half], axis=1), confidence[keep], class_id[keep]


DECODERS: Dict[str, Callable[[ModelSpec, Head, Mapping[str, np.ndarray], float], Decoded]] = {
    "region": _decode_anchor_grid,
    "yolo": _decode_anchor_grid,
}
