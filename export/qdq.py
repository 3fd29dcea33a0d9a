"""Looking at, and changing, the integer operators of a QDQ model."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import add_constant, constant_of
from yolo_edge.export.quantization.structure import name_of


@dataclass(frozen=True)
class IntegerConv:
    """A Conv between a DequantizeLinear and a QuantizeLinear, with int8 weights.

    Attributes:
        node: The Conv.
        weight: int8 [out, in / groups, rows, columns].
    """

    node: ir.Node
    weight: np.ndarray

    @classmethod
    def of(cls, node: ir.Node) -> "IntegerConv | None":
        """A node as such; None for any other."""
        if node.op_type != "Conv" or dequantizer_of(node.inputs[0]) is None:
            return None
        weights = dequantizer_of(node.inputs[1])
        array = None if weights is None else constant_of(weights.inputs[0])
        return None if array is None else cls(node, array)

    @property
    def groups(self) -> int:
        """1 of a dense one."""
        return self.node.attributes.get_int("group", 1) or 1

    @property
    def is_dense(self) -> bool:
        """Whether each result reads all channels."""
        return self.groups == 1

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel of the result reads one of the input, the same."""
        return not self.is_dense and self.weight.shape[:2] == (self.groups, 1)

    def replace(self, place: int, arrays: Iterable[np.ndarray]) -> None:
        """Put other integers, scales and zero-points in the place of an input.

        Raises:
            ValueError: That input is not quantized.
        """
        up = dequantizer_of(self.node.inputs[place])
        graph = self.node.graph
        if up is None or not isinstance(graph, ir.Graph):
            raise ValueError(f"node {self.node.name!r}: input {place} is not quantized")
        for i, array in enumerate(arrays):
            up.replace_input_with(i, add_constant(graph, name_of(up.inputs[i] or up.outputs[0]), array))
        up.outputs[0].shape = None

    def constants(self, place: int) -> list[np.ndarray]:
        """Integers, scales and zero-points of an input."""
        up = dequantizer_of(self.node.inputs[place])
        arrays = [] if up is None else [constant_of(value) for value in up.inputs]
        return [array for array in arrays if array is not None]


def dequantizer_of(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that gives a value."""
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def is_constant(value: ir.Value) -> bool:
    """Whether a value is an initializer, or integers in one."""
    up = dequantizer_of(value)
    return constant_of(value) is not None or (up is not None and constant_of(up.inputs[0]) is not None)
