"""What lowering an operator works with: where values are, and in which order of axes.

A graph is NCHW, TFLite is NHWC. Each value remembers the *order* in which TFLite stores its axes: (0, 2, 3, 1) for most
of rank four. Operators follow it: the axis of a concatenation or a slice is looked up in it, a Reshape carries it over
where the axes that it splits and joins lie together, and a Transpose only changes it. Data are moved when an operator
needs another order than it gets.

In an int8 file a value is stored as the node that computes it gives it: as floats or as integers. Nodes that compute in
float32 see it through `Lowering`, int8 nodes through `integers.IntegerLowering`; both convert what is stored otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of, shape_of
from yolo_edge.export.rounding import as_float16, as_int8
from yolo_edge.export.tflite.assembly import Assembly, Quantization, identity
from yolo_edge.export.tflite.schema import ACTIVATION

NHWC = (0, 2, 3, 1)

_LOWEST = np.finfo(np.float32).min
_DEQUANTIZE = {"int8": 2, "int16": 3}  # type → version


@dataclass(frozen=True)
class Stored:
    """A computed value in TFLite.

    Attributes:
        tensor: Its number.
        order: For each axis of the tensor, which axis of the value it is.
    """

    tensor: int
    order: tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """What a node shall give.

    Attributes:
        value: Its output, or that of the activation behind it which it computes along.
        activation: Of `schema.ACTIVATION`.
    """

    value: ir.Value
    activation: str = "NONE"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return shape_of(self.value)

    @property
    def options(self) -> dict[str, int]:
        """The activation, as options of an operator."""
        return {"fused_activation_function": ACTIVATION[self.activation]}


class Lowering:
    """Values of a graph → tensors of an assembly.

    Attributes:
        assembly: Where tensors and operators go.
        precision: Of the file. "fp16" and "int8-weights": how the weights of convolutions are stored.
    """

    def __init__(self, assembly: Assembly, precision: str):
        self.assembly = assembly
        self.precision = precision
        self._stored: dict[int, Stored] = {}
        self._arranged: dict[tuple[int, tuple[int, ...]], int] = {}
        self._weights: dict[tuple[object, ...], int] = {}
        self._converted: dict[tuple[int, Quantization | None], int] = {}

    def bind(self, value: ir.Value, tensor: int, order: Sequence[int]) -> None:
        """Say where a value is."""
        self._stored[id(value)] = Stored(tensor, tuple(order))

    def quantization(self, value: ir.Value) -> Quantization | None:
        """Of a computed value; None: it is stored as floats."""
        return self.assembly.quantization(self._found(value).tensor)

    def stored(self, value: ir.Value | None) -> Stored:
        """Where a computed value is.

        Raises:
            ValueError: It is a constant, or nothing has computed it.
        """
        found = self._found(value)
        if self.assembly.quantization(found.tensor) is None:
            return found
        name = f"{value.name if value is not None else None}.float"
        version = _DEQUANTIZE[self.assembly.dtype(found.tensor)]
        return Stored(self._convert("DEQUANTIZE", found.tensor, name, None, version), found.order)

    def _found(self, value: ir.Value | None) -> Stored:
        if value is None or id(value) not in self._stored:
            raise ValueError(f"value {value.name if value else None!r} is not computed yet")
        return self._stored[id(value)]

    def _convert(
        self, op: str, tensor: int, name: str, to: Quantization | None, version: int, dtype: str = "float32"
    ) -> int:
        """A tensor as floats, or as other integers."""
        key = (tensor, to)
        if key not in self._converted:
            result = self.assembly.tensor(name, self.assembly.shape(tensor), dtype, to)
            self.assembly.operator(op, [tensor], [result], version)
            self._converted[key] = result
        return self._converted[key]

    def add(self, op: str, inputs: Sequence[int], out: Output, order: Sequence[int], **options: object) -> None:
        """Add the operator that computes `out`."""
        dtype = ir.DataType(out.value.dtype or 1).numpy().name
        tensor = self.assembly.tensor(out.value.name or op, [out.shape[axis] for axis in order], dtype)
        self.assembly.operator(op, inputs, [tensor], **options)  # type: ignore[arg-type]
        self.bind(out.value, tensor, order)

    def step(self, op: str, inputs: Sequence[int], name: str, shape: Sequence[int], **options: object) -> int:
        """Add an operator within a lowering; `shape` is that of the tensor."""
        tensor = self.assembly.tensor(name, shape)
        self.assembly.operator(op, inputs, [tensor], **options)  # type: ignore[arg-type]
        return tensor

    def integers(self, name: str, values: Sequence[int]) -> int:
        """A constant tensor of int32."""
        return self.assembly.constant(name, np.array(values, np.int32))

    def floats(self, name: str, values: Sequence[float]) -> int:
        """A constant tensor of float32."""
        return self.assembly.constant(name, np.array(values, np.float32))

    def nhwc(self, value: ir.Value | None) -> int:
        """The tensor of a computed value of rank four, stored NHWC."""
        return self.arranged(value, NHWC)

    def arranged(self, value: ir.Value | None, order: Sequence[int]) -> int:
        """The tensor of a computed value, stored in `order`; moved there when it is not."""
        stored, wanted = self.stored(value), tuple(order)
        if value is None or stored.order == wanted:
            return stored.tensor
        key = (stored.tensor, wanted)
        if key not in self._arranged:
            self._arranged[key] = self._move(value, stored, wanted)
        return self._arranged[key]

    def _move(self, value: ir.Value, stored: Stored, order: tuple[int, ...]) -> int:
        shape, name = shape_of(value), f"{value.name}.moved"
        target = [shape[axis] for axis in order]
        # axes of one element do not count; runtimes before 2.12 transpose five at most
        long = [axis for axis in stored.order if shape[axis] > 1]
        moved = [axis for axis in order if shape[axis] > 1]
        if long == moved:
            return self.reshaped(stored.tensor, name, target)
        source = stored.tensor
        if len(order) > 4:
            source = self.reshaped(source, f"{name}.from", [shape[axis] for axis in long])
        else:
            long, moved = list(stored.order), list(order)
        permutation = self.integers(f"{name}.perm", [long.index(axis) for axis in moved])
        version = 5 if len(long) > 4 else 1
        result = self.step("TRANSPOSE", [source, permutation], name, [shape[axis] for axis in moved], version=version)
        return self.reshaped(result, f"{name}.to", target) if len(moved) != len(target) else result

    def reshaped(self, tensor: int, name: str, shape: Sequence[int]) -> int:
        """The same data in another shape."""
        sizes = self.integers(f"{name}.shape", shape)
        return self.step("RESHAPE", [tensor, sizes], name, shape, new_shape=list(shape))

    def operand(self, value: ir.Value | None, order: Sequence[int]) -> int:
        """The tensor of a constant or computed value that is broadcast to the rank of `order`, stored in it.

        Raises:
            ValueError: A computed value has another rank.
        """
        array = constant_of(value)
        if value is None or array is None:
            if value is not None and len(shape_of(value)) != len(order):
                raise ValueError(f"{value.name!r} has {len(shape_of(value))} axes, {len(order)} are needed")
            return self.arranged(value, order)
        array = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(tuple(order))
        return self.assembly.constant(value.name or "constant", array)

    def padded(self, tensor: int, name: str, sides: np.ndarray) -> int:
        """A tensor with zeros around it; `sides`: how many before and behind each axis, int32 [rank, 2]."""
        amounts = self.assembly.constant(f"{name}.sides", sides)
        return self.step("PAD", [tensor, amounts], name, self._grown(tensor, sides))

    def padded_low(self, tensor: int, name: str, sides: np.ndarray) -> int:
        """As `padded`, with what no element is below."""
        inputs = [tensor, self.assembly.constant(f"{name}.sides", sides), self.floats("lowest", [float(_LOWEST)])]
        return self.step("PADV2", inputs, name, self._grown(tensor, sides))

    def _grown(self, tensor: int, sides: np.ndarray) -> list[int]:
        found: list[int] = (np.array(self.assembly.shape(tensor)) + sides.sum(axis=1)).tolist()
        return found

    def bias(self, node: ir.Node) -> int:
        """The tensor of a convolution's bias.

        Raises:
            ValueError: It is not a constant.
        """
        array = constant_of(node.inputs[2])
        if array is None:
            raise ValueError(f"node {node.name!r} ({node.op_type}): its bias is not a constant")
        return self.assembly.constant(f"{node.name}.bias", array)

    def weight(self, node: ir.Node, permutation: Sequence[int]) -> int:
        """The tensor of a convolution's weights [out, in, rows, columns], transposed, in the precision of the file.

        Raises:
            ValueError: It is not a constant.
        """
        value = node.inputs[1]
        array = constant_of(value)
        if value is None or array is None:
            raise ValueError(f"node {node.name!r} ({node.op_type}): its weights are not a constant")
        name = value.name or "weights"
        stored = array.transpose(permutation)
        key = identity(stored)
        if key not in self._weights:
            half = as_float16(array) if self.precision == "fp16" else None
            if half is not None:
                constant = self.assembly.constant(f"{name}.half", half.transpose(permutation))
                self._weights[key] = self._widened(name, constant, version=3)
            elif self.precision == "int8-weights":
                integers, scale = as_int8(array)
                axis = tuple(permutation).index(0)
                steps = Quantization(tuple(scale.tolist()), (0,) * len(scale), axis)
                constant = self.assembly.constant(f"{name}.q", integers.transpose(permutation), steps)
                self._weights[key] = self._widened(name, constant, version=5)
            else:
                self._weights[key] = self.assembly.constant(name, stored)
        return self._weights[key]

    def _widened(self, name: str, constant: int, version: int) -> int:
        """The tensor in float32 of a constant in float16 or int8."""
        return self.step("DEQUANTIZE", [constant], name, self.assembly.shape(constant), version=version)
