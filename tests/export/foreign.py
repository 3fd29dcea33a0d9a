"""ONNX detectors of other families with random weights, as their exporters write them; no trainer is needed."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.export.onnx_parts import STRIDES, OnnxWriter, body, depthwise, shuffle_net

ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))


def with_nms(w: OnnxWriter, boxes: str, scores: str, center: bool = True) -> list[str]:
    """NonMaxSuppression behind boxes [1, N, 4] and scores [1, classes, N]; what it chose is an output."""
    limits = w.ints(50), w.array([0.45]), w.array([0.25])
    return [w.op("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(center))]


def yolov5(
    opset: int = 12,
    classes: int = 3,
    seed: int = 0,
    form: str = "decoded",
    activation: str = "silu",
    implicit: bool = False,
    constants: bool = False,
    sigmoid: str = "fused",
    **metadata: str,
) -> onnx.ModelProto:
    """YOLOv5 and v7: one map a level; `form` is decoded, corners, raw, or nms."""
    w = OnnxWriter(opset, np.random.default_rng(seed), as_constants=constants)
    outputs = []
    for level, (x, channels) in enumerate(body(w, activation, focus=seed % 2 == 1)):
        values, rows, columns = 5 + classes, w.height // STRIDES[level], w.width // STRIDES[level]
        if implicit:  # YOLOv7's ImplicitA and ImplicitM, as an export without fuse() has them
            known = w.op("Add", x, w.array(w.rng.normal(0, 0.5, (1, channels, 1, 1))))
        raw = w.conv(known if implicit else x, channels, 2 * values)
        if implicit:
            raw = w.op("Mul", raw, w.array(w.rng.uniform(0.5, 1.5, (1, 2 * values, 1, 1))))
        raw = w.op("Reshape", raw, w.ints(1, 2, values, rows, columns))
        raw = w.op("Transpose", raw, perm=[0, 1, 3, 4, 2])
        if form == "raw":
            outputs.append(raw)
            continue
        y = w.sigmoid(raw, sigmoid)
        xy, wh, rest = w.split(y, [2, 2, 1 + classes], 4)
        place = w.grid(level).transpose(1, 2, 0)[None, None]
        xy = w.op("Add", w.op("Mul", xy, w.array(2)), w.array(np.broadcast_to(place - 0.5, (1, 2, rows, columns, 2))))
        xy = w.op("Mul", xy, w.array(STRIDES[level]))
        sides = np.array(ANCHORS[level], np.float32).reshape(1, 2, 1, 1, 2)
        wh = w.op("Pow", w.op("Mul", wh, w.array(2)), w.array(2))
        wh = w.op("Mul", wh, w.array(np.broadcast_to(sides, (1, 2, rows, columns, 2))))
        joined = w.op("Concat", xy, wh, rest, axis=4)
        outputs.append(w.op("Reshape", joined, w.ints(1, 2 * rows * columns, values)))
    if form == "raw":
        return w.model(outputs, **metadata)
    whole = w.op("Concat", *outputs, axis=1)
    if form == "decoded":
        return w.model([whole], **metadata)
    center, size, objectness, scores = w.split(whole, [2, 2, 1, classes], 2)
    half = w.op("Mul", size, w.array(0.5))
    corners = w.op("Concat", w.op("Sub", center, half), w.op("Add", center, half), axis=2)
    product = w.op("Mul", scores, objectness)
    if form == "corners":
        return w.model([corners, product], **metadata)
    boxes = w.op("Concat", center, size, axis=2)
    if form == "plugin":  # TensorRT's, which no other runtime has
        w.nodes.append(helper.make_node("EfficientNMS_TRT", [boxes, product], ["count", "found"], domain="TRT"))
        return w.model(["count", "found"], TRT=1, **metadata)
    return w.model(with_nms(w, boxes, w.op("Transpose", product, perm=[0, 2, 1])), **metadata)


def _mean_distance(w: OnnxWriter, box: str, bins: int, total: int, sums: str) -> str:
    """Four softmaxes and their means, [1, 4, total]."""
    odds = w.op("Reshape", box, w.ints(1, 4, bins, total))
    if sums == "conv":
        odds = w.op("Softmax", w.op("Transpose", odds, perm=[0, 2, 1, 3]), axis=1) if w.opset >= 13 else None
        weight = w.array(np.arange(bins).reshape(1, bins, 1, 1))
        away = w.op("Conv", odds, weight, kernel_shape=[1, 1])
    else:
        odds = w.op("Softmax", w.op("Transpose", odds, perm=[0, 3, 1, 2]), axis=3)
        away = w.op("MatMul", odds, w.array(np.arange(bins)))
        away = w.op("Transpose", away, perm=[0, 2, 1])
    return w.op("Reshape", away, w.ints(1, 4, total))


def yolov8(
    opset: int = 17,
    classes: int = 3,
    seed: int = 0,
    form: str = "decoded",
    activation: str = "silu",
    attention: bool = False,
    bins: int = 16,
    sums: str = "conv",
    learned: tuple[int, int] | None = None,
    constants: bool = False,
    sigmoid: str = "fused",
    ones: bool = False,
    scaled: bool = False,
    keep: int = 20,
    behind: Callable[[OnnxWriter, str, int], str] | None = None,
    **metadata: str,
) -> onnx.ModelProto:
    """YOLOv8 to 11, and YOLOv6 and PP-YOLOE: distances of the sides, and classes.

    `bins` 1: the distances themselves, elsewhere distributions over them. `form` is decoded, corners, separate (as
    PP-YOLOE), raw, nms, or once (one-to-one heads as YOLOv10 and YOLO26 end: the best `keep` scores, with their boxes).
    `ones`: an objectness of 1, as YOLOv6 writes it. `scaled`: separate boxes are divided by an input `scale_factor`.
    `behind`: more nodes behind the finest map, as large as it; it gets the map and its channels.
    """
    w = OnnxWriter(opset, np.random.default_rng(seed), as_constants=constants)
    flat, places, steps = [], [], []
    raw = []
    maps = body(w, activation, attention=attention, learned=learned)
    if behind:
        maps[0] = behind(w, *maps[0]), maps[0][1]
    for level, (x, channels) in enumerate(maps):
        # plain distances are above 0
        box = w.conv(x, channels, 4, gain=0.2, lift=3) if bins == 1 else w.conv(x, channels, 4 * bins)
        scores = w.conv(x, channels, classes)
        joined = w.op("Concat", box, scores, axis=1)
        raw.append(joined)
        cells = w.grid(level).reshape(2, -1)
        flat.append(w.op("Reshape", joined, w.ints(1, 4 * bins + classes, cells.shape[1])))
        places.append(cells + 0.5)
        steps.append(np.full(cells.shape[1], STRIDES[level]))
    if form == "raw":
        return w.model(raw, **metadata)
    whole = w.op("Concat", *flat, axis=2)
    total = sum(len(part) for part in steps)
    box, scores = w.split(whole, [4 * bins, classes], 1)
    away = box if bins == 1 else _mean_distance(w, box, bins, total, sums)
    low, high = w.slice(away, 1, 0, 2), w.slice(away, 1, 2, 4)
    place = w.array(np.concatenate(places, axis=1)[None])
    corner, other = w.op("Sub", place, low), w.op("Add", place, high)
    step = w.array(np.concatenate(steps).reshape(1, 1, -1))
    scores = w.sigmoid(scores, sigmoid)
    if form in ("corners", "separate", "once"):
        boxes = w.op("Mul", w.op("Concat", corner, other, axis=1), step)
        if form == "separate":
            boxes = w.op("Transpose", boxes, perm=[0, 2, 1])
            return w.model([_unscaled(w, boxes) if scaled else boxes, scores], **metadata)
        if form == "once":
            return w.model([_best(w, boxes, scores, classes, keep)], **metadata)
        return w.model([w.op("Concat", boxes, scores, axis=1)], **metadata)
    center = w.op("Div", w.op("Add", corner, other), w.array(2))
    boxes = w.op("Mul", w.op("Concat", center, w.op("Sub", other, corner), axis=1), step)
    if form == "nms":
        return w.model(with_nms(w, w.op("Transpose", boxes, perm=[0, 2, 1]), scores), **metadata)
    if ones:
        rows = w.op("Concat", boxes, w.array(np.ones((1, 1, total))), scores, axis=1)
        return w.model([w.op("Transpose", rows, perm=[0, 2, 1])], **metadata)
    return w.model([w.op("Concat", boxes, scores, axis=1)], **metadata)


def _unscaled(w: OnnxWriter, boxes: str) -> str:
    """PPYOLOEHead.post_process: boxes [1, N, 4] in pixels of the picture, by an input of its height and width."""
    w.more["scale_factor"] = [1, 2]
    high, wide = w.split("scale_factor", [1, 1], 1)
    return w.op("Div", boxes, w.op("Reshape", w.op("Concat", wide, high, wide, high, axis=1), w.ints(-1, 1, 4)))


def _best(w: OnnxWriter, boxes: str, scores: str, classes: int, keep: int) -> str:
    """Ultralytics' postprocess of one-to-one heads: the best anchors, then the best scores of them, [1, keep, 6]."""
    boxes, scores = (w.op("Transpose", value, perm=[0, 2, 1]) for value in (boxes, scores))
    most = (
        w.op("ReduceMax", scores, axes=[2], keepdims=0)
        if w.opset < 18
        else w.op("ReduceMax", scores, w.ints(2), keepdims=0)
    )
    _, index = w.ops("TopK", most, w.ints(keep), outputs=2, axis=1)
    places = w.op("Unsqueeze", index, w.ints(2)) if w.opset >= 13 else w.op("Unsqueeze", index, axes=[2])
    boxes = w.op("GatherElements", boxes, w.op("Expand", places, w.ints(1, keep, 4)), axis=1)
    scores = w.op("GatherElements", scores, w.op("Expand", places, w.ints(1, keep, classes)), axis=1)
    best, index = w.ops("TopK", w.op("Reshape", scores, w.ints(1, -1)), w.ints(keep), outputs=2, axis=1)
    label, place = w.op("Mod", index, w.ints(classes)), w.op("Div", index, w.ints(classes))
    rows = w.op("Reshape", place, w.ints(1, keep, 1))
    boxes = w.op("GatherElements", boxes, w.op("Expand", rows, w.ints(1, keep, 4)), axis=1)
    label = w.op("Cast", w.op("Reshape", label, w.ints(1, keep, 1)), to=TensorProto.FLOAT)
    return w.op("Concat", boxes, w.op("Reshape", best, w.ints(1, keep, 1)), label, axis=2)


