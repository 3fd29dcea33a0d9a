"""int8 ONNX files in the forms that onnxruntime is fast with: channels filled up, blocks, sums for LeakyRelus."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from tests.export.quantization.support import depthwise_darknet, residual_darknet
from tests.int8_support import optimized_types, qdq_bytes, quantize
from tests.support import random_darknet
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, onnx_writer, write_onnx
from yolo_edge.export.canonical import check_canonical
from yolo_edge.export.channels import CHANNELS_KEY, Layout, channels_from_json, channels_to_json
from yolo_edge.export.fusion import count_fused
from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_align import align_channels
from yolo_edge.export.onnx_blocks import gather_blocks
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.onnx_leaky import sum_leaky_relus
from yolo_edge.export.options import FileOptions
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.structure import Structure
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import ModelSpec


def small(seed: int, folder: Path) -> tuple[Graph, ModelSpec]:
    make = (random_darknet, depthwise_darknet, residual_darknet)[seed % 3]
    source = load_model(make(folder, seed))
    return canonicalize(source.graph), source.spec


def quantized(graph: Graph, seed: int, floats: int = 0) -> QuantizedGraph:
    """With so many nodes, by chance, in float."""
    rng = np.random.default_rng(seed)
    shape = tuple(graph.graph.inputs[0].shape)  # type: ignore[arg-type]
    names = [str(node.name) for node in expand_activations(graph).graph]
    picked = dict.fromkeys(rng.choice(names, min(floats, len(names)), replace=False), "by chance")
    return quantize(graph, [rng.random(shape, np.float32) for _ in range(2)], floats=picked)


def aligned(network: QuantizedGraph) -> bytes:
    """As `write_onnx` does it."""
    model = quantize_onnx(network)
    gather_blocks(model)
    align_channels(model)
    onnx_writer.common.InlinePass()(model)
    data: bytes = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def summed(network: QuantizedGraph) -> bytes:
    """With its LeakyRelus as sums."""
    model = quantize_onnx(network)
    sum_leaky_relus(model)
    onnx_writer.common.InlinePass()(model)
    data: bytes = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def run(data: bytes, seed: int, optimize: bool = True) -> list[np.ndarray]:
    session = new_session(data, optimize=optimize)
    (given_input,) = session.get_inputs()
    tensor = np.random.default_rng(seed).random(given_input.shape, np.float32)
    found: list[np.ndarray] = session.run(None, {given_input.name: tensor})
    return found


def convolutions(data: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Name, channels read, channels made, and groups of those with int8 weights."""
    graph = onnx.load_model_from_string(data).graph
    arrays = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        weights = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is not None and weights.op_type == "DequantizeLinear":
            shape = numpy_helper.to_array(arrays[weights.input[0]]).shape
            groups = next((item.i for item in node.attribute if item.name == "group"), 1)
            yield node.name, shape[1] * groups, shape[0], groups


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), floats=st.sampled_from([0, 0, 1, 3]))
def test_no_number_changes(tmp_path: Path, seed: int, floats: int) -> None:
    graph, _ = small(seed, tmp_path)
    try:
        network = quantized(graph, seed, floats)
    except InputError:  # a channel that is almost always 0: its bias has no room in 32 bits
        reject()
    before, after = qdq_bytes(network), aligned(network)
    pairs = zip(run(before, seed), run(after, seed), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs), (seed, floats)
    # computed in float, sums of other lengths are other sums, and what is rounded may fall to the other side
    pairs = zip(run(before, seed, optimize=False), run(after, seed, optimize=False), strict=True)
    assert all(np.abs(a - b).max() <= 0.1 * np.abs(a).max() + 1e-6 for a, b in pairs), (seed, floats)


@pytest.mark.parametrize("options", [{"input": "uint8"}, {"input": "int8", "output_type": "int8"}, {"head": "decoded"}])
def test_no_number_changes_whatever_the_file(
    tmp_path: Path, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_model(residual_darknet(tmp_path))
    network = quantized(canonicalize(source.graph), 0)
    files = [write_onnx(network, source.spec, FileOptions("int8", **options))]  # type: ignore[arg-type]
    monkeypatch.setattr(onnx_writer, "align_channels", lambda model: {})
    files.append(write_onnx(network, source.spec, FileOptions("int8", **options)))  # type: ignore[arg-type]
    results = []
    for file in files:
        session = new_session(file)
        image = session.get_inputs()[0]
        kind = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}.get(image.type, np.float32)
        numbers = np.random.default_rng(0).integers(0, 100, image.shape)
        results.append(session.run(None, {image.name: numbers.astype(kind)}))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("make", [depthwise_darknet, residual_darknet])
