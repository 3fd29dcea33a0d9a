"""How much an error on each element of a raw head matters to detections.

A detection is a confidence p = P(object)·P(class) and a box. The weight of a logit is the square of how far the
confidence moves with it, that of a box value the square of how far the box moves with it, as a fraction of its size,
times p²: an error where nothing is found costs nothing. The formulas of boxes are those of `yolo_edge.ondevice.decode`.
"""

from collections.abc import Mapping

import numpy as np

from yolo_edge.ondevice.decode import LAYOUTS
from yolo_edge.ondevice.maps import CLASS_POWER, MAX_LOG_SIZE, OBJECTNESS_POWER, sigmoid
from yolo_edge.ondevice.spec import Head, ModelSpec

BOX, OBJECTNESS, CLASS = range(3)

_LEAST = 1e-3


def importance(spec: ModelSpec, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weight of each element.

    Args:
        spec: Of the raw heads, NCHW.
        outputs: Their maps by name, float32 [1, channels, rows, columns].

    Returns:
        By name float32 of the same shape, weights up to about 1.
    """
    found: dict[str, np.ndarray] = {}
    for head in spec.heads:
        weigh = _OTHERS.get(head.family, _anchor_grid)
        found.update(weigh(head, {role: outputs[name] for role, name in head.tensors.items()}))
    return {name: np.maximum(weights, _LEAST).astype(np.float32) for name, weights in found.items()}


def channel_kinds(spec: ModelSpec, name: str, channels: int) -> np.ndarray:
    """What each channel of a raw head says: `BOX`, `OBJECTNESS` or `CLASS`, int64 [channels]."""
    for head in spec.heads:
        role = next((role for role, tensor in head.tensors.items() if tensor == name), None)
        if role == "map" and head.family in LAYOUTS:
            kinds = np.full((len(head.anchors), channels // len(head.anchors)), BOX)
            first = LAYOUTS[head.family].objectness
            kinds[:, first], kinds[:, first + 1 :] = OBJECTNESS, CLASS
            return kinds.reshape(-1)
        if role is not None:
            return np.full(channels, {"objectness": OBJECTNESS, "classes": CLASS}.get(role, BOX))
    return np.full(channels, BOX)


def has_logistic_classes(spec: ModelSpec, name: str) -> bool:
    """Whether σ of the class channels of a raw head is a probability."""
    heads = [head for head in spec.heads if name in head.tensors.values()]
    return all(head.class_activation == "sigmoid" and not head.tree for head in heads)


def _anchor_grid(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    layout, array = LAYOUTS[head.family], maps["map"]
    _, channels, rows, columns = array.shape
    entries = array.reshape(len(head.anchors), -1, rows, columns)
    weights = np.zeros_like(entries)
    objectness = sigmoid(entries[:, layout.objectness])
    logits = entries[:, layout.objectness + 1 :]
    if head.tree or not logits.shape[1]:
        best, moved = np.ones_like(objectness), np.full_like(logits, 0.25)
    elif head.class_activation == "softmax":
        probability = _softmax(logits)
        best, moved = probability.max(axis=1), probability * (1 - probability)
    else:
        probability = sigmoid(logits)
        best, moved = probability.max(axis=1), probability * (1 - probability)
    weights[:, layout.objectness] = np.square(objectness * (1 - objectness) * best)
    weights[:, layout.objectness + 1 :] = np.square(objectness[:, None] * moved)
    confidence = objectness * best
    anchors = np.array(head.anchors, np.float32)
    for axis, (center, size) in enumerate(zip(layout.center, layout.size, strict=True)):
        t, s = sigmoid(entries[:, center]), entries[:, size]
        if layout.squared:
            extent = np.square(2 * sigmoid(s)) * anchors[:, axis, None, None]
            grown = 2 * (1 - sigmoid(s))
        else:
            extent = np.exp(np.minimum(s, MAX_LOG_SIZE)) * anchors[:, axis, None, None]
            grown = np.ones_like(s)
        moved_by = t * (1 - t) * head.scale_xy * head.stride / np.maximum(extent, 1)
        weights[:, center] = np.square(confidence * moved_by)
        weights[:, size] = np.square(confidence * grown)
    for channel in layout.uncertainty:
        u = sigmoid(entries[:, channel])
        weights[:, channel] = np.square(confidence * u * (1 - u) / 4)
    return {head.tensors["map"]: weights.reshape(1, channels, rows, columns)}


def _distances(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    classes, box = maps["classes"], maps["box"]
    probability = sigmoid(classes)
    confidence = probability.max(axis=1, keepdims=True)
    _, channels, rows, columns = box.shape
    logits = box.reshape(4, channels // 4, rows, columns)
    share = _softmax(logits)
    bins = np.arange(channels // 4, dtype=np.float32)[None, :, None, None]
    away = (share * bins).sum(axis=1, keepdims=True)
    sides = np.maximum(np.stack([away[0] + away[2], away[1] + away[3]] * 2), 0.1)  # in cells
    moved = share * (bins - away) / sides
    return {
        head.tensors["classes"]: np.square(probability * (1 - probability)),
        head.tensors["box"]: np.square(confidence[0] * moved).reshape(box.shape),
    }


def _plain_distances(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    classes, box = maps["classes"], maps["box"]
    probability = sigmoid(classes)
    confidence = probability.max(axis=1, keepdims=True)
    sides = np.maximum(np.concatenate([box[:, :2] + box[:, 2:]] * 2, axis=1), 0.1)  # in cells
    return {
        head.tensors["classes"]: np.square(probability * (1 - probability)),
        head.tensors["box"]: np.square(confidence / sides),
    }


def _offsets(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    objectness, classes, box = (maps[role] for role in ("objectness", "classes", "box"))
    there, probability = sigmoid(objectness), sigmoid(classes)
    best = probability.max(axis=1, keepdims=True)
    confidence = there * best
    size = np.exp(np.minimum(box[:, 2:], MAX_LOG_SIZE))
    moved = np.concatenate([1 / np.maximum(size, 0.1), np.ones_like(size)], axis=1)
    return {
        head.tensors["objectness"]: np.square(there * (1 - there) * best),
        head.tensors["classes"]: np.square(there * probability * (1 - probability)),
        head.tensors["box"]: np.square(confidence * moved),
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Along the second axis."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _fastestdet(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    objectness, classes, box = (maps[role] for role in ("objectness", "classes", "box"))
    there, probability = sigmoid(objectness), _softmax(classes)
    confidence = there**OBJECTNESS_POWER * probability.max(axis=1, keepdims=True) ** CLASS_POWER
    rows, columns = box.shape[2:]
    size = sigmoid(box[:, 2:])  # of the input
    cells = np.array([columns, rows], np.float32).reshape(1, 2, 1, 1)
    center = (1 - np.square(np.tanh(box[:, :2]))) / np.maximum(size * cells, 0.1)
    return {
        head.tensors["objectness"]: np.square(OBJECTNESS_POWER * (1 - there) * confidence),
        head.tensors["classes"]: np.square(CLASS_POWER * (1 - probability) * confidence)
        * (probability > probability.max(axis=1, keepdims=True) / 2),
        head.tensors["box"]: np.square(confidence * np.concatenate([center, 1 - size], axis=1)),
    }


def _shared_classes(head: Head, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    objectness, classes, box = (maps[role] for role in ("objectness", "classes", "box"))
    there, probability = sigmoid(objectness), _softmax(classes)
    best, likely = probability.max(axis=1, keepdims=True), there.max(axis=1, keepdims=True)
    t = sigmoid(box[0].reshape(len(head.anchors), 4, *box.shape[2:]))
    extent = np.square(2 * t[:, 2:]) * np.array(head.anchors, np.float32)[:, :, None, None]
    center = t[:, :2] * (1 - t[:, :2]) * head.scale_xy * head.stride / np.maximum(extent, 1)
    moved = np.concatenate([center, 2 * (1 - t[:, 2:])], axis=1) * (there * best)[0][:, None]
    return {
        head.tensors["objectness"]: np.square(there * (1 - there) * best),
        head.tensors["classes"]: np.square(likely * probability * (1 - probability)),
        head.tensors["box"]: np.square(moved).reshape(box.shape),
    }


_OTHERS = {
    "dfl": _distances,
    "fastestdet": _fastestdet,
    "ltrb": _plain_distances,
    "nanodet_plus": _distances,
    "yolo_fastestv2": _shared_classes,
    "yolox": _offsets,
}