def yolox(
    opset: int = 11, classes: int = 3, seed: int = 0, form: str = "offsets", constants: bool = False
) -> onnx.ModelProto:
    """YOLOX: three maps a level behind a Focus; `form` is offsets (as its export has it), decoded, raw, or nms."""
    w = OnnxWriter(opset, np.random.default_rng(seed), as_constants=constants)
    flat, places, steps = [], [], []
    raw = []
    for level, (x, channels) in enumerate(body(w, focus=True, pixels=True)):
        left, right = (w.activation(w.conv(x, channels, 16, 3), "silu") for _ in range(2))
        scores = w.conv(left, 16, classes)
        box, objectness = w.conv(right, 16, 4), w.conv(right, 16, 1)
        raw += [box, objectness, scores]
        joined = w.op("Concat", box, w.op("Sigmoid", objectness), w.op("Sigmoid", scores), axis=1)
        cells = w.grid(level).reshape(2, -1)
        flat.append(w.op("Reshape", joined, w.ints(1, 5 + classes, cells.shape[1])))
        places.append(cells)
        steps.append(np.full(cells.shape[1], STRIDES[level]))
    if form == "raw":
        return w.model(raw)
    whole = w.op("Transpose", w.op("Concat", *flat, axis=2), perm=[0, 2, 1])
    if form == "offsets":
        return w.model([whole])
    xy, wh, rest = w.split(whole, [2, 2, 1 + classes], 2)
    step = w.array(np.concatenate(steps).reshape(1, -1, 1))
    xy = w.op("Mul", w.op("Add", xy, w.array(np.concatenate(places, axis=1).T[None])), step)
    wh = w.op("Mul", w.op("Exp", wh), step)
    if form == "decoded":
        return w.model([w.op("Concat", xy, wh, rest, axis=2)])
    objectness, scores = w.split(rest, [1, classes], 2)
    scores = w.op("Transpose", w.op("Mul", scores, objectness), perm=[0, 2, 1])
    return w.model(with_nms(w, w.op("Concat", xy, wh, axis=2), scores))


