from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from yolo_edge.export.canonical import ACTIVATIONS, OPERATORS, NotCanonicalError, check_canonical
from yolo_edge.export.graph import Graph, GraphBuilder


def small(activation: str = "LeakyRelu") -> Graph:
    """One node of every canonical operator that needs no other constants."""
    builder = GraphBuilder("small", 8, 8)
    weight = builder.constant("w", np.ones((4, 3, 3, 3), np.float32))
    bias = builder.constant("b", np.zeros(4, np.float32))
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "group": 1}
    x = builder.node("Conv", [builder.input, weight, bias], (1, 4, 8, 8), "conv", attributes)
    slope = {"alpha": 0.1} if activation == "LeakyRelu" else {}
    x = builder.node(activation, [x], (1, 4, 8, 8), "activation", slope)
    pool = {"kernel_shape": [2, 2], "pads": [0, 0, 0, 0], "strides": [2, 2]}
    half = builder.node("MaxPool", [x], (1, 4, 4, 4), "pool", pool)
    scales = builder.constant("scales", np.array([1, 1, 2, 2], np.float32))
    resize = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    full = builder.node("Resize", [half, None, scales], (1, 4, 8, 8), "resize", resize)
    joined = builder.node("Concat", [x, full], (1, 8, 8, 8), "concat", {"axis": 1})
    bounds = [
        builder.constant(name, np.array([value], np.int64)) for name, value in zip("seat", (0, 4, 1, 1), strict=True)
    ]
    part = builder.node("Slice", [joined, *bounds], (1, 4, 8, 8), "slice")
    mean = builder.node("GlobalAveragePool", [part], (1, 4, 1, 1), "mean")
    scaled = builder.node("Mul", [part, mean], (1, 4, 8, 8), "mul")
    return builder.build({"head_0": builder.node("Add", [scaled, x], (1, 4, 8, 8), "add")})


def node(graph: Graph, name: str) -> ir.Node:
    return next(node for node in graph.graph if node.name == name)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS - {"Clip"}))
def test_accepts_what_is_canonical(activation: str) -> None:
    check_canonical(small(activation))


def test_every_activation_is_an_operator() -> None:
    assert set(OPERATORS) >= ACTIVATIONS


def insert(op: str, after: str) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        value = node(graph, after).outputs[0]
        new = ir.node(op, [value], name="new", num_outputs=1)
        new.outputs[0].shape, new.outputs[0].type = value.shape, value.type
        value.replace_all_uses_with(new.outputs[0])
        new.replace_input_with(0, value)
        graph.graph.insert_after(node(graph, after), new)

    return change


def set_attribute(name: str, attribute: str, value: object) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        node(graph, name).attributes[attribute] = ir.convenience.convert_attribute(attribute, value)  # type: ignore[arg-type]

    return change


def set_constant(name: str, array: np.ndarray) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.graph.initializers[name].const_value = ir.tensor(array)

    return change


def set_shape(name: str, shape: list[int | str] | None) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        node(graph, name).outputs[0].shape = None if shape is None else ir.Shape(shape)

    return change


def set_type(graph: Graph) -> None:
    node(graph, "pool").outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)


def rename(graph: Graph) -> None:
    node(graph, "pool").name = "conv"


def rename_input(graph: Graph) -> None:
    graph.graph.inputs[0].name = "x"


def drop_bias(graph: Graph) -> None:
    node(graph, "conv").resize_inputs(2)


def dead_node(graph: Graph) -> None:
    value = ir.node("Relu", [node(graph, "conv").outputs[0]], name="dead", num_outputs=1)
    value.outputs[0].shape, value.outputs[0].type = ir.Shape([1, 4, 8, 8]), ir.TensorType(ir.DataType.FLOAT)
    graph.graph.append(value)


def dead_constant(graph: Graph) -> None:
    value = ir.Value(name="unused", const_value=ir.tensor(np.zeros(1, np.float32), name="unused"))
    graph.graph.register_initializer(value)


