import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.passes.fold_batch_norm import FoldBatchNorm
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
