"""`OnnxNetwork`: a foreign ONNX graph while it is looked at: nodes, constants and shapes by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, helper, numpy_helper

from yolo_edge.ondevice.files import printable

Shape = tuple[int, ...]


@dataclass
class OnnxNetwork:
    """A graph with one input, in order of computation.

    Attributes:
        path: Of the file, for error messages.
        opset: Version of ONNX's own operators.
        input: Name of the image input.
        outputs: Names, in the file's order.
        nodes: In an order that they can be computed in.
        constants: Name → array.
        shapes: Name → shape, where it is known.
        floats: Names of the float32 values among those that nodes compute.
        opsets: Domain → version, of all operators.
    """

    path: str
    opset: int
    input: str
    outputs: list[str]
    nodes: list[NodeProto]
    constants: dict[str, np.ndarray]
    shapes: dict[str, Shape]
    floats: set[str]
    opsets: dict[str, int]

    def producers(self) -> dict[str, NodeProto]:
        """Name of a value → the node that computes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """Name of a value → the nodes that read it."""
        readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(inputs_of(node)):
                readers.setdefault(name, []).append(node)
        return readers

    def needed_for(self, names: Sequence[str], stop: frozenset[str] = frozenset()) -> list[NodeProto]:
        """The nodes that `names` are computed by, going back as far as the values in `stop`."""
        return needed_nodes(self.nodes, names, stop)

    def part(self, inputs: Mapping[str, Shape], outputs: Sequence[str]) -> bytes:
        """An ONNX file of what lies between some values, float32 all of them.

        Args:
            inputs: Name → shape of the values to start from.
            outputs: Names of the values to end at.
        """
        nodes = self.needed_for(outputs, frozenset(inputs))
        used = {name for node in nodes for name in inputs_of(node)}
        graph = helper.make_graph(
            nodes,
            "part",
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in used],
        )
        imports = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8 if self.opset <= 17 else 10)
        return bytes(model.SerializeToString())

    def where(self, node: NodeProto) -> str:
        """A node for an error message."""
        name = printable(node.name or (node.output[0] if node.output else ""))[:80]
        return f"{self.path}: node {name!r} ({printable(node.op_type)[:40]})"


def needed_nodes(
    nodes: Sequence[NodeProto], names: Sequence[str], stop: frozenset[str] = frozenset()
) -> list[NodeProto]:
    """Those of the nodes that `names` are computed by, going back as far as the values in `stop`."""
    producers = {name: node for node in nodes for name in node.output if name}
    wanted: set[int] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in stop or id(node) in wanted:
            continue
        wanted.add(id(node))
        waiting.extend(inputs_of(node))
    return [node for node in nodes if id(node) in wanted]


def attribute(node: NodeProto, name: str, default: object = None) -> object:
    """The value of an attribute: int, float, bytes, array, or a list of them."""
    for item in node.attribute:
        if item.name == name:
            if item.type == AttributeProto.TENSOR:
                return numpy_helper.to_array(item.t)
            return helper.get_attribute_value(item)
    return default


def integer(node: NodeProto, name: str, default: int) -> int:
    """The value of a whole-number attribute."""
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def integers(node: NodeProto, name: str, default: Sequence[int] = ()) -> list[int]:
    """The value of an attribute of whole numbers."""
    value = attribute(node, name)
    return [int(item) for item in value] if isinstance(value, (list, tuple)) else list(default)


def text(node: NodeProto, name: str, default: str = "") -> str:
    """The value of a text attribute."""
    value = attribute(node, name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else default


def inputs_of(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, those of its subgraphs too."""
    yield from (name for name in node.input if name)
    for item in node.attribute:
        for graph in [item.g, *item.graphs] if item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
            inside = {value.name for value in [*graph.input, *graph.initializer]}
            for child in graph.node:
                yield from (name for name in inputs_of(child) if name not in inside)
                inside.update(child.output)
            yield from (value.name for value in graph.output if value.name not in inside)
