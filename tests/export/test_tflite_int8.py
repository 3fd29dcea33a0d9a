"""int8 TFLite: each operator and whole detectors against the same plan in onnxruntime."""

import struct
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.damage import count_refused
from tests.export import foreign
from tests.int8_operations import KINDS, random_operation
from tests.int8_support import quantize, run_qdq
from tests.support import random_darknet, random_picture
from tests.tflite_support import convolve, nhwc, operators, random_windows, read_model, run_tflite
from yolo_edge import Detector, InputError
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, write_tflite
from yolo_edge.export.fusion import count_fused
from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.plan import HeadPlan, TensorPlan
from yolo_edge.export.quantization.structure import _INT8
from yolo_edge.export.source import SourceModel
from yolo_edge.export.tflite import table
from yolo_edge.export.tflite.delegation import Delegation
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.quantized import to_floats
from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

# XNNPACK does not run these: strides beyond the window, windows of one cell, clips that nothing has a name for
LEFT_OUT = {"AVERAGE_POOL_2D", "MAXIMUM", "MAX_POOL_2D", "MINIMUM"}

# detector → the least SNR against ONNX with the kernels of XNNPACK and with the builtin ones, in dB; XNNPACK rounds
# LEAKY_RELU otherwise, the builtin kernels MUL and ADD
REAL = {
    "darknet/yolo-fastest/yolo-fastest-1.1.cfg": (18, 16),
    "darknet/mobilenet-yolo/MobileNetV2-YOLOv3-Nano-coco.cfg": (30, 24),
    "darknet/yoloface/yoloface-500k-v2.cfg": (30, 22),
    "onnx/yolov5n.onnx": (25, 25),
    "onnx/yolox_nano.onnx": (12, 12),
}


@pytest.mark.parametrize("kind", KINDS)
def test_operators_differ_by_one_step_at_most(kind: str) -> None:
    for seed in range(12):
        operation = random_operation(kind, seed)
        expected = operation.expected()
        data = write_tflite(operation.quantized, operation.spec, "int8")
        assert write_tflite(operation.quantized, operation.spec, "int8") == data
        for delegates in (True, False):
            found = run_tflite(data, nhwc(operation.integers), delegates=delegates)["head_0"]
            assert (found.dtype, found.shape) == (np.int8, expected.shape), operation.label
            assert np.abs(found - expected).max() <= 1, f"{operation.label}, delegates {delegates}"
        delegation = Delegation.of(data)
        assert set(delegation.left_out) <= LEFT_OUT, operation.label
        assert delegation.partitions <= 1 + sum(delegation.left_out.values()), operation.label


def test_the_table_covers_what_plans_may_say() -> None:
    assert {name for name, row in table.LOWERINGS.items() if row.int8 is not None} == set(_INT8)


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    source = load_model(random_darknet(tmp_path, seed))
    graph = canonicalize(source.graph)
    quantized, picture = quantized_by_noise(graph, source.spec), random_picture(70, 50, seed)
    tensor = Preprocessor(source.spec.input)(picture)[0].copy()
    expected = run_qdq(quantized, tensor)
    data = write_tflite(quantized, source.spec, "int8")
    detector = Detector(data)
    assert Delegation.of(data).partitions == 1
    for delegates in (True, False):
        found = to_floats(detector.spec, run_tflite(data, detector.preprocess(picture)[0], delegates=delegates))
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert snr_db(nhwc(array), found[name]) >= 15, name


@pytest.mark.parametrize(
    "model",
    [
        *(foreign.yolov8(activation=name) for name in ("silu", "hswish", "hardsigmoid", "leaky", "mish", "relu")),
        foreign.yolov8(attention=True),
        foreign.yolov8(learned=(2, 0)),
        foreign.yolov8(learned=(4, 1)),
        foreign.yolov5(),
        foreign.yolox(),
    ],
)
def test_networks_of_other_trainers(tmp_path: Path, model: onnx.ModelProto) -> None:
    onnx.save(model, tmp_path / "foreign.onnx")
    source = load_model(tmp_path / "foreign.onnx")
    graph = canonicalize(source.graph)
    quantized, picture = quantized_by_noise(graph, source.spec), random_picture(90, 60, 1)
    expected = run_qdq(quantized, Preprocessor(source.spec.input)(picture)[0])
    data = write_tflite(quantized, source.spec, "int8")
    detector = Detector(data, confidence=0.0)
    delegation = Delegation.of(data)
    assert (delegation.partitions, sum(delegation.left_out.values())) == (1, 0)
    for delegates in (True, False):
        found = to_floats(detector.spec, run_tflite(data, detector.preprocess(picture)[0], delegates=delegates))
        for name, array in expected.items():
            assert snr_db(nhwc(array), found[name]) >= 12, (name, delegates)
    decoded = write_tflite(quantized, source.spec, FileOptions("int8", "decoded"))
    assert len(Detector(decoded, confidence=0.0)(picture)) == len(detector(picture)) > 0


