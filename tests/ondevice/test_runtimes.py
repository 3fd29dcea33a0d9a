"""Every runtime finds the same in the same file, or says why it does not run it."""

import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frame.tools import assert_same_detections
from tests.int8_support import quantize
from tests.support import random_darknet, random_picture
from yolo_edge import Detector, InputError
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.ondevice.errors import MissingRuntimeError
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import NmsOptions

OTHERS = ("openvino", "opencv")
# float32 keeps 24 bits; sums of thousands of terms, in another order, keep some 14 of them: as verify has it
MAX_RELATIVE_ERROR = 1e-4
OPENCV_4 = int(cv2.__version__.split(".", maxsplit=1)[0]) < 5


def written(cfg: Path, **options: Any) -> bytes:
    source = load_model(cfg)
    return write_onnx(canonicalize(source.graph), source.spec, FileOptions(**options))


def assert_same(data: bytes, runtime: str, picture: np.ndarray, confidence: float = 0.1) -> None:
    """The same maps within rounding, and the same detections."""
    expected, found = (Detector(data, runtime=name, threads=1, confidence=confidence) for name in ("auto", runtime))
    assert (expected.runtime.name, found.runtime.name) == ("onnxruntime", runtime)
    for name in ("input_name", "input_shape", "input_dtype", "output_shapes", "output_dtypes", "metadata"):
        assert getattr(found.runtime, name) == getattr(expected.runtime, name)
    tensor, _ = expected.preprocess(picture)
    maps = found.runtime.run(tensor)
    as_it_likes = found.runtime.run(found.preprocess(picture)[0])
    for name, array in expected.runtime.run(tensor).items():
        assert maps[name].dtype == array.dtype
        np.testing.assert_array_equal(as_it_likes[name], maps[name])
        np.testing.assert_allclose(maps[name], array, rtol=0, atol=MAX_RELATIVE_ERROR * np.abs(array).max())
    assert_same_detections(*(one(picture).to_dicts(one.spec.names) for one in (found, expected)))


@pytest.mark.parametrize("runtime", OTHERS)
@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (3, {"precision": "fp32"}),
        (7, {"precision": "fp16"}),
        (35, {"precision": "fp32", "input": "uint8"}),
        (3, {"precision": "int8-weights"}),
        (7, {"precision": "fp32", "head": "decoded"}),
    ],
)
def test_random_networks(tmp_path: Path, runtime: str, seed: int, options: dict[str, str]) -> None:
    data = written(random_darknet(tmp_path, seed), **options)
    assert_same(data, runtime, random_picture(200, 150, seed), confidence=0.02)


@pytest.mark.parametrize("runtime", OTHERS)
def test_a_released_darknet_model(assets: Path, runtime: str) -> None:
    data = written(assets / "darknet/yolo-fastest/yolo-fastest-1.1.cfg")
    assert_same(data, runtime, read_image(assets / "images/dog.jpg"))


@pytest.mark.parametrize("runtime", OTHERS)
@pytest.mark.parametrize("name", ["yolov8n_dequantised_float", "yolox_nano", "FastestDet"])
def test_released_onnx_models(assets: Path, runtime: str, name: str) -> None:
    source = import_onnx(assets / f"onnx/{name}.onnx")
    data = write_onnx(canonicalize(source.graph), source.spec)
    assert_same(data, runtime, read_image(assets / "images/dog.jpg"))


def test_nms_inside(tmp_path: Path) -> None:
    data = written(random_darknet(tmp_path, 7), head="nms", nms=NmsOptions(confidence=0.02))
    assert_same(data, "openvino", random_picture(200, 150, 7))
    if OPENCV_4:
        with pytest.raises(
            InputError, match=r"^model: OpenCV 4\.\S+ does not load it \(.*\); onnxruntime and openvino"
        ):
            Detector(data, runtime="opencv")


@pytest.fixture(scope="module")
def int8_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = load_model(random_darknet(tmp_path_factory.mktemp("int8"), 3))
    tensor = np.random.default_rng(0).random(source.spec.input.shape, np.float32)
    return write_onnx(quantize(canonicalize(source.graph), [tensor]), source.spec, "int8")


def test_int8_in_openvino(int8_bytes: bytes) -> None:
    expected, found = (Detector(int8_bytes, runtime=name, threads=1) for name in ("onnxruntime", "openvino"))
    tensor = np.random.default_rng(1).random(expected.runtime.input_shape, np.float32)
    names = list(expected.runtime.output_shapes)
    # the file's own arithmetic: no operator is made of several
    file = dict(zip(names, new_session(int8_bytes, 1, optimize=False).run(names, {"images": tensor}), strict=True))
    ours, theirs = expected.runtime.run(tensor), found.runtime.run(tensor)
    for name in names:
        # kernels that round elsewhere turn single steps over: that costs either of them as much, 6 dB allow twice that
        assert decibels(theirs[name], file[name]) > min(decibels(ours[name], file[name]), 40) - 6


def decibels(found: np.ndarray, expected: np.ndarray) -> float:
    error = np.square(found - expected).sum()
    return float(10 * np.log10(np.square(expected).sum() / error)) if error else np.inf


