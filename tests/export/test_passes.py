import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.passes.fold_batch_norm import FoldBatchNorm
from yolo_edge.export.passes.fold_scale import FoldScale
from yolo_edge.export.passes.fuse_activations import FuseActivations
from yolo_edge.export.passes.merge_convolutions import MergeConvolutions
from yolo_edge.export.rounding import to_float16


def run(graph: Graph, tensor: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": tensor})


def normalized(bias: bool, source: str, seed: int) -> Graph:
    """A BatchNormalization after a convolution, a pool, or a convolution that something else reads too."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("norm", 8, 6)
    value, channels = builder.input, 3
    if source != "pool":
        channels = 5
        inputs = [value, builder.constant("w", rng.normal(0, 1, (5, 3, 3, 3)).astype(np.float32))]
        if bias:
            inputs.append(builder.constant("c", rng.normal(0, 1, 5).astype(np.float32)))
        attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "group": 1}
        value = builder.node("Conv", inputs, (1, 5, 6, 8), "conv", attributes)
    else:
        attributes = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]}
        value = builder.node("MaxPool", [value], (1, 3, 6, 8), "pool", attributes)
    vectors = [
        builder.constant(name, rng.uniform(0.2, 2, channels).astype(np.float32))
        for name in ("scale", "bias", "mean", "variance")
    ]
    norm = builder.node("BatchNormalization", [value, *vectors], (1, channels, 6, 8), "norm", {"epsilon": 1e-6})
    outputs = {"head_0": norm}
    if source == "shared":
        outputs["head_1"] = value
    return builder.build(outputs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("source", ["conv", "pool", "shared"])
def test_folding_keeps_the_outputs(bias: bool, source: str, seed: int) -> None:
    graph = normalized(bias, source, seed)
    tensor = np.random.default_rng(seed).random((1, 3, 6, 8), dtype=np.float32)
    before = run(graph, tensor)
    result = FoldBatchNorm()(graph)
    assert result.modified
    assert "BatchNormalization" not in [node.op_type for node in graph.graph]
    assert not {"scale", "mean", "variance"} & set(graph.graph.initializers)
    for old, new in zip(before, run(graph, tensor), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-5 * np.abs(old).max())
    assert not FoldBatchNorm()(graph).modified


def test_folding_does_not_write_into_the_weights() -> None:
    builder = GraphBuilder("norm", 4, 4)
    weight = np.ones((2, 3, 1, 1), np.float32)
    weight.flags.writeable = False
    attributes = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]}
    value = builder.node("Conv", [builder.input, builder.constant("w", weight)], (1, 2, 4, 4), "conv", attributes)
    vectors = [builder.constant(name, np.full(2, 3, np.float32)) for name in "abcd"]
    graph = builder.build({"head_0": builder.node("BatchNormalization", [value, *vectors], (1, 2, 4, 4), "norm")})
    FoldBatchNorm()(graph)
    assert (weight == 1).all()


def test_a_weight_that_others_use_is_left_to_them() -> None:
    """Two convolutions of one initializer, named as the first of them: only that is folded."""
    builder = GraphBuilder("shared", 4, 4)
    weight = builder.constant("a.weight", np.full((3, 3, 1, 1), 0.5, np.float32))
    attributes = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]}
    first = builder.node("Conv", [builder.input, weight], (1, 3, 4, 4), "a", attributes)
    second = builder.node("Conv", [builder.input, weight], (1, 3, 4, 4), "b", attributes)
    vectors = [builder.constant(name, np.full(3, 4, np.float32)) for name in "cdef"]
    norm = builder.node("BatchNormalization", [first, *vectors], (1, 3, 4, 4), "norm")
    graph = builder.build({"head_0": norm, "head_1": second})
    tensor = np.random.default_rng(0).random((1, 3, 4, 4), dtype=np.float32)
    before = run(graph, tensor)
    FoldBatchNorm()(graph)
    for old, new in zip(before, run(graph, tensor), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (32, 1, 5, 5), (64, 128, 1, 1), (3, 2, 1, 1)])
@pytest.mark.parametrize("spread", [1.0, 1e-6, 1e3])
def test_float16_rounding_keeps_the_sum_of_each_channel(shape: tuple[int, ...], spread: float) -> None:
    weight = (np.random.default_rng(0).normal(0, 1, shape) * spread).astype(np.float32)
    half = to_float16(weight)
    nearest = weight.astype(np.float16)
    sums = [array.astype(np.float64).reshape(shape[0], -1).sum(axis=1) for array in (weight, half, nearest)]
    error, plain = np.abs(sums[1] - sums[0]), np.abs(sums[2] - sums[0])
    assert (error <= plain + 1e-12).all()
    if np.prod(shape[1:]) > 4:
        assert error.mean() < 0.5 * plain.mean()


def test_float16_rounding_takes_a_neighbour() -> None:
    weight = np.random.default_rng(1).normal(0, 0.1, (16, 200)).astype(np.float32)
    weight[:, ::10] = 0
    weight[0, 1] = 65504
    half = to_float16(weight)
    below, above = (np.nextafter(weight.astype(np.float16), np.float16(end)) for end in (-65504, 65504))
    assert ((half >= below) & (half <= above)).all()
    step = above.astype(np.float64) - below
    assert (np.abs(half.astype(np.float64) - weight) <= step).all()
    assert (half[:, ::10] == 0).all()
    assert half[0, 1] == 65504
    assert half.dtype == np.float16


def convolution(builder: GraphBuilder, x: ir.Value, rng: np.random.Generator, name: str, **options: object) -> ir.Value:
    """A 3x3 convolution to five channels with padding 1."""
    channels, height, width = (int(side) for side in tuple(x.shape or ())[1:])  # type: ignore[arg-type]
    inputs = [x, builder.constant(f"{name}.w", rng.normal(0, 0.5, (5, channels, 3, 3)).astype(np.float32))]
    inputs.append(builder.constant(f"{name}.b", rng.normal(0, 0.5, 5).astype(np.float32)))
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1}
    return builder.node("Conv", inputs, (1, 5, height, width), name, attributes)


def check(graph: Graph, change: ir.passes.InPlacePass, kinds: list[str], tolerance: float) -> Graph:
    """Apply a pass; what it leaves over is of these kinds, and computes the same."""
    _, _, height, width = (int(side) for side in tuple(graph.graph.inputs[0].shape or ()))  # type: ignore[arg-type]
    tensor = np.random.default_rng(0).normal(0, 2, (1, 3, height, width)).astype(np.float32)
    before = run(graph, tensor)
    names = [value.name for value in graph.graph.outputs]
    assert change(graph).modified
    assert sorted(node.op_type for node in graph.graph) == sorted(kinds)
    assert [value.name for value in graph.graph.outputs] == names
    for a, b in zip(before, run(graph, tensor), strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()
    assert not change(graph).modified
    return graph


def gate(builder: GraphBuilder, x: ir.Value, form: str) -> tuple[str, ir.Value]:
    """An activation as an exporter takes it apart, and its name."""
    shape = (1, 5, 6, 8)

    def node(op: str, *inputs: ir.Value) -> ir.Value:
        return builder.node(op, inputs, shape, f"{op}{builder.counter()}")  # type: ignore[attr-defined]

    def number(value: float) -> ir.Value:
        return builder.constant(f"n{builder.counter()}", np.float32(value))  # type: ignore[attr-defined]

    if form == "silu":
        return "SiLU", node("Mul", node("Sigmoid", x), x)
    if form == "mish":
        return "Mish", node("Mul", x, node("Tanh", node("Softplus", x)))
    clipped = node("Clip", node("Add", x, number(3)), number(0), number(6))
    if form == "hard-swish, divided":
        return "HardSwish", node("Mul", node("Mul", clipped, x), number(1 / 6))
    if form == "hard-swish, gate divided":
        return "HardSwish", node("Mul", x, node("Mul", clipped, number(1 / 6)))
    narrow = node("Clip", node("Add", node("Mul", x, number(1 / 6)), number(0.5)), number(0), number(1))
    return "HardSwish", node("Mul", x, narrow)


class CountingBuilder(GraphBuilder):
    count = 0

    def counter(self) -> int:
        self.count += 1
        return self.count


@pytest.mark.parametrize("form", ["silu", "mish", "hard-swish, divided", "hard-swish, gate divided", "hard-sigmoid"])
def test_activations_are_put_together(form: str) -> None:
    builder = CountingBuilder("gate", 8, 6)
    x = convolution(builder, builder.input, np.random.default_rng(0), "conv")
    name, result = gate(builder, x, form)
    check(builder.build({"head_0": result}), FuseActivations(), ["Conv", name], 1e-6)


def test_what_only_looks_like_an_activation_stays() -> None:
    builder = CountingBuilder("gate", 8, 6)
    x = convolution(builder, builder.input, np.random.default_rng(0), "conv")
    y = convolution(builder, x, np.random.default_rng(1), "other")
    sigmoid = builder.node("Sigmoid", [y], (1, 5, 6, 8), "sigmoid")
    gated = builder.node("Mul", [x, sigmoid], (1, 5, 6, 8), "gated")  # squeeze-and-excite, not SiLU
    four = builder.constant("four", np.float32(4))
    bounds = [builder.constant(name, np.float32(value)) for name, value in (("low", 0), ("high", 6))]
    moved = builder.node("Add", [gated, four], (1, 5, 6, 8), "moved")  # 4, where hard-swish has 3
    clipped = builder.node("Clip", [moved, *bounds], (1, 5, 6, 8), "clipped")
    result = builder.node("Mul", [gated, clipped], (1, 5, 6, 8), "result")
    assert not FuseActivations()(builder.build({"head_0": result})).modified


@pytest.mark.parametrize("shape", [(), (1,), (1, 5, 1, 1), (5, 1, 1)])
@pytest.mark.parametrize("first", ["Mul", "Add"])
def test_scales_are_folded(first: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("scale", 8, 6)
    x = convolution(builder, builder.input, rng, "conv")
    for i, op in enumerate((first, "Mul" if first == "Add" else "Add")):
        constant = builder.constant(f"c{i}", rng.uniform(0.5, 2, shape).astype(np.float32))
        x = builder.node(op, [x, constant] if i else [constant, x], (1, 5, 6, 8), f"{op}_{i}")
    check(builder.build({"head_0": x}), FoldScale(), ["Conv"], 1e-5)


def test_scales_of_shared_maps_stay() -> None:
    builder = GraphBuilder("scale", 8, 6)
    x = convolution(builder, builder.input, np.random.default_rng(0), "conv")
    doubled = builder.node("Mul", [x, builder.constant("two", np.float32(2))], (1, 5, 6, 8), "doubled")
    wide = builder.constant("wide", np.ones((1, 5, 6, 8), np.float32))
    other = builder.node("Add", [doubled, wide], (1, 5, 6, 8), "other")
    assert not FoldScale()(builder.build({"head_0": doubled, "head_1": x, "head_2": other})).modified


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 2, 0, 1]])
def test_convolutions_that_only_move_pixels_are_merged(order: tuple[int, ...], pads: list[int]) -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("move", 8, 6)
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[range(3), order, 0, 0] = rng.uniform(100, 255, 3) if not any(pads) else 1
    constants = [builder.constant("w", weight), builder.constant("b", np.zeros(3, np.float32))]
    height, width = 6 + pads[0] + pads[2], 8 + pads[1] + pads[3]
    attributes = {"kernel_shape": [1, 1], "pads": pads, "strides": [1, 1], "dilations": [1, 1], "group": 1}
    x = builder.node("Conv", [builder.input, *constants], (1, 3, height, width), "moved", attributes)
    graph = builder.build({"head_0": convolution(builder, x, rng, "conv")})
    if any(pads) and order != (0, 1, 2):  # padding and another order at once: not what exporters write
        assert not MergeConvolutions()(graph).modified
    else:
        check(graph, MergeConvolutions(), ["Conv"], 1e-5)


def test_focus_becomes_one_convolution() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("focus", 8, 6)
    parts = []
    for i, (top, left) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        weight = np.zeros((3, 1, 2, 2), np.float32)
        weight[:, 0, top, left] = 1
        constants = [builder.constant(f"w{i}", weight), builder.constant(f"b{i}", np.zeros(3, np.float32))]
        attributes = {"kernel_shape": [2, 2], "pads": [0] * 4, "strides": [2, 2], "dilations": [1, 1], "group": 3}
        parts.append(builder.node("Conv", [builder.input, *constants], (1, 3, 3, 4), f"part{i}", attributes))
    joined = builder.node("Concat", parts, (1, 12, 3, 4), "joined", {"axis": 1})
    graph = builder.build({"head_0": convolution(builder, joined, rng, "conv")})
    check(graph, MergeConvolutions(), ["Conv"], 1e-6)
    (node,) = graph.graph
    assert node.attributes.get_ints("kernel_shape") == (6, 6)
    assert node.attributes.get_ints("pads") == (2, 2, 2, 2)
