"""ONNX detectors of other families with random weights, as their exporters write them; no trainer is needed."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((116, 90), (156, 198)))


@dataclass
class OnnxWriter:
    """Appends nodes; every value has a name of its own."""

    opset: int
    rng: np.random.Generator
    width: int = 64
    height: int = 96
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    as_constants: bool = False

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        return self.ops(kind, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def array(self, values: object, kind: type = np.float32) -> str:
        array = np.array(values, kind)
        name = f"c{len(self.initializers)}_{len(self.nodes)}"
        if self.as_constants and array.size < 100:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        return self.array(values, np.int64)

    def conv(
        self, x: str, inputs: int, outputs: int, size: int = 1, stride: int = 1, bias: bool = True, gain: float = 1
    ) -> str:
        weight = gain * self.rng.normal(0, (1.5 / (inputs * size * size)) ** 0.5, (outputs, inputs, size, size))
        arrays = [self.array(weight)] + ([self.array(self.rng.normal(0, 0.5, outputs))] if bias else [])
        return self.op("Conv", x, *arrays, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[size // 2] * 4)

    def conv_transpose(self, x: str, channels: int, size: int, pad: int) -> str:
        weight = self.rng.normal(0, (1.5 / channels) ** 0.5, (channels, channels, size, size))
        arrays = [self.array(weight), self.array(self.rng.normal(0, 0.5, channels))]
        return self.op("ConvTranspose", x, *arrays, kernel_shape=[size] * 2, strides=[2, 2], pads=[pad] * 4)

    def norm(self, x: str, channels: int) -> str:
        vectors = [self.rng.uniform(0.5, 1.5, channels) for _ in range(4)]
        return self.op("BatchNormalization", x, *map(self.array, vectors), epsilon=1e-3)

    def activation(self, x: str, kind: str) -> str:
        if kind == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if kind == "mish":
            return self.op("Mul", self.op("Tanh", self.op("Softplus", x)), x)
        if kind == "hswish":
            gate = self.op("Clip", self.op("Add", x, self.array(3)), self.array(0), self.array(6))
            return self.op("Div", self.op("Mul", x, gate), self.array(6))
        if kind == "hardsigmoid":
            return self.op("Mul", x, self.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))
        if kind == "leaky":
            return self.op("LeakyRelu", x, alpha=0.1)
        return self.op("Relu", x)

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        if self.opset < 13:
            return self.ops("Split", x, outputs=len(sizes), axis=axis, split=sizes)
        return self.ops("Split", x, self.ints(*sizes), outputs=len(sizes), axis=axis)

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis), self.ints(step))

    def upsample(self, x: str) -> str:
        return self.op(
            "Resize",
            x,
            self.array([]),
            self.array([1, 1, 2, 2]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def grid(self, level: int) -> np.ndarray:
        """Columns and rows of the cells, [2, rows, columns]."""
        y, x = np.mgrid[: self.height // STRIDES[level], : self.width // STRIDES[level]]
        return np.stack([x, y]).astype(np.float32)

    def model(self, outputs: list[str], TRT: int = 0, **metadata: str) -> onnx.ModelProto:  # noqa: N803 - a domain
        image = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, self.height, self.width])
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "foreign", [image], results, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        if TRT:
            model.opset_import.append(helper.make_opsetid("TRT", TRT))
        model.ir_version = 7 if self.opset < 15 else 9
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        inferred = {value.name: value for value in [*model.graph.value_info, *model.graph.output]}
        for i, name in enumerate(outputs):  # exporters state types and shapes
            if name in inferred:
                model.graph.output[i].CopyFrom(inferred[name])
        helper.set_model_props(model, metadata)
        return model


def body(
    w: OnnxWriter,
    activation: str = "silu",
    focus: bool = False,
    attention: bool = False,
    pixels: bool = False,
    learned: tuple[int, int] | None = None,
) -> list[tuple[str, int]]:
    """A small backbone and neck: maps at strides 8, 16 and 32, with their channels.

    `pixels`: it takes 0..255; `learned`: it grows by a ConvTranspose with this kernel and padding.
    """
    x, channels = "picture", 3
    if focus:
        x, channels = _focus(w, x), 12
        x = w.activation(w.norm(w.conv(x, 12, 8, 3, 1, bias=False, gain=1 / 255 if pixels else 1), 8), activation)
    else:
        x = w.activation(w.norm(w.conv(x, 3, 8, 3, 2, bias=False), 8), activation)
    x = w.activation(w.conv(x, 8, 12, 3, 2), activation)
    maps, channels = [], 12
    for _ in STRIDES:
        x = w.activation(w.conv(x, channels, 16, 3, 2), activation)
        a, b = w.split(x, [8, 8], 1)
        pooled = w.op("MaxPool", b, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
        x = w.op("Concat", w.op("Add", w.conv(a, 8, 8, 3), a), pooled, b, axis=1)
        channels = 24
        maps.append(x)
    if attention:
        maps[2] = _attention(w, maps[2], 24)
    grown = w.upsample(maps[2]) if learned is None else w.conv_transpose(maps[2], 24, *learned)
    up = w.op("Concat", grown, maps[1], axis=1)
    return [(maps[0], 24), (w.activation(w.conv(up, 48, 20), activation), 20), (maps[2], 24)]


def _focus(w: OnnxWriter, x: str) -> str:
    parts = []
    for top, left in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = w.slice(x, 2, top, 2**31 - 1, 2)
        parts.append(w.slice(rows, 3, left, 2**31 - 1, 2))
    return w.op("Concat", *parts, axis=1)


def _attention(w: OnnxWriter, x: str, channels: int) -> str:
    """As Ultralytics' Attention: two heads over the cells."""
    cells = (w.height // 32) * (w.width // 32)
    each = channels // 2
    qkv = w.op("Reshape", w.conv(x, channels, 2 * channels, bias=True), w.ints(1, 2, 2 * each, cells))
    q, k, v = w.split(qkv, [each // 2, each // 2, each], 2)
    weights = w.op("MatMul", w.op("Transpose", q, perm=[0, 1, 3, 2]), k)
    weights = w.op("Softmax", w.op("Mul", weights, w.array(0.3)), axis=-1 if w.opset >= 13 else 3)
    out = w.op("MatMul", v, w.op("Transpose", weights, perm=[0, 1, 3, 2]))
    out = w.op("Reshape", out, w.ints(1, channels, w.height // 32, w.width // 32))
    return w.op("Add", x, w.conv(out, channels, channels))


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
    **metadata: str,
) -> onnx.ModelProto:
    """YOLOv5 and v7: one map a level; `form` is decoded, corners, raw, or nms."""
    w = OnnxWriter(opset, np.random.default_rng(seed), as_constants=constants)
    outputs = []
    for level, (x, channels) in enumerate(body(w, activation, focus=seed % 2 == 1)):
        values, rows, columns = 5 + classes, w.height // STRIDES[level], w.width // STRIDES[level]
        raw = w.conv(x, channels, 2 * values)
        if implicit:
            raw = w.op("Mul", raw, w.array(w.rng.uniform(0.5, 1.5, (1, 2 * values, 1, 1))))
        raw = w.op("Reshape", raw, w.ints(1, 2, values, rows, columns))
        raw = w.op("Transpose", raw, perm=[0, 1, 3, 4, 2])
        if form == "raw":
            outputs.append(raw)
            continue
        y = w.op("Sigmoid", raw)
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
    **metadata: str,
) -> onnx.ModelProto:
    """YOLOv8 and 11: distributions of distances and classes; `form` is decoded, corners, raw, or nms."""
    w = OnnxWriter(opset, np.random.default_rng(seed), as_constants=constants)
    flat, places, steps = [], [], []
    raw = []
    for level, (x, channels) in enumerate(body(w, activation, attention=attention, learned=learned)):
        box, scores = w.conv(x, channels, 4 * bins), w.conv(x, channels, classes)
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
    odds = w.op("Reshape", box, w.ints(1, 4, bins, total))
    if sums == "conv":
        odds = w.op("Softmax", w.op("Transpose", odds, perm=[0, 2, 1, 3]), axis=1) if opset >= 13 else None
        weight = w.array(np.arange(bins).reshape(1, bins, 1, 1))
        away = w.op("Conv", odds, weight, kernel_shape=[1, 1])
    else:
        odds = w.op("Softmax", w.op("Transpose", odds, perm=[0, 3, 1, 2]), axis=3)
        away = w.op("MatMul", odds, w.array(np.arange(bins)))
        away = w.op("Transpose", away, perm=[0, 2, 1])
    away = w.op("Reshape", away, w.ints(1, 4, total))
    low, high = w.slice(away, 1, 0, 2), w.slice(away, 1, 2, 4)
    place = w.array(np.concatenate(places, axis=1)[None])
    corner, other = w.op("Sub", place, low), w.op("Add", place, high)
    step = w.array(np.concatenate(steps).reshape(1, 1, -1))
    scores = w.op("Sigmoid", scores)
    if form == "corners":
        boxes = w.op("Mul", w.op("Concat", corner, other, axis=1), step)
        return w.model([w.op("Concat", boxes, scores, axis=1)], **metadata)
    center = w.op("Div", w.op("Add", corner, other), w.array(2))
    boxes = w.op("Mul", w.op("Concat", center, w.op("Sub", other, corner), axis=1), step)
    if form == "nms":
        return w.model(with_nms(w, w.op("Transpose", boxes, perm=[0, 2, 1]), scores), **metadata)
    return w.model([w.op("Concat", boxes, scores, axis=1)], **metadata)


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