def constant_arithmetic(graph: Graph) -> None:
    scales = graph.graph.initializers["b"]
    new = ir.node("Add", [scales, scales], name="arithmetic", num_outputs=1)
    new.outputs[0].shape, new.outputs[0].type = ir.Shape([4]), ir.TensorType(ir.DataType.FLOAT)
    graph.graph.insert_before(node(graph, "conv"), new)


def computed_weight(graph: Graph) -> None:
    node(graph, "conv").replace_input_with(1, graph.graph.inputs[0])


def drop_attribute(name: str, attribute: str) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        del node(graph, name).attributes[attribute]

    return change


def older_opset(graph: Graph) -> None:
    graph.graph.opset_imports[""] = 11


def same_value_name(graph: Graph) -> None:
    node(graph, "pool").outputs[0].name = "conv"


def no_outputs(graph: Graph) -> None:
    graph.graph.outputs.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (insert("Identity", "pool"), "node 'new' (Identity): not an operator of the canonical form"),
        (insert("Dropout", "pool"), "node 'new' (Dropout): not an operator"),
        (set_attribute("conv", "auto_pad", "SAME_UPPER"), "node 'conv' (Conv): attribute 'auto_pad'"),
        (set_attribute("resize", "mode", "linear"), "node 'resize' (Resize): mode is 'nearest'"),
        (set_attribute("resize", "nearest_mode", "ceil"), "nearest_mode is 'floor'"),
        (set_constant("scales", np.array([1, 2, 2, 2], np.float32)), "scales are [1, 1, y, x]"),
        (set_constant("scales", np.array([1, 1, 1.5, 2], np.float32)), "scales are whole numbers"),
        (set_constant("s", np.array([0, 0], np.int64)), "node 'slice' (Slice): starts, ends, axes and steps"),
        (set_constant("w", np.ones((4, 3, 3, 3), np.float16)), "input 1: expected float32, got float16"),
        (set_constant("w", np.full((4, 3, 3, 3), np.nan, np.float32)), "'w' holds NaN or infinity"),
        (set_shape("pool", None), "node 'pool' (MaxPool): output: a static shape"),
        (set_shape("pool", [1, 4, "h", 4]), "node 'pool' (MaxPool): output: a static shape"),
        (set_shape("pool", [2, 4, 4, 4]), "node 'pool' (MaxPool): output: batch 1"),
        (set_type, "node 'pool' (MaxPool): output: float32 in canonical form"),
        (rename, "node 'conv' (MaxPool): each node has a name of its own"),
        (rename_input, "the one input is 'images' in canonical form, got ['x']"),
        (drop_bias, "node 'conv' (Conv): 3 inputs in canonical form, got 2"),
        (dead_node, "node 'dead' (Relu): nothing uses its output"),
        (dead_constant, "constant 'unused': nothing uses it"),
        (constant_arithmetic, "node 'arithmetic' (Add): computes a constant"),
        (computed_weight, "node 'conv' (Conv): input 1: 'images' is a constant in canonical form"),
        (no_outputs, "the graph has no output"),
        (older_opset, "opset 17 in canonical form, got 11"),
        (same_value_name, "node 'pool' (MaxPool): 'conv' is the name of another value"),
        (drop_attribute("activation", "alpha"), "node 'activation' (LeakyRelu): alpha is stated"),
        (drop_attribute("pool", "pads"), "node 'pool' (MaxPool): pads is stated"),
        (set_attribute("concat", "axis", -3), "node 'concat' (Concat): axis is 0 or more in canonical form, got -3"),
        (set_constant("s", np.array([-4], np.int64)), "node 'slice' (Slice): 0 <= start < end"),
        (set_constant("t", np.array([2], np.int64)), "node 'slice' (Slice): 0 <= start < end, axis >= 0 and step 1"),
    ],
)  # fmt: skip
def test_names_what_is_not(change: Callable[[Graph], None], message: str) -> None:
    graph = small()
    change(graph)
    with pytest.raises(NotCanonicalError) as error:
        check_canonical(graph)
    assert message in str(error.value)
