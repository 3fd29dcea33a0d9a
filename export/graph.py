"""`Graph`: the network between preprocessing and decoding, an `onnx_ir.Model` (NCHW, float32, batch 1).

A graph has one input, "images", and ends at the raw heads. Importers build one with `GraphBuilder`; what a graph must
be when the writers get it is in `canonical`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from yolo_edge.export.functions import FUNCTION_DOMAIN, FUNCTIONS

Graph: TypeAlias = ir.Model
"""A network: an `onnx_ir.Model`, NCHW, float32, batch 1, from the input "images" to the raw heads."""

OPSET = 17
IR_VERSION = 8  # of opset 17: what runtimes of 2022 and later read
INPUT_NAME = "images"

Attribute: TypeAlias = int | float | str | Sequence[int]


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value.

    Raises:
        ValueError: It has none, or one that is not known.
    """
    if value.shape is None or not value.shape.is_static():
        raise ValueError(f"value {value.name!r} has no static shape, got {value.shape}")
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def constant_of(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer; None for anything else."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Register an initializer that holds `array`, under `name` or, where that is taken, a name like it."""
    taken = {value.name for value in graph.inputs} | set(graph.initializers)
    taken.update(value.name for node in graph for value in node.outputs)
    free, number = name, 2
    while free in taken:
        free, number = f"{name}.{number}", number + 1
    value = _constant(free, array)
    graph.register_initializer(value)
    return value


def drop_unused_nodes(graph: ir.Graph) -> None:
    """Remove the nodes whose outputs nothing uses, and those that only such use."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)


def drop_unused_constants(graph: ir.Graph) -> None:
    """Remove the initializers that nothing uses."""
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


class GraphBuilder:
    """Builds a graph node by node; every value gets a name and a shape."""

    def __init__(self, name: str, width: int, height: int):
        self.input = _value(INPUT_NAME, (1, 3, height, width))
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._functions: set[str] = set()
        self._name = name

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """An initializer that holds `array` (not copied)."""
        value = _constant(name, array)
        self._initializers[name] = value
        return value

    def node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[int],
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        """Add a node with one float32 output.

        Args:
            op: An ONNX operator, or one of `functions.FUNCTIONS`.
            inputs: Its inputs; None where an optional one is left out.
            shape: Of the output.
            name: Of the node and of its output.
            attributes: By name.

        Returns:
            The output.
        """
        domain = ""
        if op in FUNCTIONS:
            domain = FUNCTION_DOMAIN
            self._functions.add(op)
        output = _value(name, shape)
        node = ir.node(op, inputs, attributes or {}, domain=domain, outputs=[output], name=name)
        self._nodes.append(node)
        return output

    def build(self, outputs: Mapping[str, ir.Value]) -> Graph:
        """The finished graph. `outputs`: the name that each output shall have → its value."""
        for name, value in outputs.items():
            value.name = name
        imports = {"": OPSET}
        if self._functions:
            imports[FUNCTION_DOMAIN] = 1
        graph = ir.Graph(
            [self.input],
            list(outputs.values()),
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports=imports,
            name=self._name,
        )
        functions = [FUNCTIONS[name]() for name in sorted(self._functions)]
        return ir.Model(graph, ir_version=IR_VERSION, functions=functions)


def _constant(name: str, array: np.ndarray) -> ir.Value:
    return ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.Tensor(array, name=name),
    )


def _value(name: str, shape: Sequence[int]) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
