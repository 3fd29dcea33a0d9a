"""`Emitter`: builds a canonical graph from a foreign network, node by node."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx import NodeProto

from yolo_edge.export.graph import Attribute, GraphBuilder, shape_of
from yolo_edge.export.importers.onnx.network import OnnxNetwork, Shape
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import InputSpec

Converted: TypeAlias = Sequence[ir.Value]
# raises InputError where the operator's settings are not supported
Convert: TypeAlias = "Callable[[Emitter, NodeProto], Converted]"


class Emitter:
    """Builds the canonical graph of the part of a network that leads to some values."""

    def __init__(self, network: OnnxNetwork, name: str):
        _, _, height, width = network.shapes[network.input]
        self.network = network
        self.builder = GraphBuilder(name, width, height)
        self.values: dict[str, ir.Value] = {network.input: self.builder.input}
        self.producers = network.producers()
        self._names: set[str] = set()

    def take_colours(self, image: InputSpec) -> None:
        """Let the graph take RGB 0..1, and the network behind it what `image` says."""
        order, factor, offset = colours(image)
        value = self.builder.input
        shape = shape_of(value)
        if order != [0, 1, 2] or (factor != 1).any():
            weight = np.zeros((3, 3, 1, 1), np.float32)
            weight[range(3), order, 0, 0] = factor
            arrays = {"w": weight, "b": np.zeros(3, np.float32)}
            constants = [self.builder.constant(f"colours.{role}", array) for role, array in arrays.items()]
            window: dict[str, Attribute] = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0] * 4, "group": 1}
            window["dilations"] = [1, 1]
            value = self.builder.node("Conv", [value, *constants], shape, "colours", window)
        if offset.any():
            mean = self.builder.constant("colours.mean", offset.reshape(1, 3, 1, 1))
            value = self.builder.node("Add", [value, mean], shape, "colours.centred")
        self.values[self.network.input] = value

    def emit(self, outputs: Sequence[str], operators: Mapping[str, Convert]) -> dict[str, ir.Value]:
        """Build what `outputs` are computed by, each node by the function of its operator.

        Raises:
            InputError: An operator that is not supported, by name.
        """
        for node in self.network.needed_for(outputs):
            convert = operators.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if convert is None:
                raise self.error(node, "this operator is not supported in the body of a detector")
            for name, value in zip(node.output, convert(self, node), strict=False):
                self.values[name] = value
        return {name: self.values[name] for name in outputs}

    def error(self, node: NodeProto, problem: str) -> InputError:
        """An error that says which node of which file."""
        return InputError(f"{self.network.where(node)}: {problem}")

    def x(self, node: NodeProto, index: int = 0) -> ir.Value:
        """An input that depends on the picture.

        Raises:
            InputError: It does not, or is missing.
        """
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.values:
            raise self.error(node, f"input {index} does not depend on the picture, or is missing")
        return self.values[name]

    def array(self, node: NodeProto, index: int) -> np.ndarray | None:
        """A constant input; None where it is left out.

        Raises:
            InputError: It is computed.
        """
        if index >= len(node.input) or not node.input[index]:
            return None
        if node.input[index] not in self.network.constants:
            raise self.error(node, f"input {index} is computed, a constant is expected")
        return self.network.constants[node.input[index]]

    def number(self, node: NodeProto, index: int, default: float) -> float:
        """A constant input of one value; `default` where it is left out.

        Raises:
            InputError: It is computed, or is not one value.
        """
        array = self.array(node, index)
        if array is None:
            return default
        if array.size != 1:
            raise self.error(node, f"input {index} has {array.size} values, one is expected")
        return float(array.reshape(-1)[0])

    def shape(self, node: NodeProto, index: int = 0) -> Shape:
        """The shape of an output.

        Raises:
            InputError: It is not known.
        """
        shape = self.network.shapes.get(node.output[index])
        if shape is None:
            raise self.error(node, "its shape depends on more than the size of the input")
        return shape

    def add(
        self, op: str, inputs: Sequence[ir.Value | None], shape: Sequence[int], node: NodeProto, **attributes: object
    ) -> ir.Value:
        """A canonical node, named after the foreign one."""
        return self.builder.node(op, inputs, shape, self.name(node, op), attributes)  # type: ignore[arg-type]

    def constant(self, node: NodeProto, role: str, array: np.ndarray) -> ir.Value:
        """A float32 or int64 constant.

        Raises:
            InputError: It holds NaN or infinity.
        """
        kind = np.int64 if array.dtype.kind in "iu" else np.float32
        data = np.ascontiguousarray(array, kind)
        if kind is np.float32 and not np.isfinite(data).all():
            raise self.error(node, f"its {role} holds NaN or infinity: the file is damaged")
        return self.builder.constant(self.name(node, role), data)

    def name(self, node: NodeProto, role: str) -> str:
        """A name that no other value has."""
        base = "".join(c if c.isprintable() else "?" for c in (node.name or node.output[0]))[:120]
        name, number = f"{base}.{role}", 1
        while name in self._names:
            number += 1
            name = f"{base}.{role}.{number}"
        self._names.add(name)
        return name


def colours(image: InputSpec) -> tuple[list[int], np.ndarray, np.ndarray]:
    """What RGB 0..1 becomes: channels in this order, times a factor, plus an offset, float32 [3] each."""
    scale = np.array(image.scale, np.float64)
    order = [2, 1, 0] if image.color == "BGR" else [0, 1, 2]
    return order, (255 * scale).astype(np.float32), (-np.array(image.mean) * scale).astype(np.float32)
