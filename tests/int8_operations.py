"""One int8 operator at a time, with random parameters, scales and zero-points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from tests.int8_support import quantize, run_qdq
from tests.tflite_support import nhwc
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.quantization.structure import SHARING
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

Shape: TypeAlias = tuple[int, int, int, int]

_CLIPS = ((0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, 2.5))
_POOL: dict[str, Sequence[int]] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}


@dataclass(frozen=True)
class Operation:
    """One operator between an int8 input and an int8 output.

    Attributes:
        label: What it is, in words.
        quantized: The network of it alone.
        integers: An input, int8 [1, 3, height, width].
    """

    label: str
    quantized: QuantizedGraph
    integers: np.ndarray

    @property
    def spec(self) -> ModelSpec:
        """Of a detector that it is not."""
        _, _, height, width = self.integers.shape
        return ModelSpec(InputSpec(width, height), (Head("yolo", 1, {"map": "head_0"}),), ("a",))

    def expected(self) -> np.ndarray:
        """The integers that onnxruntime gives, [1, rows, columns, channels]."""
        before, after = (self.quantized.plan.tensors[name] for name in ("images", "head_0"))
        floats = (self.integers.astype(np.float32) - before.zero_point) * np.float32(before.scale)
        return nhwc(after.quantize(run_qdq(self.quantized, floats)["head_0"])).astype(np.int64)


def random_operation(kind: str, seed: int) -> Operation:
    """One of `KINDS`, of a random size."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    drawing = _Drawing(rng, _Windows.draw(rng, dilated=kind.startswith("Conv")))
    graph = drawing.builder.build({"head_0": _OPERATIONS[kind](drawing)})
    images = TensorPlan.of_range(-float(rng.uniform(0, 4)), float(rng.uniform(0.1, 4)))
    integers = rng.integers(-128, 128, drawing.shape).astype(np.int8)
    floats = ((integers.astype(np.float32) - images.zero_point) * np.float32(images.scale)).astype(np.float32)
    label = f"{kind} {seed} of {drawing.shape} {drawing.windows}"
    found = quantize(graph, [floats])
    if kind in _SHARED:
        return Operation(label, found, integers)
    low, high = found.plan.tensors["head_0"].bounds
    # some results leave their range
    stretch = rng.uniform(0.5, 1.5, 2)
    plans: Mapping[str, TensorPlan] = {"head_0": TensorPlan.of_range(low * stretch[0], max(high * stretch[1], 1e-3))}
    return Operation(label, quantize(graph, [floats], plans=plans), integers)


@dataclass(frozen=True)
class _Windows:
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, dilated: bool) -> "_Windows":
        while True:
            size, kernel, strides = 2 * rng.integers(1, 10, 2), rng.integers(1, 6, 2), rng.integers(1, 4, 2)
            dilations = rng.integers(1, 4, 2) if dilated and rng.random() < 0.4 else np.ones(2, np.int64)
            pads = rng.integers(0, kernel, (2, 2)) if rng.random() < 0.8 else np.zeros((2, 2), np.int64)
            if rng.random() < 0.3:
                pads[1] = pads[0]
            found = cls(*(tuple(array.reshape(-1).tolist()) for array in (size, kernel, strides, dilations, pads)))
            if min(found.count) >= 1:
                return found

    @property
    def count(self) -> tuple[int, int]:
        rows, columns = (
            (self.size[i] + self.pads[i] + self.pads[i + 2] - (self.kernel[i] - 1) * self.dilations[i] - 1)
            // self.strides[i]
            + 1
            for i in range(2)
        )
        return rows, columns

    @property
    def attributes(self) -> dict[str, Sequence[int]]:
        return {"kernel_shape": self.kernel, "pads": self.pads, "strides": self.strides}


class _Drawing:
    """A graph of one operator in the making."""

    def __init__(self, rng: np.random.Generator, windows: _Windows):
        self.rng, self.windows = rng, windows
        height, width = windows.size
        self.shape: Shape = (1, 3, height, width)
        self.builder = GraphBuilder("operation", width, height)
        self.x = self.builder.input

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        return self.builder.constant(name, array.astype(np.float32))

    def other(self) -> ir.Value:
        """A second computed tensor, exact in integers."""
        return self.builder.node("MaxPool", [self.x], self.shape, "other", _POOL)

    def clip(self, x: ir.Value) -> ir.Value:
        low, high = _CLIPS[int(self.rng.integers(len(_CLIPS)))]
        bounds = [self.constant(name, np.array(value)) for name, value in (("low", low), ("high", high))]
        return self.builder.node("Clip", [x, *bounds], x.shape, "clipped")  # type: ignore[arg-type]


def _unary(op: str) -> Callable[[_Drawing], ir.Value]:
    return lambda d: d.builder.node(op, [d.x], d.shape, "y")


def _of_two(op: str) -> Callable[[_Drawing], ir.Value]:
    return lambda d: d.builder.node(op, [d.x, d.other()], d.shape, "y")


