"""Plans for tests: by the smallest and largest values that some inputs give, without any of the passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from tests.tflite_support import nhwc
from yolo_edge.export import Graph
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import QuantizedGraph, apply_plan, channel_scale, weights_of
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.plan import ConvolutionPlan, HeadPlan, QuantizationPlan, TensorPlan
from yolo_edge.export.quantization.structure import SIGMOID, Structure, name_of
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

# pixels of 0..255 as RGB 0..1, exactly
PIXELS = TensorPlan(float(np.float32(1 / 255)), -128)


def quantize(
    graph: Graph,
    tensors: Sequence[np.ndarray],
    *,
    floats: Mapping[str, str] | None = None,
    heads: Mapping[str, HeadPlan] | None = None,
    plans: Mapping[str, TensorPlan] | None = None,
) -> QuantizedGraph:
    """The graph with a plan by the ranges that its tensors have for some inputs, float32 [1, 3, height, width].

    `floats`: nodes → why they stay float. `plans`: tensors that shall have other parameters.
    """
    graph = expand_activations(graph)
    structure = Structure.of(graph, floats or {})
    low, high = _ranges(structure, tensors)
    fixed = {name_of(node.outputs[0]) for node in graph.graph if node.op_type == "Sigmoid" and structure.is_int8(node)}
    found = {
        name: SIGMOID if name in fixed else TensorPlan.of_range(low[group], high[group])
        for name, group in structure.group.items()
    }
    convolutions = {
        name_of(node): ConvolutionPlan(tuple(channel_scale(weights_of(node)[0]).tolist()))
        for node in structure.int8_convolutions()
    }
    plan = QuantizationPlan(
        recipe="smallest and largest",
        tensors={**found, **(plans or {})},
        nodes=dict(structure.nodes),
        convolutions=convolutions,
        heads=dict(heads or {}),
    )
    return apply_plan(graph, plan)


def _ranges(structure: Structure, tensors: Sequence[np.ndarray]) -> tuple[dict[str, float], dict[str, float]]:
    """The range of each group."""
    model = structure.graph.clone()
    for node in model.graph:
        if node.outputs[0].name in structure.group and not node.outputs[0].is_graph_output():
            model.graph.outputs.append(node.outputs[0])
    session = new_session(ir.to_proto(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for tensor in tensors:
        arrays = {**dict(zip(names, session.run(names, {"images": tensor}), strict=True)), "images": tensor}
        for name, group in structure.group.items():
            low[group] = min(low.get(group, 0.0), float(arrays[name].min()))
            high[group] = max(high.get(group, 0.0), float(arrays[name].max()))
    return low, high


def qdq_bytes(quantized: QuantizedGraph) -> bytes:
    """The plan's form in ONNX, with float32 input and outputs."""
    model = quantize_onnx(quantized)
    InlinePass()(model)
    data: bytes = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def run_qdq(quantized: QuantizedGraph, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime makes of a plan's form in ONNX: the raw heads, float32 [1, channels, rows, columns]."""
    session = new_session(qdq_bytes(quantized))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": tensor}), strict=True))


def optimized_types(data: bytes, folder: Path) -> list[str]:
    """The operators of the graph that onnxruntime makes of a file."""
    path = folder / "optimized.onnx"
    new_session(data, optimized_model_filepath=str(path))
    return [node.op_type for node in onnx.load(path).graph.node]


@dataclass(frozen=True)
class Operation:
    """One operator with random parameters, between an int8 input and an int8 output.

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
        return ModelSpec(InputSpec(width, height), (Head("yolo", 1, {"map": "head_0"}),), ("a",), precision="int8")

    def in_steps(self, heads: Mapping[str, np.ndarray]) -> np.ndarray:
        """What onnxruntime gave → integers [1, rows, columns, channels]."""
        plan = self.quantized.plan.tensors["head_0"]
        return nhwc(plan.quantize(heads["head_0"])).astype(np.int64)

    def expected(self) -> np.ndarray:
        """The integers that onnxruntime gives."""
        plan = self.quantized.plan.tensors["images"]
        floats = (self.integers.astype(np.float32) - plan.zero_point) * np.float32(plan.scale)
        return self.in_steps(run_qdq(self.quantized, floats))


KINDS = (
    "Add",
    "Add constant",
    "AveragePool",
    "Clip",
    "Clip behind Add",
    "Concat",
    "Conv",
    "Conv depthwise",
    "GlobalAveragePool",
    "HardSwish",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Mul constant",
    "Relu",
    "Reshape",
    "Resize",
    "SiLU",
    "Sigmoid",
    "Slice",
    "SpaceToDepth",
    "Transpose",
)


def random_operation(kind: str, seed: int) -> Operation:
    """One of `KINDS`, of a random size, with random parameters, scales and zero-points."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    op, _, how = kind.partition(" ")
    geometry = _geometry(rng, op == "Conv")
    height, width = geometry.size if op in _WINDOWED else rng.integers(1, 12, 2) * 2
    builder = GraphBuilder("operation", int(width), int(height))
    shape = (1, 3, int(height), int(width))
    label = f"{kind} {seed} of {shape}"
    free = True  # the output has parameters of its own
    x = builder.input

    def constant(name: str, array: np.ndarray) -> ir.Value:
        return builder.constant(name, array.astype(np.float32))

    if op in ("Add", "Mul"):
        sizes = [(1, 1, 1, 1), (1, 3, 1, 1), shape]
        if how == "constant":
            other = constant("other", rng.normal(rng.normal(), 1, sizes[int(rng.integers(3))]))
        else:
            other = builder.node("MaxPool", [x], shape, "other", _POOL)
        y = builder.node(op, [x, other], shape, "y")
    elif op in _WINDOWED:
        label += f" {geometry}"
        y, free = _windowed(builder, rng, kind, geometry), op == "Conv"
    elif op == "Clip":
        y = builder.node("Add", [x, constant("other", rng.choice([-1, 1], 1) * rng.uniform(0.1, 2))], shape, "sum") if how else x
        y = _clip(builder, rng, y, shape)
    elif op == "Concat":
        other = builder.node("MaxPool", [x], shape, "other", _POOL)
        y, free = builder.node("Concat", [x, other, x], (1, 9, *shape[2:]), "y", {"axis": 1}), False
    elif op == "GlobalAveragePool":
        y = builder.node(op, [x], (1, 3, 1, 1), "y")
    elif op == "LeakyRelu":
        y = builder.node(op, [x], shape, "y", {"alpha": float(rng.choice([0.01, 0.1, 0.2, 1 / 3]))})
    elif op == "Resize":
        factors = rng.integers(1, 4, 2)
        scales = constant("scales", np.array([1, 1, *factors]))
        attributes = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        size = (1, 3, shape[2] * int(factors[0]), shape[3] * int(factors[1]))
        y, free = builder.node(op, [x, None, scales], size, "y", attributes), False
    elif op == "Slice":
        axis = int(rng.integers(1, 4))
        start = int(rng.integers(0, shape[axis]))
        end = int(rng.integers(start + 1, shape[axis] + 1))
        bounds = [builder.constant(f"b{i}", np.array([v])) for i, v in enumerate((start, end, axis, 1))]
        size = tuple(end - start if i == axis else side for i, side in enumerate(shape))
        y, free = builder.node(op, [x, *bounds], size, "y"), False
    elif op == "SpaceToDepth":
        size = (1, 12, shape[2] // 2, shape[3] // 2)
        y, free = builder.node(op, [x], size, "y", {"blocksize": 2}), False
    elif op == "Reshape":
        size = (1, shape[3], 3, shape[2])
        y, free = builder.node(op, [x, builder.constant("size", np.array(size))], size, "y"), False
    elif op == "Transpose":
        order = [0, *(1 + rng.permutation(3)).tolist()]
        size = tuple(shape[axis] for axis in order)
        y, free = builder.node(op, [x], size, "y", {"perm": order}), False
    else:
        y, free = builder.node(op, [x], shape, "y"), op != "Sigmoid"
    graph = builder.build({"head_0": y})
    low, high = -rng.uniform(0, 4), rng.uniform(0.1, 4)
    plan = TensorPlan.of_range(float(low), float(high))
    integers = rng.integers(-128, 128, shape).astype(np.int8)
    floats = ((integers.astype(np.float32) - plan.zero_point) * np.float32(plan.scale)).astype(np.float32)
    if not free:
        return Operation(label, quantize(graph, [floats]), integers)
    found = quantize(graph, [floats])
    # some results leave their range
    own = found.plan.tensors["head_0"].bounds
    stretch = rng.uniform(0.5, 1.5, 2)
    plans = {"head_0": TensorPlan.of_range(own[0] * stretch[0], max(own[1] * stretch[1], 1e-3))}
    return Operation(label, quantize(graph, [floats], plans=plans), integers)


_POOL: dict[str, Sequence[int]] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
_WINDOWED = ("Conv", "MaxPool", "AveragePool")


@dataclass(frozen=True)
class _Windows:
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def count(self) -> tuple[int, int]:
        rows, columns = (
            (self.size[i] + self.pads[i] + self.pads[i + 2] - (self.kernel[i] - 1) * self.dilations[i] - 1)
            // self.strides[i]
            + 1
            for i in range(2)
        )
        return rows, columns


def _geometry(rng: np.random.Generator, dilated: bool) -> _Windows:
    while True:
        size, kernel, strides = rng.integers(1, 20, 2), rng.integers(1, 6, 2), rng.integers(1, 4, 2)
        dilations = rng.integers(1, 4, 2) if dilated and rng.random() < 0.4 else np.ones(2, np.int64)
        pads = rng.integers(0, kernel, (2, 2)) if rng.random() < 0.8 else np.zeros((2, 2), np.int64)
        if rng.random() < 0.3:
            pads[1] = pads[0]
        found = _Windows(*(tuple(array.reshape(-1).tolist()) for array in (size, kernel, strides, dilations, pads)))
        if min(found.count) >= 1:
            return found


def _windowed(builder: GraphBuilder, rng: np.random.Generator, kind: str, windows: _Windows) -> ir.Value:
    attributes: dict[str, int | float | str | Sequence[int]] = {
        "kernel_shape": windows.kernel,
        "pads": windows.pads,
        "strides": windows.strides,
    }
    op, _, how = kind.partition(" ")
    if op != "Conv":
        return builder.node(op, [builder.input], (1, 3, *windows.count), "y", attributes)
    groups = 3 if how == "depthwise" else 1
    outputs = groups * int(rng.integers(1, 9))
    weight = rng.normal(0, rng.uniform(0.1, 2, (outputs, 1, 1, 1)), (outputs, 3 // groups, *windows.kernel))
    inputs = [
        builder.input,
        builder.constant("w", weight.astype(np.float32)),
        builder.constant("b", rng.normal(0, 1, outputs).astype(np.float32)),
    ]
    attributes |= {"group": groups, "dilations": windows.dilations}
    shape = (1, outputs, *windows.count)
    y = builder.node("Conv", inputs, shape, "y", attributes)
    behind = rng.integers(4)
    if behind == 0:
        return builder.node("Relu", [y], shape, "active")
    return _clip(builder, rng, y, shape) if behind == 1 else y


def _clip(builder: GraphBuilder, rng: np.random.Generator, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    choices = [(0, 6), (-1, 1), (0, 1), (-0.5, 2.5)]
    bounds = [
        builder.constant(f"bound{i}", np.array(v, np.float32)) for i, v in enumerate(choices[int(rng.integers(4))])
    ]
    return builder.node("Clip", [x, *bounds], shape, "active")