def test_fast_in_openvino(onnx_bytes: bytes) -> None:
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    expected = "bfloat16" if "BF16" in able else "float16" if "FP16" in able else "float32"
    exact, fast = (Detector(onnx_bytes, runtime="openvino", fast=fast).runtime for fast in (False, True))
    for runtime, type_ in ((exact, "float32"), (fast, expected)):
        compiled = runtime._request.get_compiled_model()  # type: ignore[attr-defined]
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == openvino_type(type_)
    tensor = np.random.default_rng(1).random(exact.input_shape, np.float32)
    for name, array in exact.run(tensor).items():
        # 8 bits of each number: some 40 dB
        assert decibels(fast.run(tensor)[name], array) > 25


def openvino_type(name: str) -> str:
    return {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[name]


def test_int8_in_opencv_says_what_to_do(int8_bytes: bytes) -> None:
    with pytest.raises(
        InputError, match=r"^model: OpenCV computes int8 otherwise .* onnxruntime or openvino, or export"
    ):
        Detector(int8_bytes, runtime="opencv")


def depthwise_on_a_pixel() -> tuple[bytes, np.ndarray]:
    """A model that OpenCV 4 computes wrongly, and its weights [8, 1, 3, 3]."""
    weights = np.random.default_rng(0).random((8, 1, 3, 3), np.float32)
    node = helper.make_node("Conv", ["images", "w"], ["y"], group=8, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    images, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, 1, 1]) for name in ("images", "y"))
    graph = helper.make_graph([node], "g", [images], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), weights


@pytest.mark.skipif(not OPENCV_4, reason="OpenCV 5 is right")
def test_what_opencv_4_computes_wrongly_is_refused() -> None:
    data, weights = depthwise_on_a_pixel()
    ones = np.ones((1, 8, 1, 1), np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(ones)
    right = weights[:, 0, 1, 1]  # of a map of one pixel the middle alone meets anything
    assert np.abs(net.forward().reshape(-1) - right).max() > 0.1, "it is mended: the refusal can go"
    np.testing.assert_allclose(open_runtime(data, "openvino").run(ones)["y"].reshape(-1), right, rtol=1e-5)
    with pytest.raises(InputError, match="depthwise convolutions of maps of one pixel wrongly"):
        open_runtime(data, "opencv")


def test_threads(onnx_bytes: bytes) -> None:
    for threads in (1, 2):
        compiled = open_runtime(onnx_bytes, "openvino", threads)._request.get_compiled_model()  # type: ignore[attr-defined]
        assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    before = cv2.getNumThreads()
    try:
        runtimes = [open_runtime(onnx_bytes, "opencv", threads) for threads in (1, 2)]
        for runtime in (*runtimes, *runtimes):  # each its own, whatever the others set
            runtime.run(np.zeros(runtime.input_shape, np.float32))
            assert cv2.getNumThreads() == runtime.threads
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("runtime", "package"),
    [("onnxruntime", "onnxruntime"), ("openvino", "openvino"), ("opencv", "opencv-python-headless")],
)
def test_versions(onnx_bytes: bytes, runtime: str, package: str) -> None:
    version = open_runtime(onnx_bytes, runtime).version
    assert metadata.version(package).startswith(version)
    assert version.count(".") == 2


def test_the_version_of_tflite(tflite_bytes: bytes) -> None:
    assert open_runtime(tflite_bytes).version == metadata.version("ai-edge-litert")


def test_without_openvino(onnx_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingRuntimeError, match=r"^openvino is not installed; run: pip install openvino$"):
        open_runtime(onnx_bytes, "openvino")


def test_names_that_are_no_utf_8(onnx_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / b"caf\xe9.onnx".decode("utf-8", "surrogateescape")
    path.write_bytes(onnx_bytes)
    for runtime in OTHERS:
        assert Detector(path, runtime=runtime).runtime.input_name == "images"


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = "nowhere"


def drop_inputs(model: onnx.ModelProto) -> None:
    del next(node for node in model.graph.node if node.op_type == "Conv").input[1:]


def no_stride(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    next(one for one in node.attribute if one.name == "kernel_shape").ints[0] = 0


def negative_group(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Conv").attribute.append(
        helper.make_attribute("dilations", [-1, 1])
    )


def short_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] += 1


def huge_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 62


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def no_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


@pytest.mark.parametrize("runtime", OTHERS)
@pytest.mark.parametrize(
    "damage",
    [rename_input, drop_inputs, no_stride, negative_group, short_weights, huge_weights, two_inputs, no_output],
)
def test_damaged_graphs(onnx_bytes: bytes, runtime: str, damage: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load_from_string(onnx_bytes)
    damage(model)
    with pytest.raises(InputError, match=r"^model: (not an ONNX file|a detector has one input)"):
        open_runtime(model.SerializeToString(), runtime)


@pytest.mark.parametrize("runtime", OTHERS)
def test_cut_files(onnx_bytes: bytes, runtime: str) -> None:
    for length in np.linspace(1, len(onnx_bytes) - 1, 40, dtype=int):
        with pytest.raises(InputError):
            open_runtime(onnx_bytes[:length], runtime)


@pytest.mark.parametrize("runtime", OTHERS)
def test_a_tensor_of_another_shape(onnx_bytes: bytes, runtime: str) -> None:
    loaded = open_runtime(onnx_bytes, runtime)
    with pytest.raises(InputError, match=r"does not run it|gives output"):
        loaded.run(np.zeros((1, 5, 7, 9), np.float32))
