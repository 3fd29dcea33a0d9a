"""Parts of ONNX detectors with random weights, as exporters write them: nodes one by one, backbones and necks."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


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
    more: dict[str, list[int]] = field(default_factory=dict)  # inputs beside the picture

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
        self,
        x: str,
        inputs: int,
        outputs: int,
        size: int = 1,
        stride: int = 1,
        bias: bool = True,
        gain: float = 1,
        lift: float = 0,
    ) -> str:
        weight = gain * self.rng.normal(0, (1.5 / (inputs * size * size)) ** 0.5, (outputs, inputs, size, size))
        arrays = [self.array(weight)] + ([self.array(self.rng.normal(lift, 0.5, outputs))] if bias else [])
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

    def sigmoid(self, x: str, kind: str = "fused") -> str:
        """As one operator, or taken apart."""
        if kind == "fused":
            return self.op("Sigmoid", x)
        return self.op("Div", self.array(1), self.op("Add", self.op("Exp", self.op("Neg", x)), self.array(1)))

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
        more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in self.more.items()]
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "foreign", [image, *more], results, self.initializers)
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


def shuffle(w: OnnxWriter, x: str, channels: int, kind: str, shape: tuple[int, int]) -> list[str]:
    """ShuffleNet's channel shuffle into two halves: "split" (torchvision's, mmdetection's) or "gather" (Megvii's)."""
    rows, columns = shape
    half = channels // 2
    if kind == "split":
        pairs = w.op("Reshape", x, w.ints(1, 2, half, rows, columns))
        mixed = w.op("Reshape", w.op("Transpose", pairs, perm=[0, 2, 1, 3, 4]), w.ints(1, channels, rows, columns))
        return w.split(mixed, [half, half], 1)
    pairs = w.op("Transpose", w.op("Reshape", x, w.ints(half, 2, rows * columns)), perm=[1, 0, 2])
    both = w.op("Reshape", pairs, w.ints(2, -1, half, rows, columns))
    return [w.op("Gather", both, w.array(i, np.int64), axis=0) for i in (0, 1)]


def depthwise(w: OnnxWriter, x: str, channels: int, size: int = 3, stride: int = 1) -> str:
    weight = w.rng.normal(0, (1.5 / size**2) ** 0.5, (channels, 1, size, size))
    arrays = w.array(weight), w.array(w.rng.normal(0, 0.5, channels))
    window = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4}
    return w.op("Conv", x, *arrays, group=channels, **window)


def shuffle_net(w: OnnxWriter, kind: str, units: int = 3, activation: str = "relu") -> list[tuple[str, int]]:
    """ShuffleNetV2: maps at strides 8, 16 and 32, with their channels; `kind` as of `shuffle`."""
    x = w.activation(w.conv("picture", 3, 8, 3, 2), activation)
    x, channels = w.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 8
    maps = []
    for level, stride in enumerate(STRIDES):
        shape, half = (w.height // stride, w.width // stride), 8 * (level + 1)
        for unit in range(units):
            if unit == 0:
                left = w.activation(w.conv(depthwise(w, x, channels, 3, 2), channels, half), activation)
                right = w.activation(w.conv(x, channels, half), activation)
                right = depthwise(w, right, half, 3, 2)
            else:
                left, right = shuffle(w, x, 2 * half, kind, shape)
                right = depthwise(w, w.activation(w.conv(right, half, half), activation), half)
            right = w.activation(w.conv(right, half, half), activation)
            x = w.op("Concat", left, right, axis=1)
        channels = 2 * half
        if kind == "split":  # there the last one is shuffled, too
            x = w.op("Concat", *shuffle(w, x, channels, kind, shape), axis=1)
        maps.append((x, channels))
    return maps