def test_convolutions_fit_the_kernels(tmp_path: Path, make: object) -> None:
    source = load_model(make(tmp_path))  # type: ignore[operator]
    network = quantized(canonicalize(source.graph), 0)
    heads = {str(node.name) for node in network.graph.graph if node.outputs[0].is_graph_output()}
    before, after = (list(convolutions(data)) for data in (qdq_bytes(network), aligned(network)))
    assert any(_misses(*counts) for _, *counts in before)
    for name, *counts in after:
        assert name in heads or not _misses(*counts), (name, counts)


def _misses(read: int, made: int, groups: int) -> bool:
    return made % 16 != 0 if groups > 1 else read % 4 != 0 or made % 8 != 0 or made < 16


def test_what_runs_together_stays_so(tmp_path: Path) -> None:
    source = load_model(depthwise_darknet(tmp_path))
    network = quantized(canonicalize(source.graph), 0)
    assert count_fused(aligned(network)) == count_fused(qdq_bytes(network))


@pytest.mark.parametrize("seed", range(4))
def test_leaky_relus_are_sums(tmp_path: Path, seed: int) -> None:
    """Within one step of each result, seen at the layer itself: rounding of ties may differ."""
    source = load_model(depthwise_darknet(tmp_path, seed))
    network = quantized(canonicalize(source.graph), seed)
    before, after = qdq_bytes(network), summed(network)
    kinds = set(optimized_types(after, tmp_path))
    assert "QLinearLeakyRelu" in optimized_types(before, tmp_path)
    assert {"Clip", "QLinearAdd"} <= kinds
    assert not {"QLinearLeakyRelu", "LeakyRelu", "Add"} & kinds
    assert count_fused(after) == count_fused(before)
    first = next(node for node in network.graph.graph if node.op_type == "LeakyRelu")
    results = []
    for data in (before, after):
        model = onnx.load_model_from_string(data)
        name = f"{first.outputs[0].name}.q"
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None))
        *heads, layer = run(model.SerializeToString(), seed)
        results.append((heads, layer.astype(int)))
    assert np.abs(results[0][1] - results[1][1]).max() <= 1
    assert np.mean(results[0][1] != results[1][1]) < 0.001
    for a, b in zip(results[0][0], results[1][0], strict=True):
        assert snr_db(a, b) > 25


def test_a_sum_in_float_is_not_fused(tmp_path: Path) -> None:
    """onnxruntime leaves the integers where the sum of a LeakyRelu is not rounded again."""
    source = load_model(depthwise_darknet(tmp_path))
    model = onnx.load_model_from_string(summed(quantized(canonicalize(source.graph), 0)))
    total, found = count_fused(model.SerializeToString())
    assert found == total
    add = next(node for node in model.graph.node if node.op_type == "Add")
    pair = [node for node in model.graph.node if node.input and node.input[0] in (add.output[0], f"{add.output[0]}.q")]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == pair[1].output[0]:
                node.input[place] = add.output[0]
    for node in pair:
        model.graph.node.remove(node)
    assert count_fused(model.SerializeToString())[1] < total


def large_first(size: int = 6, pad: int = 2, channels: int = 255, side: int = 96) -> Graph:
    """YOLOv5's first layers, and a head of COCO's 80 classes."""
    rng = np.random.default_rng(1)
    builder = GraphBuilder("large", side, side)
    x, width = builder.input, 3
    places = (side + 2 * pad - size) // 2 + 1
    for name, out, kernel, stride, sides in (
        ("stem", 12, size, 2, pad),
        ("mid", 20, 3, 1, 1),
        ("head", channels, 1, 1, 0),
    ):
        scale = (2 / width) ** 0.5 / kernel
        weight = builder.constant(f"{name}.w", rng.normal(0, scale, (out, width, kernel, kernel)).astype(np.float32))
        bias = builder.constant(f"{name}.b", rng.normal(0, 0.1, out).astype(np.float32))
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [sides] * 4}
        shape = (1, out, places, places)
        x = builder.node("Conv", [x, weight, bias], shape, name, attributes)
        if name != "head":
            x = builder.node("LeakyRelu", [x], shape, f"{name}.leaky", {"alpha": 0.1})
        width = out
    graph = builder.build({"head": x})
    check_canonical(graph)
    return graph