def quantized_by_noise(graph: Graph, spec: ModelSpec, **options: object) -> QuantizedGraph:
    shape = (1, 3, spec.input.height, spec.input.width)
    rng, preprocessor = np.random.default_rng(0), Preprocessor(spec.input)
    tensors = [preprocessor(random_picture(90, 60, seed))[0].copy() for seed in range(3)]
    tensors.append(rng.random(shape, dtype=np.float32))
    return quantize(graph, tensors, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def source(cfg: Path) -> SourceModel:
    return load_model(cfg, names=None)


@pytest.fixture(scope="module")
def quantized(source: SourceModel) -> QuantizedGraph:
    return quantized_by_noise(canonicalize(source.graph), source.spec)


@pytest.mark.parametrize(
    ("head", "output"), [("raw", "float32"), ("raw", "int8"), ("decoded", "float32"), ("nms", "float32")]
)
@pytest.mark.parametrize("kind", ["float32", "uint8", "int8"])
def test_every_end_gives_the_same(
    source: SourceModel, quantized: QuantizedGraph, head: str, kind: str, output: str
) -> None:
    options = FileOptions("int8", head, kind, output_type=output)
    data = write_tflite(quantized, source.spec, options)
    expected = Detector(write_tflite(quantized, source.spec, "int8"), confidence=0.3)
    detector = Detector(data, confidence=0.3)
    assert detector.spec.input.dtype == detector.runtime.input_dtype == kind
    assert set(detector.runtime.output_dtypes.values()) == {output}
    assert detector.spec.precision == "int8"
    assert (Delegation.of(data).partitions == 1) or head == "nms"
    for seed in range(3):
        picture = random_picture(70, 50, seed)
        found, wanted = detector(picture), expected(picture)
        assert len(found) == len(wanted) > 0
        np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-5)
        np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=0.01)


def test_defaults(source: SourceModel, quantized: QuantizedGraph) -> None:
    data = write_tflite(quantized, source.spec, "int8")
    assert data == write_tflite(quantized, source.spec, FileOptions("int8", input="int8", output_type="int8"))
    assert FileOptions("int8", "nms").resolved("tflite").output_type == "float32"
    assert FileOptions("int8").resolved("onnx") == FileOptions("int8", input="float32", output_type="float32")
    assert FileOptions("fp16").resolved("tflite") == FileOptions("fp16", input="float32", output_type="float32")
    for options, message in (
        (FileOptions("fp32", input="int8"), "int8 inputs and outputs are for precision int8, not fp32"),
        (FileOptions("fp16", output_type="int8"), "int8 inputs and outputs are for precision int8, not fp16"),
        (FileOptions("int8", "nms", output_type="int8"), "head 'nms' is decoded, in float32"),
    ):
        with pytest.raises(InputError, match=message):
            write_tflite(quantized, source.spec, options)
    with pytest.raises(ValueError, match="precision int8 without a plan"):
        write_tflite(canonicalize(source.graph), source.spec, "int8")
    with pytest.raises(ValueError, match="precision fp32 with a plan"):
        write_tflite(quantized, source.spec)


def test_what_litert_reads(source: SourceModel, quantized: QuantizedGraph) -> None:
    """Types, scales and zero-points are the plan's; each output channel of weights has its own scale."""
    model = read_model(write_tflite(quantized, source.spec, "int8"))
    graph = model.subgraphs[0]
    tensors = {tensor.name.decode(): tensor for tensor in graph.tensors}
    for name, plan in quantized.plan.tensors.items():
        # what nodes in float32 give is quantized behind them
        found = tensors.get(f"{name}.int8", tensors[name]).quantization
        assert found.scale.tolist() == [np.float32(plan.scale)], name
        assert found.zeroPoint.tolist() == [plan.zero_point], name
    codes = [(code.builtinCode, code.version) for code in model.operatorCodes]
    for operator in graph.operators:
        code, version = codes[operator.opcodeIndex]
        if code not in (3, 4):  # CONV_2D, DEPTHWISE_CONV_2D
            continue
        weight, bias = (graph.tensors[i] for i in operator.inputs[1:])
        axis = {3: 0, 4: 3}[code]
        assert version == 3
        assert weight.quantization.quantizedDimension == axis
        assert len(weight.quantization.scale) == weight.shape[axis] == bias.shape[0]
        assert not weight.quantization.zeroPoint.any()
        scale = graph.tensors[operator.inputs[0]].quantization.scale[0]
        np.testing.assert_allclose(bias.quantization.scale, scale * weight.quantization.scale, rtol=1e-6)