def _with_constant(op: str) -> Callable[[_Drawing], ir.Value]:
    def draw(d: _Drawing) -> ir.Value:
        sizes: Sequence[Sequence[int]] = [(1, 1, 1, 1), (1, 3, 1, 1), d.shape]
        array = d.rng.normal(d.rng.normal(), 1, sizes[int(d.rng.integers(3))])
        return d.builder.node(op, [d.x, d.constant("other", array)], d.shape, "y")

    return draw


def _clip_behind_add(d: _Drawing) -> ir.Value:
    array = d.rng.choice([-1, 1], 1) * d.rng.uniform(0.1, 2)
    return d.clip(d.builder.node("Add", [d.x, d.constant("other", array)], d.shape, "sum"))


def _pool(op: str) -> Callable[[_Drawing], ir.Value]:
    return lambda d: d.builder.node(op, [d.x], (1, 3, *d.windows.count), "y", d.windows.attributes)


def _conv(groups: int) -> Callable[[_Drawing], ir.Value]:
    def draw(d: _Drawing) -> ir.Value:
        outputs = groups * int(d.rng.integers(1, 9))
        spread = d.rng.uniform(0.1, 2, (outputs, 1, 1, 1))
        weight = d.constant("w", d.rng.normal(0, spread, (outputs, 3 // groups, *d.windows.kernel)))
        bias = d.constant("b", d.rng.normal(0, 1, outputs))
        attributes = {**d.windows.attributes, "group": groups, "dilations": d.windows.dilations}
        shape = (1, outputs, *d.windows.count)
        y = d.builder.node("Conv", [d.x, weight, bias], shape, "y", attributes)
        behind = d.rng.integers(4)
        if behind == 0:
            return d.builder.node("Relu", [y], shape, "active")
        return d.clip(y) if behind == 1 else y

    return draw


def _concat(d: _Drawing) -> ir.Value:
    return d.builder.node("Concat", [d.x, d.other(), d.x], (1, 9, *d.shape[2:]), "y", {"axis": 1})


def _leaky_relu(d: _Drawing) -> ir.Value:
    alpha = float(d.rng.choice([0.01, 0.1, 0.2, 1 / 3]))
    return d.builder.node("LeakyRelu", [d.x], d.shape, "y", {"alpha": alpha})


def _reshape(d: _Drawing) -> ir.Value:
    size = (1, d.shape[3], 3, d.shape[2])
    return d.builder.node("Reshape", [d.x, d.builder.constant("size", np.array(size))], size, "y")


def _resize(d: _Drawing) -> ir.Value:
    rows, columns = d.rng.integers(1, 4, 2).tolist()
    scales = d.constant("scales", np.array([1, 1, rows, columns]))
    attributes = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    size = (1, 3, d.shape[2] * rows, d.shape[3] * columns)
    return d.builder.node("Resize", [d.x, None, scales], size, "y", attributes)


def _slice(d: _Drawing) -> ir.Value:
    axis = int(d.rng.integers(1, 4))
    start = int(d.rng.integers(0, d.shape[axis]))
    end = int(d.rng.integers(start + 1, d.shape[axis] + 1))
    bounds = [d.builder.constant(f"bound_{i}", np.array([value])) for i, value in enumerate((start, end, axis, 1))]
    size = tuple(end - start if i == axis else side for i, side in enumerate(d.shape))
    return d.builder.node("Slice", [d.x, *bounds], size, "y")


def _space_to_depth(d: _Drawing) -> ir.Value:
    size = (1, 12, d.shape[2] // 2, d.shape[3] // 2)
    return d.builder.node("SpaceToDepth", [d.x], size, "y", {"blocksize": 2})


def _transpose(d: _Drawing) -> ir.Value:
    order = [0, *(1 + d.rng.permutation(3)).tolist()]
    return d.builder.node("Transpose", [d.x], tuple(d.shape[axis] for axis in order), "y", {"perm": order})


_OPERATIONS: dict[str, Callable[[_Drawing], ir.Value]] = {
    "Add": _of_two("Add"),
    "Add constant": _with_constant("Add"),
    "AveragePool": _pool("AveragePool"),
    "Clip": lambda d: d.clip(d.x),
    "Clip behind Add": _clip_behind_add,
    "Concat": _concat,
    "Conv": _conv(1),
    "Conv depthwise": _conv(3),
    "GlobalAveragePool": lambda d: d.builder.node("GlobalAveragePool", [d.x], (1, 3, 1, 1), "y"),
    "HardSwish": _unary("HardSwish"),
    "LeakyRelu": _leaky_relu,
    "MaxPool": _pool("MaxPool"),
    "Mul": _of_two("Mul"),
    "Mul constant": _with_constant("Mul"),
    "Relu": _unary("Relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "SiLU": _unary("SiLU"),
    "Sigmoid": _unary("Sigmoid"),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Transpose": _transpose,
}
KINDS = tuple(_OPERATIONS)
# the parameters of the output are those of the input, or fixed
_SHARED = {"Sigmoid", *(kind for kind in KINDS if kind in SHARING)}
