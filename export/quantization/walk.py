"""A network run node by node on a few pictures, as floats and as integers side by side.

What a layer does wrong can be mended before the next one sees it. Only tensors that are still needed are kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import IR_VERSION, OPSET, Graph
from yolo_edge.export.quantization.apply import QuantizedGraph, integer_weights, weights_of
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import computed_inputs, name_of

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Layer:
    """An int8 convolution on its way to integers.

    Attributes:
        node: The convolution.
        weight: float32 [out, in / groups, rows, columns]: what it should multiply with.
        integers: int8, as `weight`.
        scale: float32 [out].
        bias: float32 [out].
        floats: What it reads in float, one array [1, in, rows, columns] a picture.
        held: The same as the integers before it hold it.
        expected: What it gives in float.
        importance: float32 [rows, columns] a picture: how much each place of what it gives counts.
        run: Input, weight, bias → what a convolution like this gives.
    """

    node: ir.Node
    weight: np.ndarray
    integers: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    floats: Arrays
    held: Arrays
    expected: Arrays
    importance: Arrays
    run: Callable[..., np.ndarray]

    def found(self) -> list[np.ndarray]:
        """What it gives with its integers, on what the integers before it hold."""
        weight = self.integers * self.scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return [self.run(array, weight, self.bias) for array in self.held]

    def with_integers(self, integers: np.ndarray) -> "Layer":
        """The same with other integers."""
        return replace(self, integers=integers.astype(np.int8))


Mend = Callable[[Layer], Layer]


def walk(quantized: QuantizedGraph, tensors: Arrays, importance: Mapping[str, Arrays], mend: Mend) -> dict[str, Layer]:
    """Go through all nodes, and mend each int8 convolution when it is reached.

    Args:
        quantized: The network.
        tensors: Inputs, float32 [1, 3, height, width].
        importance: Output of a convolution → how much each of its places counts, [rows, columns] a picture.
        mend: Gets a layer, gives a better one.

    Returns:
        The mended layers by the names of their nodes, without arrays of pictures.
    """
    structure = quantized.structure
    graph = structure.graph.graph
    source = name_of(graph.inputs[0])
    floats: dict[str, Arrays] = {source: list(tensors)}
    held: dict[str, Arrays] = {source: _held(quantized, source, tensors)}
    left = {name_of(value): len(value.uses()) for value in [*graph.inputs, *(node.outputs[0] for node in graph)]}
    mended = {}
    for node in graph:
        name, inputs = name_of(node.outputs[0]), [name_of(value) for value in computed_inputs(node)]
        run = _session_of(structure.graph, node)
        extra: Arrays = weights_of(node) if node.op_type == "Conv" else ()
        expected = [run(*arrays, *extra) for arrays in zip(*(floats[i] for i in inputs), strict=True)]
        if node.op_type == "Conv" and structure.is_int8(node):
            plan = quantized.plan.convolutions[name_of(node)]
            scale = np.array(plan.weight_scale, np.float32)
            integers = integer_weights(extra[0], scale, plan, name_of(node))
            layer = mend(
                Layer(
                    node,
                    extra[0],
                    integers,
                    scale,
                    extra[1],
                    floats[inputs[0]],
                    held[inputs[0]],
                    expected,
                    importance[name],
                    run,
                )
            )
            found: Arrays = layer.found()
            mended[name_of(node)] = replace(layer, floats=(), held=(), expected=(), importance=())
        else:
            found = [run(*arrays, *extra) for arrays in zip(*(held[i] for i in inputs), strict=True)]
        floats[name], held[name] = expected, _held(quantized, name, found)
        for used in [*inputs, name]:
            left[used] -= used != name
            if not left[used]:
                floats.pop(used, None)
                held.pop(used, None)
    return mended


def _held(quantized: QuantizedGraph, name: str, arrays: Arrays) -> Arrays:
    plan = quantized.plan.tensors.get(name)
    return arrays if plan is None else [plan.stored(array) for array in arrays]


def _session_of(graph: Graph, node: ir.Node) -> Callable[..., np.ndarray]:
    """A node alone; weights and bias of convolutions are inputs."""
    variable = computed_inputs(node)
    if node.op_type == "Conv":
        variable += [value for value in node.inputs[1:3] if value is not None]
    inputs = [
        ir.Value(name=f"x{i}", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
        for i, value in enumerate(variable)
    ]
    place: dict[int, ir.Value] = {id(value): own for value, own in zip(variable, inputs, strict=True)}
    constants = []
    for value in node.inputs:
        if value is not None and id(value) not in place:
            own = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
            constants.append(own)
            place[id(value)] = own
    arguments = [None if value is None else place[id(value)] for value in node.inputs]
    copy = ir.node(node.op_type, arguments, dict(node.attributes), domain=node.domain, name="node")
    result = copy.outputs[0]
    result.name, result.shape, result.type = "y", node.outputs[0].shape, ir.TensorType(ir.DataType.FLOAT)
    imports = {"": OPSET, **({node.domain: 1} if node.domain else {})}
    model = ir.Model(
        ir.Graph(inputs, copy.outputs, nodes=[copy], initializers=constants, opset_imports=imports, name="node"),
        ir_version=IR_VERSION,
        functions=[graph.functions[node.op_identifier()].clone()] if node.domain else [],
    )
    session, names = GraphSession(model), [name_of(value) for value in inputs]

    def run(*arrays: np.ndarray) -> np.ndarray:
        return session(dict(zip(names, arrays, strict=True)))["y"]

    return run
