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

The families with several maps a head are those of `yolo_edge.ondevice.maps`.

Files that decode by themselves: `decoded` has one output, [1, 4 + classes, N], centre, size and a score a class, in
input pixels or (`normalized`) fractions of the input; `nms` has one, [1, max, 6], x1, y1, x2, y2 in input pixels,
confidence, class, zeros after the last box; `detection_postprocess` has the four of TFLite's operator of that name:
boxes [1, max, 4] as y1, x1, y2, x2 in fractions of the input, classes [1, max], scores [1, max], and their count [1],
behind which nothing is defined.

Raw maps of int8 files hold integers (`Head.quantization`): numbers are made only of those that are looked at.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Callable, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.maps import (
    ANCHORED,
    DECODERS,
    DISTRIBUTIONS,
    MAP_ROLES,
    MAX_LOG_SIZE,
    Decoded,
    logit,
    map_widths,
    sigmoid,
)
from yolo_edge.ondevice.quantized import head_affine
from yolo_edge.ondevice.spec import Head, ModelSpec
from yolo_edge.ondevice.wordtree import map_probabilities, walk

# what the outputs of a `detection_postprocess` head are, and their shapes
POSTPROCESS_ROLES: Dict[str, Tuple[Optional[int], ...]] = {
    "boxes": (1, None, 4),
    "classes": (1, None),
    "scores": (1, None),
    "count": (1,),
}
# families whose file does the NMS
SUPPRESSED = ("detection_postprocess", "nms")
# thinner boxes, in input pixels, are no boxes: NMS could not compare them
MIN_SIDE = 0.01


@dataclass(frozen=True)
class Layout:
    """Where the values of a box stand among the channels of an anchor; the classes follow the objectness.

    Attributes:
        center: t_x and t_y.
        size: t_w and t_h.
        objectness: t_o.
        uncertainty: The four u of `gaussian_yolo`; empty elsewhere.
        squared: The size is (2σ(t))² anchors instead of exp(t).
    """

    center: range = range(2)
    size: range = range(2, 4)
    objectness: int = 4
    uncertainty: range = range(0)
    squared: bool = False


LAYOUTS: Dict[str, Layout] = {
    "gaussian_yolo": Layout(range(0, 4, 2), range(4, 8, 2), 8, range(1, 8, 2)),
    "region": Layout(),
    "yolo": Layout(),
    "yolov5": Layout(squared=True),
}


def entries_before_classes(family: str) -> int:
    """How many channels of an anchor come before its classes."""
    return LAYOUTS[family].objectness + 1