def test_damaged_files_end_in_an_error_or_run(source: SourceModel, quantized: QuantizedGraph) -> None:
    whole = write_tflite(quantized, source.spec, "int8")
    assert count_refused(whole, min(20_000, len(whole) // 2)) > 30


@pytest.mark.parametrize(
    ("scale", "message"), [(1e-35, "scale 1e-35"), (1e38, r"scale 1e\+38"), (-1, "scale -1"), (np.nan, "scale nan")]
)
def test_scales_that_end_the_process(
    source: SourceModel, quantized: QuantizedGraph, scale: float, message: str
) -> None:
    data = write_tflite(quantized, source.spec, "int8")
    own = struct.pack("<f", quantized.plan.tensors["images"].scale)
    with pytest.raises(InputError, match=rf"a damaged TFLite file \(tensor 0 has the {message}"):
        TfliteRuntime(data.replace(own, struct.pack("<f", scale)))


def small_network(*behind: str) -> tuple[Graph, ModelSpec]:
    """Convolutions with other nodes between them."""
    builder, rng = GraphBuilder("small", 16, 12), np.random.default_rng(0)
    x = convolve(builder, builder.input, rng, 8, 3, "first")
    for i, op in enumerate(behind):
        x = builder.node(op, [x], x.shape, f"behind_{i}")
    x = convolve(builder, x, rng, 6, 8, "last")
    spec = ModelSpec(InputSpec(16, 12), (Head("yolo", 1, {"map": "head_0"}, ((4, 4),)),), ("a",))
    return builder.build({"head_0": x}), spec


def test_nodes_in_float_between_integers() -> None:
    graph, spec = small_network("Mish", "Sigmoid")
    quantized = quantized_by_noise(graph, spec)
    data = write_tflite(quantized, spec, "int8")
    found = operators(data)
    assert found[:2] == ["CONV_2D", "DEQUANTIZE"]
    assert found[-3:] == ["QUANTIZE", "LOGISTIC", "CONV_2D"]
    assert Delegation.of(data).partitions == 1
    # the activation of the first is not done in integers
    assert count_fused(data) == (2, 1)
    compare(quantized, spec, data)


@pytest.mark.parametrize("name", ["first", "last", "both"])
def test_convolutions_in_float(name: str) -> None:
    graph, spec = small_network("Relu")
    nodes = [name] if name != "both" else ["first", "last"]
    quantized = quantized_by_noise(graph, spec, floats=dict.fromkeys(nodes, "by hand"))
    data = write_tflite(quantized, spec, "int8")
    compare(quantized, spec, data)
    output = Detector(data).runtime.output_dtypes["head_0"]
    assert output == ("int8" if name == "first" else "float32")
    assert Detector(data).spec.input.quantization is not None
    if name != "both":
        assert count_fused(data)[1] == 1


def compare(quantized: QuantizedGraph, spec: ModelSpec, data: bytes, least: float = 30) -> None:
    picture, detector = random_picture(16, 12), Detector(data)
    expected = run_qdq(quantized, Preprocessor(spec.input)(picture)[0])
    for delegates in (True, False):
        found = to_floats(detector.spec, run_tflite(data, detector.preprocess(picture)[0], delegates=delegates))
        for name, array in expected.items():
            assert snr_db(nhwc(array), found[name]) >= least


@pytest.mark.parametrize("floats", [{}, {"last": "by hand"}])
def test_channels_with_ranges_of_their_own(floats: dict[str, str]) -> None:
    graph, spec = small_network("Relu")
    rng = np.random.default_rng(3)
    head = HeadPlan(tuple(rng.uniform(0.5, 20, 6).tolist()), tuple(rng.normal(0, 9, 6).tolist()))
    quantized = quantized_by_noise(graph, spec, heads={"head_0": head}, floats=floats)
    picture = random_picture(16, 12)
    expected = run_qdq(quantized, Preprocessor(spec.input)(picture)[0])["head_0"]
    files = [write_tflite(quantized, spec, FileOptions("int8", output_type=output)) for output in ("int8", "float32")]
    for data in files:
        detector = Detector(data, confidence=0.0)
        found = to_floats(detector.spec, detector.runtime.run(detector.preprocess(picture)[0]))
        assert snr_db(nhwc(expected), found["head_0"]) >= 60
    assert ("int8" in Detector(files[0]).runtime.output_dtypes.values()) == (not floats)
    # boxes of the one are those of the other
    boxes = [Detector(data, confidence=0.1)(picture) for data in files]
    assert len(boxes[0]) == len(boxes[1]) > 0
    np.testing.assert_allclose(boxes[0].xyxy, boxes[1].xyxy, atol=1e-2)


@pytest.mark.parametrize("kind", ["float32", "uint8", "int8"])
@pytest.mark.parametrize(
    "image",
    [
        InputSpec(16, 12),
        InputSpec(16, 12, color="BGR"),
        InputSpec(16, 12, scale=(1.0,) * 3, color="BGR"),
        InputSpec(16, 12, mean=(103.5, 116.3, 123.7), scale=(0.017, 0.018, 0.019), color="BGR"),
        InputSpec(16, 12, mean=(127.0,) * 3, scale=(1 / 128,) * 3),
        InputSpec(16, 12, mean=(127.5,) * 3, scale=(1 / 127.5,) * 3),
    ],
)
def test_inputs(image: InputSpec, kind: str) -> None:
    graph, spec = small_network("Relu")
    spec = ModelSpec(image, spec.heads, spec.names)
    quantized = quantized_by_noise(graph, spec)
    data = write_tflite(quantized, spec, FileOptions("int8", input=kind))
    compare(quantized, spec, data, 35)
    assert Delegation.of(data).partitions == 1


def test_clips_that_nothing_does_along() -> None:
    builder, rng = GraphBuilder("clips", 16, 12), np.random.default_rng(0)
    x = convolve(builder, builder.input, rng, 6, 3, "first")
    bounds = [builder.constant(name, np.array(value, np.float32)) for name, value in (("low", -0.25), ("high", 0.75))]
    x = builder.node("Clip", [x, *bounds], x.shape, "clipped")
    graph = builder.build({"head_0": x})
    spec = ModelSpec(InputSpec(16, 12), (Head("yolo", 1, {"map": "head_0"}, ((4, 4),)),), ("a",))
    within = quantized_by_noise(graph, spec)
    beyond = quantized_by_noise(graph, spec, plans={"head_0": TensorPlan.of_range(-1, 2)})
    assert operators(write_tflite(within, spec, "int8")) == ["CONV_2D"]
    assert operators(write_tflite(beyond, spec, "int8")) == ["CONV_2D", "MAXIMUM", "MINIMUM"]
    for quantized in (within, beyond):
        compare(quantized, spec, write_tflite(quantized, spec, "int8"), 60)


def test_shared_weights_are_stored_once() -> None:
    builder, rng = GraphBuilder("shared", 8, 8), np.random.default_rng(0)
    weight = builder.constant("w", rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32))
    bias = builder.constant("b", np.zeros(64, np.float32))
    x: ir.Value = convolve(builder, builder.input, rng, 64, 3, "first")
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    for i in range(3):
        x = builder.node("Conv", [x, weight, bias], (1, 64, 8, 8), f"conv_{i}", attributes)
    spec = ModelSpec(InputSpec(8, 8), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
    data = write_tflite(quantized_by_noise(builder.build({"head_0": x}), spec), spec, "int8")
    assert 64 * 64 * 9 < len(data) < 2 * 64 * 64 * 9


def test_windows_in_one_partition() -> None:
    """Pools that pad otherwise than SAME: where zero is the lowest integer, and where it is not."""
    for seed in range(60):
        graph, label = random_windows(seed)
        if "Pool" not in label:
            continue
        _, _, height, width = graph.graph.inputs[0].shape
        spec = ModelSpec(InputSpec(width, height), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
        data = write_tflite(quantized_by_noise(graph, spec), spec, "int8")
        assert not set(operators(data)) & {"PADV2"}, label


@pytest.mark.parametrize("name", REAL)
def test_real_detectors(assets: Path, name: str) -> None:
    source = load_model(assets / name)
    graph, preprocessor = canonicalize(source.graph), Preprocessor(source.spec.input)
    pictures = [read_image(path) for path in sorted((assets / "coco128/images/train2017").glob("*.jpg"))[:6]]
    quantized = quantize(graph, [preprocessor(picture)[0].copy() for picture in pictures])
    picture = read_image(assets / "images" / "dog.jpg")
    expected = run_qdq(quantized, preprocessor(picture)[0])
    data = write_tflite(quantized, source.spec, "int8")
    detector = Detector(data)
    delegation = Delegation.of(data)
    assert (delegation.partitions, sum(delegation.left_out.values())) == (1, 0)
    convolutions, fused = count_fused(data)
    assert convolutions == fused == sum(node.op_type == "Conv" for node in graph.graph)
    for delegates, least in zip((True, False), REAL[name], strict=True):
        found = to_floats(detector.spec, run_tflite(data, detector.preprocess(picture)[0], delegates=delegates))
        for key, array in expected.items():
            assert snr_db(nhwc(array), found[key]) >= least, (key, delegates)
    if "yoloface" not in name and "yolox" not in name:  # without any accuracy pass
        seen = {item["class"] for item in detector(picture).to_dicts(detector.spec.names)}
        assert seen >= {"dog", "bicycle", "car"}
