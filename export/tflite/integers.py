"""Operators that compute in int8: what they work with, and those that are done otherwise than in float32.

Scales and zero-points are those of a `QuantizedGraph`, and so are its ONNX form's. Most operators are lowered by the
same function as in float32, which an `IntegerLowering` gives integers.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of
from yolo_edge.export.quantization.apply import IntegerConvolution, QuantizedGraph
from yolo_edge.export.quantization.plan import LOWEST, TensorPlan
from yolo_edge.export.quantization.structure import clip_bounds, name_of
from yolo_edge.export.tflite import windows
from yolo_edge.export.tflite.assembly import Quantization
from yolo_edge.export.tflite.elementwise import CLIPS
from yolo_edge.export.tflite.lowering import Lowering, Output, Stored
from yolo_edge.export.tflite.operators import INT8_VERSIONS

# operator → how many steps of the result a step of an input (Mul, Conv: of a product) may be, in XNNPACK
_RANGES = {
    "Add": (2.0**-10, 2.0**8),
    "Conv": (0.0, 2.0**8),
    "LeakyRelu": (2.0**-8, 2.0**7),
    "Mul": (2.0**-16, 2.0**8),
}
_ACTIVATIONS = {**CLIPS, (0.0, np.inf): "RELU"}


def quantization_of(plan: TensorPlan) -> Quantization:
    """A plan as the file has it."""
    return Quantization((float(np.float32(plan.scale)),), (plan.zero_point,))


class IntegerLowering(Lowering):
    """As `Lowering`, of which it shares the values, for nodes that compute in int8.

    Attributes:
        view: How nodes that compute in float32 see the same values.
        dtype: Of the integers.
        lowest: The smallest of them.
    """

    dtype = "int8"
    lowest = LOWEST

    def __init__(self, floats: Lowering, quantized: QuantizedGraph):
        super().__init__(floats.assembly, floats.precision)
        self.view = floats
        self._stored, self._arranged, self._converted = floats._stored, floats._arranged, floats._converted
        self._quantized = quantized
        self._convolutions: dict[str, IntegerConvolution] = {}
        self._arrays: dict[bytes, np.ndarray] = {}

    def is_int8(self, node: ir.Node) -> bool:
        """Whether a node computes in int8."""
        return self._quantized.structure.is_int8(node)

    def plan(self, value: ir.Value) -> TensorPlan:
        """The parameters of a value."""
        return self._quantized.tensor(value)

    def stored(self, value: ir.Value | None) -> Stored:
        """Where a computed value is as integers.

        Raises:
            ValueError: It is a constant, or nothing has computed it.
        """
        found = self._found(value)
        if value is None or self.assembly.quantization(found.tensor) is not None:
            return found
        return self._as(found, value, self.steps(value))

    def _as(self, found: Stored, value: ir.Value, to: Quantization) -> Stored:
        version = self._version("QUANTIZE", [found.tensor], found.tensor)
        name = f"{value.name}.{self.dtype}"
        return Stored(self._convert("QUANTIZE", found.tensor, name, to, version, self.dtype), found.order)

    def steps(self, value: ir.Value) -> Quantization:
        """The parameters of a value, as the file has them."""
        return quantization_of(self.plan(value))

    def constant_steps(self, array: np.ndarray) -> Quantization:
        """The parameters of a constant operand."""
        return quantization_of(TensorPlan.of_constant(array))

    def quantized(self, array: np.ndarray, steps: Quantization) -> np.ndarray:
        """The integers of floats."""
        return TensorPlan(steps.scale[0], steps.zero_point[0]).quantize(array)

    def settle(self, value: ir.Value) -> None:
        """Store a value that was computed in float32 as integers from now on."""
        stored = self.stored(value)
        self.bind(value, stored.tensor, stored.order)

    def requantized(self, value: ir.Value, steps: Quantization) -> Stored:
        """Where a computed value is as other integers than its own."""
        return self._as(self.stored(value), value, steps)

    def add(self, op: str, inputs: Sequence[int], out: Output, order: Sequence[int], **options: object) -> None:
        """Add the operator that computes `out`, as integers."""
        sizes = [out.shape[axis] for axis in order]
        tensor = self._operator(op, inputs, out.value.name or op, sizes, self.steps(out.value), options)
        self.bind(out.value, tensor, order)

    def step(self, op: str, inputs: Sequence[int], name: str, shape: Sequence[int], **options: object) -> int:
        """Add an operator within a lowering; its result is stored as its first input is."""
        return self._operator(op, inputs, name, shape, self.assembly.quantization(inputs[0]), options)

    def _operator(
        self,
        op: str,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        quantization: Quantization | None,
        options: dict[str, object],
    ) -> int:
        tensor = self.assembly.tensor(name, shape, self.dtype, quantization)
        version = max(int(options.pop("version", 1)), self._version(op, inputs, tensor))  # type: ignore[call-overload]
        self.assembly.operator(op, inputs, [tensor], version, **options)
        return tensor

    def _version(self, op: str, inputs: Sequence[int], tensor: int) -> int:
        if op == "MUL":
            steps = [self.assembly.quantization(i) for i in (*inputs, tensor)]
            a, b, result = (item.scale[0] if item is not None else 1.0 for item in steps)
            return 3 if a * b / result >= 1 else 2
        return INT8_VERSIONS.get(op, 1)

    def operand(self, value: ir.Value | None, order: Sequence[int]) -> int:
        """As in float32, constants as integers."""
        array = constant_of(value)
        if value is None or array is None:
            return super().operand(value, order)
        steps, shape = self.constant_steps(array), (1,) * (len(order) - array.ndim) + array.shape
        integers = self.quantized(array, steps).reshape(shape).transpose(tuple(order))
        return self.assembly.constant(value.name or "constant", integers, steps)

    def number(self, name: str, integer: int, like: int) -> int:
        """A constant of one element, as the integers of a tensor."""
        array = np.array([integer], self.dtype)
        return self.assembly.constant(name, array, self.assembly.quantization(like))

    def padded_low(self, tensor: int, name: str, sides: np.ndarray) -> int:
        """A tensor with the lowest integer around it, which is often that of 0; XNNPACK does not run PADV2."""
        quantization = self.assembly.quantization(tensor)
        if quantization is not None and quantization.zero_point == (self.lowest,):
            return self.padded(tensor, name, sides)
        for axis in np.flatnonzero(sides.sum(axis=1)).tolist():
            before, after = (self._margin(tensor, name, axis, count) for count in sides[axis].tolist())
            shape = list(self.assembly.shape(tensor))
            shape[axis] += int(sides[axis].sum())
            tensor = self.step("CONCATENATION", [*before, tensor, *after], name, shape, axis=axis)
        return tensor

    def _margin(self, tensor: int, name: str, axis: int, count: int) -> list[int]:
        """What lies beside a tensor along an axis: one constant of the lowest integer, or nothing."""
        shape = list(self.assembly.shape(tensor))
        shape[axis] = count
        margin = np.full(shape, self.lowest, self.dtype)
        return [self.assembly.constant(f"{name}.margin", margin, self.assembly.quantization(tensor))] if count else []

    def weight(self, node: ir.Node, permutation: Sequence[int]) -> int:
        """The tensor of a convolution's weights, transposed; each output channel has its scale."""
        found = self._convolution(node)
        zeros, axis = (0,) * len(found.weight_scale), tuple(permutation).index(0)
        quantization = Quantization(tuple(found.weight_scale.tolist()), zeros, axis)
        name = node.inputs[1].name if node.inputs[1] is not None else None
        array = self._once(found.weight).transpose(permutation)
        return self.assembly.constant(name or "weights", array, quantization)

    def bias(self, node: ir.Node) -> int:
        """The tensor of a convolution's bias, int32, in steps of input scale x weight scale."""
        found = self._convolution(node)
        quantization = Quantization(tuple(found.bias_scale.tolist()), (0,) * len(found.bias_scale))
        return self.assembly.constant(f"{node.name}.bias", found.bias, quantization)

    def _convolution(self, node: ir.Node) -> IntegerConvolution:
        name = name_of(node)
        if name not in self._convolutions:
            self._convolutions[name] = self._quantized.convolution(node)
        return self._convolutions[name]

    def _once(self, array: np.ndarray) -> np.ndarray:
        """The array, or the one before it that holds the same: layers may share their weights."""
        key = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest()
        return self._arrays.setdefault(key, array)

    def fits(self, node: ir.Node) -> bool:
        """Whether kernels can go from the steps of the inputs to those of the result.

        Steps that are far too fine, as those of a tensor that is always 0, leave the range of their multipliers.
        """
        if node.op_type not in _RANGES:
            return True
        low, high = _RANGES[node.op_type]
        result = self.plan(self.output(node)[0].value).scale
        if node.op_type == "Conv":
            ratios = self._convolution(node).bias_scale / result
            return bool(np.max(ratios) < high)
        scales = np.array([self._operand_plan(value).scale for value in node.inputs if value is not None])
        if node.op_type == "Mul":
            scales = scales.prod(keepdims=True)
        return bool((low <= scales / result).all() and (scales / result < high).all())

    def _operand_plan(self, value: ir.Value) -> TensorPlan:
        array = constant_of(value)
        return self._quantized.tensor(value) if array is None else TensorPlan.of_constant(array)

    def output(self, node: ir.Node) -> tuple[Output, ir.Node | None]:
        """What a node gives, and the activation that it does along, if there is one.

        The activation is named where TFLite has a name for it; otherwise saturation does it, or `saturate` has to.
        """
        following = self._quantized.structure.fused.get(name_of(node.outputs[0]))
        if following is None:
            return Output(node.outputs[0]), None
        return Output(following.outputs[0], _ACTIVATIONS.get(clip_bounds(following), "NONE")), following

    def saturate(self, out: Output, bounds: tuple[float, float]) -> None:
        """Clip a value that is stored, where its integers reach further than the bounds."""
        steps, stored = self.steps(out.value), self.stored(out.value)
        low, high = (int(number) for number in self.quantized(np.array(bounds, np.float32), steps))
        (scale,), (zero,) = steps.scale, steps.zero_point
        reached = [scale * (bound - zero) for bound in (np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)]
        for op, reaches, integer in (
            ("MAXIMUM", reached[0] < bounds[0] - scale / 2, low),
            ("MINIMUM", reached[1] > bounds[1] + scale / 2, high),
        ):
            if reaches:
                bound = self.number(f"{out.value.name}.bound", integer, stored.tensor)
                shape = self.assembly.shape(stored.tensor)
                tensor = self.step(op, [stored.tensor, bound], out.value.name or op, shape)
                stored = Stored(tensor, stored.order)
        self.bind(out.value, stored.tensor, stored.order)


def _integers(ctx: Lowering) -> IntegerLowering:
    if not isinstance(ctx, IntegerLowering):
        raise TypeError("for nodes that compute in int8")
    return ctx


def lower_clip(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Relu or Clip with nothing in front that does it along → a sum with 0 that does, or QUANTIZE, which saturates.

    XNNPACK does not run RELU in int8.
    """
    ctx, value = _integers(ctx), node.inputs[0]
    if value is None:
        raise ValueError(f"node {node.name!r} has no input")
    bounds = clip_bounds(node)
    activation = _ACTIVATIONS.get(bounds)
    if activation is not None:
        x = ctx.stored(value)
        zero = ctx.number("zero", ctx.steps(value).zero_point[0], x.tensor)
        active = Output(out.value, activation)
        ctx.add("ADD", [x.tensor, zero], active, x.order, **active.options)
        return
    stored = ctx.requantized(value, ctx.steps(out.value))
    ctx.bind(out.value, stored.tensor, stored.order)
    ctx.saturate(out, bounds)


def lower_average_pool(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """AveragePool, in float32 between DEQUANTIZE and QUANTIZE: XNNPACK does not run it in int8."""
    windows.lower_average_pool(_integers(ctx).view, node, out)
    _integers(ctx).settle(out.value)