def decode(spec: ModelSpec, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    """Decode all heads; a cell's anchor gives one box, of its best class.

    Args:
        spec: The model's spec.
        outputs: Output name → map, in the layout that its head says: float32, or the integers that the head speaks of.
        threshold: Boxes at or below this confidence are left out.

    Returns:
        xyxy float32 [n, 4] in input pixels (not clipped), confidence float32 [n], class_id int64 [n]. Boxes that are
        not finite, or thinner than `MIN_SIDE`, are left out.
    """
    boxes, confidence, class_id = decode_cells(spec, outputs, threshold)
    sides = boxes[:, 2:] - boxes[:, :2]
    whole = np.isfinite(boxes).all(axis=1) & (sides >= MIN_SIDE).all(axis=1)
    if whole.all():
        return boxes, confidence, class_id
    return boxes[whole], confidence[whole], class_id[whole]


def decode_cells(spec: ModelSpec, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    """As `decode`, with all boxes, also those that are none."""
    parts = []
    for (family, *_), alike in groupby(spec.heads, _kind):
        if family in LAYOUTS:
            parts.append(_decode_anchor_grids(spec, tuple(alike), outputs, threshold))
        else:
            parts += [_OTHERS[family](spec, head, outputs, threshold) for head in alike]
    boxes, confidence, class_id = (np.concatenate(arrays) for arrays in zip(*parts))
    return boxes, confidence, class_id.astype(np.int64, copy=False)


def check_heads(
    spec: ModelSpec,
    shapes: Mapping[str, Tuple[int, ...]],
    where: str = "spec",
    dtypes: Optional[Mapping[str, str]] = None,
) -> None:
    """Check that a model has the outputs that its spec speaks of.

    Args:
        spec: The model's spec.
        shapes: Output name → shape.
        where: What the spec was read from, for error messages.
        dtypes: Output name → numpy type name; None: not known.

    Raises:
        SpecError: An unknown family, a missing output, or one of another shape or type; both values are stated.
    """
    for i, head in enumerate(spec.heads):
        at = f"{where}.heads[{i}]"
        if head.family not in LAYOUTS and head.family not in _OTHERS:
            known = ", ".join(sorted([*LAYOUTS, *_OTHERS]))
            raise SpecError(f"{at}.family: expected one of {known}, got {head.family!r}")
        if (head.family in LAYOUTS or head.family in ANCHORED) and not head.anchors:
            raise SpecError(f"{at}.anchors: a {head.family} head has anchors, this one has none")
        for role, (expected, described) in _expected_shapes(spec, head).items():
            if role not in head.tensors:
                raise SpecError(f"{at}.tensors: a {head.family} head has a tensor {role!r}, this one has none")
            name = head.tensors[role]
            if name not in shapes:
                raise SpecError(f"{at}.tensors: the model has no output {name!r}; it has {', '.join(shapes)}")
            shape = tuple(shapes[name])
            if len(shape) != len(expected) or any(want not in (None, got) for want, got in zip(expected, shape)):
                text = ", ".join("N" if side is None else str(side) for side in expected)
                raise SpecError(f"{at}.tensors: output {name!r} should be [{text}] {described}, and is {list(shape)}")
            if (head.family in DISTRIBUTIONS and role == "box") and shape[3 if head.layout == "NHWC" else 1] % 4:
                raise SpecError(f"{at}.tensors: output {name!r} holds four distributions, and is {list(shape)}")
            _check_integers(head, name, shape, None if dtypes is None else dtypes[name], at)


def _check_integers(head: Head, name: str, shape: Tuple[int, ...], dtype: Optional[str], at: str) -> None:
    quantization = head.quantization.get(name)
    if dtype is not None and (dtype in ("int8", "uint8")) != (quantization is not None):
        what = "has no quantization" if quantization is None else "has one"
        raise SpecError(f"{at}.quantization: output {name!r} is {dtype}, and {what} here")
    if quantization is None:
        return
    if head.family not in LAYOUTS and head.family not in MAP_ROLES:
        raise SpecError(f"{at}.quantization: a {head.family} head holds float32")
    channels = shape[3 if head.layout == "NHWC" else 1]
    for what, values in (("factor", quantization.factor), ("offset", quantization.offset)):
        if len(values) not in (0, channels):
            raise SpecError(f"{at}.quantization: output {name!r} has {channels} channels, and {len(values)} {what}s")


def _expected_shapes(spec: ModelSpec, head: Head) -> Dict[str, Tuple[Tuple[Optional[int], ...], str]]:
    """Role → the shape of that output, None where any size will do, and what it follows from."""
    if head.family == "decoded":
        return {"map": ((1, 4 + len(spec.names), None), f"with {len(spec.names)} classes")}
    if head.family == "nms":
        return {"map": ((1, None, 6), "after NMS")}
    if head.family == "detection_postprocess":
        return {role: (shape, "after NMS") for role, shape in POSTPROCESS_ROLES.items()}
    if head.family in MAP_ROLES:
        widths = map_widths(head, len(spec.names))
        return {role: _map_shape(spec, head, widths[role]) for role in MAP_ROLES[head.family]}
    classes = len(head.tree) or len(spec.names)
    channels = len(head.anchors) * (entries_before_classes(head.family) + classes)
    shape, _ = _map_shape(spec, head, channels)
    return {"map": (shape, f"with {len(head.anchors)} anchors and {classes} classes")}


def _map_shape(spec: ModelSpec, head: Head, channels: Optional[int]) -> Tuple[Tuple[Optional[int], ...], str]:
    grid = spec.grid(head)
    shape = (1, *grid, channels) if head.layout == "NHWC" else (1, channels, *grid)
    return shape, f"with {len(spec.names)} classes"


def _entries(head: Head, array: np.ndarray) -> np.ndarray:
    """A raw map as [anchors, entries, cells], a view of it."""
    anchors = len(head.anchors)
    entries: np.ndarray
    if head.layout == "NHWC":
        _, rows, columns, channels = array.shape
        entries = array.reshape(rows * columns, anchors, channels // anchors).transpose(1, 2, 0)
    else:
        _, channels, rows, columns = array.shape
        entries = array.reshape(anchors, channels // anchors, rows * columns)
    return entries


def _kind(head: Head) -> Tuple[str, str, Tuple[int, ...], Tuple[int, ...]]:
    """What heads have in common whose boxes are computed together."""
    return head.family, head.class_activation, head.tree, head.tree_map


def _decode_anchor_grids(
    spec: ModelSpec, heads: Sequence[Head], outputs: Mapping[str, np.ndarray], threshold: float
) -> Decoded:
    """Heads of one kind. What is left of all of them is computed at once: on small arrays, calls are what costs."""
    head, layout = heads[0], LAYOUTS[heads[0].family]
    parts = [_likely_anchors(spec, one, outputs, threshold) for one in heads]
    found, where = (np.concatenate(arrays) for arrays in zip(*parts))
    probability, class_id = _best_class(head, found[:, layout.objectness + 1 :])
    confidence = sigmoid(found[:, layout.objectness]) * probability
    if layout.uncertainty:
        confidence = confidence * (1 - sigmoid(found[:, layout.uncertainty]).mean(axis=1))
    keep = confidence > threshold
    found, where = found[keep], where[keep]

    place, stride, stretch, anchor = where[:, :2], where[:, 2:3], where[:, 3:4], where[:, 4:]
    center = (sigmoid(found[:, layout.center]) * stretch - (stretch - 1) / 2 + place) * stride
    size = found[:, layout.size]
    growth = np.square(2 * sigmoid(size)) if layout.squared else np.exp(np.minimum(size, MAX_LOG_SIZE))
    half = growth * anchor / 2
    return np.concatenate([center - half, center + half], axis=1), confidence[keep], class_id[keep]


def _likely_anchors(
    spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float
) -> Tuple[np.ndarray, np.ndarray]:
    """The anchors of cells whose objectness passes the threshold.

    Returns:
        Their entries, float32 [n, entries], and where they are, float32 [n, 6]: column, row, stride, `scale_xy`, width
        and height of the anchor.
    """
    layout = LAYOUTS[head.family]
    name = head.tensors["map"]
    entries, affine = _entries(head, outputs[name]), head_affine(head, name, outputs[name])
    objectness = entries[:, layout.objectness]
    if affine is not None:
        gain, shift = (side.reshape(len(head.anchors), -1) for side in affine)
        objectness = objectness * gain[:, layout.objectness, None] + shift[:, layout.objectness, None]
    # what the objectness is multiplied with is at most 1, so it alone must pass
    anchor, cell = np.nonzero(objectness > np.float32(logit(threshold)))
    found = entries[anchor, :, cell]
    if affine is not None:
        found = found * gain[anchor] + shift[anchor]
    where = np.empty((len(cell), 6), np.float32)
    where[:, 1], where[:, 0] = np.divmod(cell, spec.grid(head)[1])
    where[:, 2], where[:, 3] = head.stride, head.scale_xy
    where[:, 4:] = np.array(head.anchors, np.float32)[anchor]
    return found, where


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


def _decode_flat(spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    values = outputs[head.tensors["map"]][0]
    if head.one_to_one:
        kept, class_id = np.nonzero(threshold < values[4:].T)
    else:
        class_id = values[4:].argmax(axis=0)
        kept = np.flatnonzero(values[4:].max(axis=0) > threshold)
        class_id = class_id[kept]
    center, half = values[:2, kept].T, values[2:4, kept].T / 2
    boxes = np.concatenate([center - half, center + half], axis=1)
    if head.normalized:
        boxes *= np.array([spec.input.width, spec.input.height] * 2, np.float32)
    return boxes, values[4 + class_id, kept], class_id


def _decode_rows(spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    rows = outputs[head.tensors["map"]][0]
    kept = rows[rows[:, 4] > max(threshold, 0)]  # rows of zeros are no boxes
    return kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int64)


def _decode_postprocess(spec: ModelSpec, head: Head, outputs: Mapping[str, np.ndarray], threshold: float) -> Decoded:
    boxes, classes, scores, count = (outputs[head.tensors[role]][0] for role in POSTPROCESS_ROLES)
    kept = np.flatnonzero(scores[: max(int(count), 0)] > threshold)
    side = np.array([spec.input.width, spec.input.height] * 2, np.float32)
    return boxes[kept][:, [1, 0, 3, 2]] * side, scores[kept], classes[kept].astype(np.int64)


_OTHERS: Dict[str, Callable[[ModelSpec, Head, Mapping[str, np.ndarray], float], Decoded]] = {
    **DECODERS,
    "decoded": _decode_flat,
    "detection_postprocess": _decode_postprocess,
    "nms": _decode_rows,
}
