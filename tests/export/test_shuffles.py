"""Channel shuffles, bilinear upsampling and split heads: what the passes leave computes the same, without a copy."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.export.onnx_parts import OnnxWriter, depthwise, shuffle, shuffle_net
from tests.tflite_support import operators
from yolo_edge.export import canonicalize, write_tflite
from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.importers.onnx.emit import Emitter
from yolo_edge.export.importers.onnx.fold import fold
from yolo_edge.export.importers.onnx.operators import OPERATORS
from yolo_edge.export.importers.onnx.shuffle import gather_channels
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec


def emit(model: onnx.ModelProto) -> Graph:
    """The graph of a network that is no detector."""
    network = fold(model, "test.onnx")
    gather_channels(network)
    _, _, height, width = network.shapes[network.input]
    emitter = Emitter(network, "test")
    emitter.take_colours(InputSpec(width, height))
    values = emitter.emit(network.outputs, OPERATORS)
    return emitter.builder.build({f"head_{i}": values[name] for i, name in enumerate(network.outputs)})


def run(graph: Graph, pixels: np.ndarray) -> list[np.ndarray]:
    return list(new_session(ir.to_proto(graph).SerializeToString(), optimize=False).run(None, {"images": pixels}))


def assert_same(model: onnx.ModelProto) -> Graph:
    """The folded graph, after comparing it with the file itself; nothing is moved but by slices."""
    graph = canonicalize(emit(model))
    shape = tuple(graph.graph.inputs[0].shape)  # type: ignore[arg-type]
    pixels = np.random.default_rng(5).random(shape, dtype=np.float32)
    expected = new_session(model.SerializeToString()).run(None, {"picture": pixels})
    for a, b in zip(expected, run(graph, pixels), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(a).max())
    kinds = {node.op_type for node in graph.graph}
    assert not kinds & {"Gather", "Transpose", "Reshape"}
    return graph


@pytest.mark.parametrize("kind", ["split", "gather"])
@pytest.mark.parametrize("units", [2, 4])
def test_shuffle_nets_read_slices(kind: str, units: int) -> None:
    w = OnnxWriter(11, np.random.default_rng(units))
    outputs = [w.conv(x, channels, 5) for x, channels in shuffle_net(w, kind, units)]
    graph = assert_same(w.model(outputs))
    convolutions = [node for node in graph.graph if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in w.nodes)  # none was added
    for node in graph.graph:
        if node.op_type == "Concat":  # each source is read in one piece
            sources = [value.producer() for value in node.inputs if value is not None]
            cut = [part.inputs[0] for part in sources if part is not None and part.op_type == "Slice"]
            assert len(cut) == len(set(map(id, cut)))


@settings(max_examples=25)
@given(st.data())
def test_random_moves_of_channels(data: st.DataObject) -> None:
    """Random networks of convolutions, activations, sums, shuffles, slices and joins, with outputs anywhere."""
    w = OnnxWriter(13, np.random.default_rng(data.draw(st.integers(0, 10**6))), width=6, height=4)
    values = [(w.conv("picture", 3, 4), 4)]
    for _ in range(data.draw(st.integers(3, 10))):
        x, channels = data.draw(st.sampled_from(values[-4:]))
        kind = data.draw(
            st.sampled_from(["conv", "wide", "depthwise", "relu", "shuffle", "gather", "join", "add", "slice"])
        )
        if kind in ("conv", "wide"):
            values.append((w.conv(x, channels, 4, 1 if kind == "conv" else 3), 4))
        elif kind == "depthwise":
            values.append((depthwise(w, x, channels), channels))
        elif kind == "relu":
            values.append((w.op("Relu", x), channels))
        elif kind in ("shuffle", "gather") and channels % 2 == 0:
            halves = shuffle(w, x, channels, "split" if kind == "shuffle" else "gather", (4, 6))
            values += [(half, channels // 2) for half in halves]
        elif kind == "join":
            other, more = data.draw(st.sampled_from(values))
            if channels + more <= 24:
                values.append((w.op("Concat", x, other, axis=1), channels + more))
        elif kind == "add":
            others = [name for name, count in values if count == channels]
            values.append((w.op("Add", x, data.draw(st.sampled_from(others))), channels))
        elif channels > 1:
            values.append((w.slice(x, 1, 1, channels), channels - 1))
    ends = [values[-1], *data.draw(st.lists(st.sampled_from(values), max_size=1))]
    outputs = list(
        dict.fromkeys(w.conv(x, channels, 3) if data.draw(st.booleans()) else w.op("Relu", x) for x, channels in ends)
    )
    assert_same(w.model(outputs))


def test_a_reader_of_what_was_joined_with_a_shuffle_and_cut_off_again() -> None:
    w = OnnxWriter(13, np.random.default_rng(0), width=6, height=4)
    x = w.conv("picture", 3, 4)
    half, _ = shuffle(w, x, 4, "split", (4, 6))
    joined = w.op("Concat", half, w.conv(x, 4, 4), axis=1)
    assert_same(w.model([w.op("Relu", w.slice(joined, 1, 2, 6))]))


def test_a_shuffle_that_is_an_output() -> None:
    w = OnnxWriter(11, np.random.default_rng(0))
    x = w.conv("picture", 3, 8, 3)
    halves = shuffle(w, x, 8, "split", (96, 64))
    assert_same(w.model([*halves, w.op("Relu", x)]))


def test_reshapes_that_move_more_than_channels_stay(tmp_path: Path) -> None:
    w = OnnxWriter(11, np.random.default_rng(0))
    x = w.conv("picture", 3, 4, 3)
    turned = w.op("Transpose", w.op("Reshape", x, w.ints(1, 4, 64, 96)), perm=[0, 1, 3, 2])
    graph = emit(w.model([w.op("Relu", turned)]))
    assert [node.op_type for node in graph.graph][-2:] == ["Transpose", "Relu"]


def upsampled(x: np.ndarray) -> np.ndarray:
    """Twice the size of [channels, rows, columns], linear between the middles of pixels."""
    for axis in (1, 2):
        sides = [(0, 0)] * 3
        sides[axis] = (1, 1)
        wide = np.pad(x, sides, mode="edge")
        low, mid, high = (np.take(wide, np.arange(i, i + x.shape[axis]), axis) for i in range(3))
        pairs = np.stack([0.25 * low + 0.75 * mid, 0.75 * mid + 0.25 * high], axis=axis + 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = pairs.reshape(shape)
    return x


def test_bilinear_upsampling_in_both_formats() -> None:
    builder = GraphBuilder("bilinear", 6, 4)
    graph = builder.build({"head_0": builder.node("BilinearUpsample", [builder.input], (1, 3, 8, 12), "up")})
    pixels = np.random.default_rng(0).random((1, 3, 4, 6), dtype=np.float32)
    expected = upsampled(pixels[0].astype(np.float64))
    (found,) = run(graph, pixels)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    spec = ModelSpec(InputSpec(6, 4), (Head("ltrb", 1, {"box": "head_0", "classes": "head_0"}),), ("a",))
    data = write_tflite(graph, spec)
    assert operators(data) == ["RESIZE_BILINEAR"]
    (lite,) = TfliteRuntime(data).run(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))).values()
    np.testing.assert_allclose(lite[0].transpose(2, 0, 1), expected, atol=1e-6)


def test_halves_are_means_and_other_factors_are_refused() -> None:
    from yolo_edge.ondevice.errors import InputError

    def resized(scale: float, place: str = "half_pixel") -> onnx.ModelProto:
        w = OnnxWriter(13, np.random.default_rng(0))
        x = w.conv("picture", 3, 4)
        scales = w.array([]), w.array([1, 1, scale, scale])
        return w.model([w.op("Resize", x, *scales, mode="linear", coordinate_transformation_mode=place)])

    assert [node.op_type for node in assert_same(resized(0.5)).graph] == ["Conv", "AveragePool"]
    assert_same(resized(2))
    with pytest.raises(InputError, match="twice or half the size is supported"):
        emit(resized(4))
    with pytest.raises(InputError, match="linear with align_corners; between the middles of pixels"):
        emit(resized(2, "align_corners"))


def test_split_heads_become_convolutions_of_their_own() -> None:
    w = OnnxWriter(13, np.random.default_rng(0))
    parts = w.split(w.conv("picture", 3, 9, 3), [2, 7], 1)
    graph = assert_same(w.model(parts))
    assert [node.op_type for node in graph.graph] == ["Conv", "Conv"]
    parts = w.split(w.conv("picture", 3, 9, 3), [2, 7], 1)
    graph = assert_same(w.model([*parts[:1], w.op("Relu", parts[1])]))
    assert [node.op_type for node in graph.graph].count("Conv") == 1  # it is no head


def test_constants_before_convolutions_are_folded_where_nothing_is_padded() -> None:
    for size, left in ((1, 0), (3, 1)):
        w = OnnxWriter(13, np.random.default_rng(size))
        x = w.op("Relu", w.conv("picture", 3, 6))
        x = w.op(
            "Add", w.op("Mul", x, w.array(w.rng.normal(0, 1, (1, 6, 1, 1)))), w.array(w.rng.normal(0, 1, (1, 6, 1, 1)))
        )
        graph = assert_same(w.model([w.conv(x, 6, 4, size), w.conv(x, 6, 3, size)]))
        kinds = [node.op_type for node in graph.graph]
        assert kinds.count("Add") == left
        assert kinds.count("Mul") == left  # behind the sum that stays