def test_a_large_first_convolution_reads_blocks() -> None:
    network = quantized(large_first(), 0)
    before, after = qdq_bytes(network), aligned(network)
    assert [counts for _, *counts in convolutions(after)] == [[4, 16, 1], [16, 16, 1], [16, 24, 1], [24, 256, 1]]
    for seed in range(3):
        assert np.array_equal(run(before, seed)[0], run(after, seed)[0])
    model = onnx.load_model_from_string(after)
    used = {name for node in model.graph.node for name in node.input} | {"head"}
    assert all(used & set(node.output) for node in model.graph.node)
    # blocks are no convolution of the network's
    assert count_fused(after) == count_fused(before) == (3, 3)


@pytest.mark.parametrize("changes", [{"size": 5, "pad": 2}, {"size": 6, "pad": 1}, {"size": 3, "pad": 1}])
def test_others_read_pixels(changes: dict[str, int]) -> None:
    network = quantized(large_first(**changes), 0)
    before, after = qdq_bytes(network), aligned(network)
    assert len(list(convolutions(after))) == 3
    assert np.array_equal(run(before, 0)[0], run(after, 0)[0])


def test_small_heads_keep_their_channels() -> None:
    """Cutting them off their zeros would cost what is gained."""
    data = aligned(quantized(large_first(side=32), 0))
    assert [made for name, _, made, _ in convolutions(data) if name == "head"] == [255]


def test_a_graph_without_integers_is_left_alone(tmp_path: Path) -> None:
    source = load_model(depthwise_darknet(tmp_path))
    model = canonicalize(source.graph)
    before = ir.to_proto(model).SerializeToString()
    gather_blocks(model)
    assert align_channels(model) == {}
    assert ir.to_proto(model).SerializeToString() == before


def test_the_file_says_where_its_channels_are(tmp_path: Path) -> None:
    source = load_model(depthwise_darknet(tmp_path))
    network = quantized(canonicalize(source.graph), 0)
    model = onnx.load_model_from_string(write_onnx(network, source.spec, "int8"))
    layouts = channels_from_json(next(item.value for item in model.metadata_props if item.key == CHANNELS_KEY))
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    assert {name: layout.padded for name, layout in layouts.items()} == {name: shapes[name][1] for name in layouts}
    structure = Structure.of(network.graph)
    real = {f"{value.name}.q": value.shape for node in network.graph.graph for value in node.outputs}
    assert structure.int8_convolutions()
    for name, layout in layouts.items():
        if name in real:
            assert len(layout.places) == real[name][1]
    assert any(len(layout.blocks) > 1 for layout in layouts.values())  # a Concat of two


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair))), min_size=1))
def test_layouts_are_read_back(blocks: list[tuple[int, int]]) -> None:
    layout = Layout(tuple(blocks))
    assert channels_from_json(channels_to_json({"a": layout, "b": layout})) == {"a": layout, "b": layout}
    array = np.arange(1, 1 + sum(real for real, _ in blocks))
    spread = layout.spread(array, 0, 0)
    assert len(spread) == layout.padded
    assert np.array_equal(spread[layout.places], array)
    assert spread.sum() == array.sum()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"3": ["a"]}', '{"4/3": ["a"]}', '{"3/4": "a"}', '{"-1/4": ["a"]}', '{"1/9999999999": ["a"]}'],
)
def test_other_layouts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        channels_from_json(text)


@pytest.mark.parametrize("seed", range(6))
def test_floats_stay_floats(tmp_path: Path, seed: int) -> None:
    """onnxruntime rounds the weights of float convolutions between integers, where it is not kept from it."""
    source = load_model((depthwise_darknet, residual_darknet)[seed % 2](tmp_path, seed))
    network = quantized(canonicalize(source.graph), seed, floats=4)
    expected = len(network.structure.int8_convolutions())
    for data in (qdq_bytes(network), aligned(network), summed(network)):
        types = optimized_types(data, tmp_path)
        assert types.count("QLinearConv") == expected
        plain, fast = (run(data, seed, optimize) for optimize in (False, True))
        assert all(snr_db(a, b) > 25 for a, b in zip(plain, fast, strict=True))
