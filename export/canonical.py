"""The canonical form of a graph: the few operators, in the few shapes, that every pass and writer understands.

float32, NCHW, batch 1, static shapes, constant attributes, no shape arithmetic, no Constant, Identity or Dropout,
BatchNorm folded, each activation one node.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.functions import FUNCTION_DOMAIN
from yolo_edge.export.graph import INPUT_NAME, OPSET, Graph, constant_of


class NotCanonicalError(ValueError):
    """A graph is not in canonical form; the message names the node that breaks it. A defect of an importer."""


@dataclass(frozen=True)
class Operator:
    """What the canonical form allows of one operator.

    Attributes:
        inputs: One letter an input: "x" a computed float32 tensor, "w" a float32 constant, "e" either, "i" an int64
            constant, "-" left out. A trailing "*" lets the last repeat.
        attributes: The names that may be set.
        domain: "" for ONNX itself.
        check: Says what else is wrong with a node, or nothing.
    """

    inputs: str
    attributes: frozenset[str] = frozenset()
    domain: str = ""
    check: Callable[[ir.Node], str | None] = lambda node: None


def _attributes(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _check_resize(node: ir.Node) -> str | None:
    wanted = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    for name, value in wanted.items():
        found = node.attributes.get_string(name)
        if found != value:
            return f"{name} is {value!r} in canonical form, got {found!r}"
    scales = constant_of(node.inputs[2])
    if scales is None or scales.shape != (4,) or scales[0] != 1 or scales[1] != 1:
        return f"scales are [1, 1, y, x] in canonical form, got {scales}"
    if not np.array_equal(scales, np.round(scales)) or scales.min() < 1:
        return f"scales are whole numbers in canonical form, got {scales}"
    return None


def _check_slice(node: ir.Node) -> str | None:
    bounds = [constant_of(value) for value in node.inputs[1:]]
    if any(array is None or array.shape != (1,) for array in bounds):
        return "starts, ends, axes and steps have one element each in canonical form"
    start, end, axis, step = (int(array[0]) for array in bounds if array is not None)
    if not (0 <= start < end and axis >= 0 and step == 1):
        return f"0 <= start < end, axis >= 0 and step 1 in canonical form, got {start}, {end}, {axis}, {step}"
    return None


def _check_concat(node: ir.Node) -> str | None:
    axis = node.attributes.get_int("axis")
    return None if axis is not None and axis >= 0 else f"axis is 0 or more in canonical form, got {axis}"


def _stated(*names: str) -> Callable[[ir.Node], str | None]:
    def check(node: ir.Node) -> str | None:
        missing = [name for name in names if node.attributes.get(name) is None]
        return f"{missing[0]} is stated in canonical form" if missing else None

    return check


def _check_reshape(node: ir.Node) -> str | None:
    sizes = constant_of(node.inputs[1])
    if sizes is None or sizes.min(initial=1) < 1:
        return f"every size is stated in canonical form, got {sizes}"
    return None


def _check_softmax(node: ir.Node) -> str | None:
    axis, shape = node.attributes.get_int("axis"), node.outputs[0].shape
    last = len(shape) - 1 if shape is not None else None
    return None if axis == last else f"the axis is the last in canonical form, got {axis}"


def _check_conv_transpose(node: ir.Node) -> str | None:
    missing = _stated("kernel_shape", "pads", "strides")(node)
    if missing is None and set(node.attributes.get_ints("dilations") or (1, 1)) != {1}:
        return "dilations are 1 in canonical form"
    return missing


_UNARY = Operator("x")
_BINARY = Operator("ee")
_SPATIAL = "dilations kernel_shape pads strides"

OPERATORS: dict[str, Operator] = {
    "Add": _BINARY,
    "AveragePool": Operator("x", _attributes(_SPATIAL), check=_stated("kernel_shape", "pads", "strides")),
    "BilinearUpsample": Operator("x", domain=FUNCTION_DOMAIN),
    "Clip": Operator("xww"),
    "Concat": Operator("x*", _attributes("axis"), check=_check_concat),
    "Conv": Operator("xww", _attributes(f"group {_SPATIAL}"), check=_stated("kernel_shape", "pads", "strides")),
    "ConvTranspose": Operator("xww", _attributes(_SPATIAL), check=_check_conv_transpose),
    "GlobalAveragePool": _UNARY,
    "HardSwish": Operator("x", domain=FUNCTION_DOMAIN),
    "LeakyRelu": Operator("x", _attributes("alpha"), check=_stated("alpha")),
    "MatMul": Operator("xx"),
    "MaxPool": Operator("x", _attributes(_SPATIAL), check=_stated("kernel_shape", "pads", "strides")),
    "Mish": Operator("x", domain=FUNCTION_DOMAIN),
    "Mul": _BINARY,
    "Relu": _UNARY,
    "Reshape": Operator("xi", check=_check_reshape),
    "Resize": Operator(
        "x-w",
        _attributes("coordinate_transformation_mode mode nearest_mode"),
        check=_check_resize,
    ),
    "SiLU": Operator("x", domain=FUNCTION_DOMAIN),
    "Sigmoid": _UNARY,
    "Slice": Operator("xiiii", check=_check_slice),
    "Softmax": Operator("x", _attributes("axis"), check=_check_softmax),
    "SpaceToDepth": Operator("x", _attributes("blocksize"), check=_stated("blocksize")),
    "Transpose": Operator("x", _attributes("perm"), check=_stated("perm")),
}

ACTIVATIONS = frozenset({"Clip", "HardSwish", "LeakyRelu", "Mish", "Relu", "SiLU", "Sigmoid"})


def check_canonical(graph: Graph) -> None:
    """Check that `graph` is in canonical form.

    Raises:
        NotCanonicalError: It is not; the message names the first node that breaks it.
    """
    if [value.name for value in graph.graph.inputs] != [INPUT_NAME]:
        names = [value.name for value in graph.graph.inputs]
        raise NotCanonicalError(f"the one input is {INPUT_NAME!r} in canonical form, got {names}")
    _check_value(graph.graph.inputs[0], "the input")
    shape = tuple(graph.graph.inputs[0].shape or ())
    if len(shape) != 4 or shape[:2] != (1, 3):
        raise NotCanonicalError(f"the input is [1, 3, height, width] in canonical form, got {list(shape)}")
    if not graph.graph.outputs:
        raise NotCanonicalError("the graph has no output")
    opset = graph.graph.opset_imports.get("")
    if opset != OPSET:
        raise NotCanonicalError(f"opset {OPSET} in canonical form, got {opset}")
    computed = {id(value) for value in graph.graph.inputs}
    value_names: set[str | None] = {INPUT_NAME, *graph.graph.initializers}
    node_names: set[str | None] = set()
    for node in graph.graph:
        where = f"node {node.name!r} ({node.op_type})"
        if not node.name or node.name in node_names:
            raise NotCanonicalError(f"{where}: each node has a name of its own in canonical form")
        node_names.add(node.name)
        _check_node(node, where, computed)
        if node.domain == FUNCTION_DOMAIN and node.op_identifier() not in graph.functions:
            raise NotCanonicalError(f"{where}: the graph does not bring its function")
        if node.outputs[0].name in value_names:
            raise NotCanonicalError(f"{where}: {node.outputs[0].name!r} is the name of another value")
        value_names.add(node.outputs[0].name)
        computed.update(id(output) for output in node.outputs)
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            raise NotCanonicalError(f"{where}: nothing uses its output")
    for value in graph.graph.outputs:
        if id(value) not in computed or value.is_graph_input():
            raise NotCanonicalError(f"output {value.name!r} is computed by no node")
    for name, value in graph.graph.initializers.items():
        if not value.uses():
            raise NotCanonicalError(f"constant {name!r}: nothing uses it")


def _check_node(node: ir.Node, where: str, computed: set[int]) -> None:
    operator = OPERATORS.get(node.op_type)
    if operator is None or operator.domain != node.domain:
        raise NotCanonicalError(f"{where}: not an operator of the canonical form")
    if len(node.outputs) != 1:
        raise NotCanonicalError(f"{where}: one output in canonical form, got {len(node.outputs)}")
    for attribute in node.attributes.values():
        if attribute.name not in operator.attributes or attribute.is_ref():
            raise NotCanonicalError(f"{where}: attribute {attribute.name!r} is not of the canonical form")
    kinds = operator.inputs
    if kinds.endswith("*"):
        kinds = kinds[-2] * len(node.inputs)
    if len(node.inputs) != len(kinds):
        raise NotCanonicalError(f"{where}: {len(kinds)} inputs in canonical form, got {len(node.inputs)}")
    for i, (kind, value) in enumerate(zip(kinds, node.inputs, strict=True)):
        _check_operand(kind, value, f"{where}: input {i}", computed)
    if not any(value is not None and id(value) in computed for value in node.inputs):
        raise NotCanonicalError(f"{where}: computes a constant")
    _check_value(node.outputs[0], f"{where}: output")
    problem = operator.check(node)
    if problem:
        raise NotCanonicalError(f"{where}: {problem}")


def _check_operand(kind: str, value: ir.Value | None, where: str, computed: set[int]) -> None:
    if (value is None) != (kind == "-"):
        raise NotCanonicalError(f"{where}: {'must be left out' if kind == '-' else 'is missing'}")
    if value is None:
        return
    constant = constant_of(value)
    if kind == "x" or (kind == "e" and constant is None):
        if id(value) not in computed:
            raise NotCanonicalError(f"{where}: {value.name!r} is not computed before it")
        return
    if constant is None:
        raise NotCanonicalError(f"{where}: {value.name!r} is a constant in canonical form")
    wanted = np.int64 if kind == "i" else np.float32
    if constant.dtype != wanted:
        raise NotCanonicalError(f"{where}: expected {np.dtype(wanted)}, got {constant.dtype}")
    if not np.isfinite(constant).all():
        raise NotCanonicalError(f"{where}: {value.name!r} holds NaN or infinity")


def _check_value(value: ir.Value, where: str) -> None:
    if value.dtype != ir.DataType.FLOAT:
        raise NotCanonicalError(f"{where}: float32 in canonical form, got {value.dtype}")
    if value.shape is None or not value.shape.is_static():
        raise NotCanonicalError(f"{where}: a static shape in canonical form, got {value.shape}")
    if value.shape[0] != 1:
        raise NotCanonicalError(f"{where}: batch 1 in canonical form, got {value.shape}")