def nanodet(
    opset: int = 11,
    classes: int = 3,
    seed: int = 0,
    form: str = "lists",
    plus: bool = False,
    kind: str = "split",
    sigmoid: str = "fused",
) -> onnx.ModelProto:
    """NanoDet: one convolution a level for classes and distributions, split at once; a bilinear neck.

    `form` is lists (outputs by kind and level) or rows (all in one, as NanoDet-Plus). `plus`: with its fourth level.
    """
    w = OnnxWriter(opset, np.random.default_rng(seed), height=128, width=64)
    maps = shuffle_net(w, kind, activation="leaky")
    top = w.conv(maps[2][0], maps[2][1], maps[1][1])
    scales = w.array([]), w.array([1, 1, 2, 2])
    grown = w.op("Resize", top, *scales, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    maps[1] = (w.op("Add", grown, maps[1][0]), maps[1][1])
    if plus:
        maps.append((w.conv(maps[2][0], maps[2][1], 8, 3, 2), 8))
    lists: list[list[str]] = [[], []]
    rows = []
    for level, (x, channels) in enumerate(maps):
        cells = (w.height // (8 << level)) * (w.width // (8 << level))
        scores, box = w.split(w.conv(depthwise(w, x, channels), channels, classes + 32), [classes, 32], 1)
        scores = w.sigmoid(scores, sigmoid)
        if form == "rows":
            rows.append(w.op("Reshape", w.op("Concat", scores, box, axis=1), w.ints(1, classes + 32, cells)))
            continue
        for values, width, into in ((scores, classes, lists[0]), (box, 32, lists[1])):
            into.append(w.op("Transpose", w.op("Reshape", values, w.ints(1, width, cells)), perm=[0, 2, 1]))
    if form == "rows":
        return w.model([w.op("Transpose", w.op("Concat", *rows, axis=2), perm=[0, 2, 1])])
    return w.model(lists[0] + lists[1])


def fastestdet(
    opset: int = 11, classes: int = 3, seed: int = 0, kind: str = "gather", sigmoid: str = "fused", squash: bool = True
) -> onnx.ModelProto:
    """FastestDet: one grid, three maps joined; `squash`: the objectness behind σ, the classes behind a softmax."""
    w = OnnxWriter(opset, np.random.default_rng(seed))
    fine, middle, coarse = shuffle_net(w, kind)
    pads = w.ints(0, 0, 1, 1, 0, 0, 1, 1)
    small = w.op("AveragePool", w.op("Pad", fine[0], pads), kernel_shape=[3, 3], strides=[2, 2], pads=[0] * 4)
    x = w.op("Concat", small, middle[0], w.upsample(coarse[0]), axis=1)
    x = w.activation(w.conv(x, fine[1] + middle[1] + coarse[1], 16), "relu")
    objectness, box, scores = (w.conv(x, 16, width) for width in (1, 4, classes))
    if squash:
        objectness = w.sigmoid(objectness, sigmoid)
        scores = w.op("Transpose", scores, perm=[0, 3, 2, 1])
        scores = w.op("Transpose", w.op("Softmax", scores, axis=3), perm=[0, 3, 2, 1])
    return w.model([w.op("Concat", objectness, box, scores, axis=1)])


def fastestv2(
    opset: int = 11, classes: int = 3, seed: int = 0, form: str = "raw", kind: str = "gather", anchors: int = 2
) -> onnx.ModelProto:
    """Yolo-FastestV2: boxes and objectness for each anchor, classes for all of them, on two grids.

    `form` is raw (six outputs) or joined (one a grid, behind σ and softmax, channels last: its `export_onnx`).
    """
    w = OnnxWriter(opset, np.random.default_rng(seed))
    _, fine, coarse = shuffle_net(w, kind)
    outputs = []
    for x, channels in (fine, coarse):
        box, objectness, scores = (w.conv(x, channels, width) for width in (4 * anchors, anchors, classes))
        if form == "raw":
            outputs += [box, objectness, scores]
            continue
        odds = w.op("Transpose", scores, perm=[0, 2, 3, 1])
        odds = w.op("Transpose", w.op("Softmax", odds, axis=3), perm=[0, 3, 1, 2])
        joined = w.op("Concat", w.op("Sigmoid", box), w.op("Sigmoid", objectness), odds, axis=1)
        outputs.append(w.op("Transpose", joined, perm=[0, 2, 3, 1]))
    return w.model(outputs)
