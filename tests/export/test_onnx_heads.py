"""`--head decoded|nms` and `--input uint8`, against decoders written out again, and in OpenCV DNN."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.ondevice.test_decode import FAMILIES, make_spec, random_maps, slow_decode
from tests.support import random_darknet, random_picture
from yolo_edge import Detector, InputError, ModelSpec
from yolo_edge.export import Graph, canonicalize, write_onnx
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.ondevice.decode import entries_before_classes
from yolo_edge.ondevice.spec import NmsOptions


def constant_maps(spec: ModelSpec, maps: dict[str, np.ndarray]) -> Graph:
    """A graph whose heads are given maps, whatever the picture is: 0 · picture + map."""
    builder = GraphBuilder("maps", spec.input.width, spec.input.height)
    zero = builder.constant("zero", np.float32(0))
    pooled = builder.node("GlobalAveragePool", [builder.input], (1, 3, 1, 1), "mean")
    nothing = builder.node("Mul", [pooled, zero], (1, 3, 1, 1), "nothing")
    bounds = [
        builder.constant(name, np.array([value], np.int64)) for name, value in zip("seat", (0, 1, 1, 1), strict=True)
    ]
    single = builder.node("Slice", [nothing, *bounds], (1, 1, 1, 1), "single")
    outputs = {}
    for name, array in maps.items():
        value = builder.constant(f"{name}.map", array)
        outputs[name] = builder.node("Add", [single, value], array.shape, f"{name}.add")
    return builder.build(outputs)


def run(data: bytes, spec: ModelSpec) -> np.ndarray:
    session = ort.InferenceSession(data)
    return session.run(None, {"images": np.zeros(spec.input.shape, np.float32)})[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale_xy", [1.0, 1.05, 2.0])
@pytest.mark.parametrize("classes", [1, 5])
def test_decoded_equals_the_formulas(family: str, scale_xy: float, classes: int) -> None:
    spec = make_spec(family, 2, classes, scale_xy=scale_xy)
    maps = random_maps(spec, seed=1)
    found = run(write_onnx(constant_maps(spec, maps), spec, FileOptions(head="decoded")), spec)
    cells = sum(2 * int(np.prod(spec.grid(head))) for head in spec.heads)
    assert found.shape == (1, 4 + classes, cells)
    center, size, scores = found[0, :2].T, found[0, 2:4].T, found[0, 4:].T
    ours = np.concatenate([center - size / 2, center + size / 2, scores.max(axis=1, keepdims=True)], axis=1)
    expected = np.array(slow_decode(spec, maps, -1.0))
    assert len(expected) == cells
    order = np.argsort(ours[:, 4], kind="stable")
    np.testing.assert_allclose(ours[order, 4], expected[:, 4], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ours[order, :4], expected[:, :4], rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(scores.argmax(axis=1)[order], expected[:, 5])


def test_decoded_counts_heads_anchors_rows_columns() -> None:
    spec = make_spec("yolo", 2, 1)
    maps = {name: np.full_like(array, -9) for name, array in random_maps(spec, 0).items()}
    maps["head_1"][0, 6 + 4, 2, 3] = maps["head_1"][0, 6 + 5, 2, 3] = 9  # the second anchor of row 2, column 3
    found = run(write_onnx(constant_maps(spec, maps), spec, FileOptions(head="decoded")), spec)
    first = 2 * int(np.prod(spec.grid(spec.heads[0])))
    rows, columns = spec.grid(spec.heads[1])
    assert found[0, 4].argmax() == first + rows * columns + 2 * columns + 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [NmsOptions(), NmsOptions(0.05, 0.3, 7), NmsOptions(0.999, 0.5, 20)])
def test_nms_equals_the_detector(family: str, options: NmsOptions) -> None:
    spec = make_spec(family, 3, 4)
    graph = constant_maps(spec, random_maps(spec, seed=2))
    rows = run(write_onnx(graph, spec, FileOptions(head="nms", nms=options)), spec)[0]
    assert rows.shape == (options.max_detections, 6)
    expected = Detector(write_onnx(graph, spec), **vars(options))
    boxes = expected(np.zeros((spec.input.height, spec.input.width, 3), np.uint8))
    count = len(boxes)
    assert (rows[count:] == 0).all()
    side = [spec.input.width, spec.input.height] * 2
    np.testing.assert_allclose(np.clip(rows[:count, :4], 0, side), boxes.xyxy, atol=1e-2)
    np.testing.assert_allclose(rows[:count, 4], boxes.confidence, atol=1e-5)
    np.testing.assert_array_equal(rows[:count, 5], boxes.class_id)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("head", ["raw", "decoded", "nms"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_random_networks_find_the_same_whatever_the_file(tmp_path: Path, seed: int, head: str, precision: str) -> None:
    source = load_model(random_darknet(tmp_path, seed), resize="letterbox")
    graph, picture = canonicalize(source.graph), random_picture(100, 80, seed)
    expected = Detector(write_onnx(graph, source.spec, precision))(picture)
    data = write_onnx(graph, source.spec, FileOptions(precision, head, "uint8"))
    onnx.checker.check_model(data, full_check=True)
    detector = Detector(data)
    assert (detector.runtime.input_dtype, detector.spec.input.layout) == ("uint8", "NHWC")
    found = detector(picture)
    # fp16 weights that take pixels are rounded elsewhere than those that take 0..1
    tolerance = 1e-4 if precision == "fp32" else 0.02
    assert abs(len(found) - len(expected)) <= 0.02 * len(expected)
    if len(found) == len(expected):
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=tolerance)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("mean", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (123.0, 117.0, 104.0)])
def test_pixels_replace_any_normalization(cfg: Path, color: str, mean: tuple[float, float, float]) -> None:
    source = load_model(cfg)
    image = dataclasses.replace(source.spec.input, color=color, mean=mean, scale=(0.017, 0.018, 0.019))
    spec, graph = dataclasses.replace(source.spec, input=image), canonicalize(source.graph)
    picture = random_picture(image.width, image.height)
    outputs = []
    for kind in ("float32", "uint8"):
        detector = Detector(write_onnx(graph, spec, FileOptions(input=kind)))
        outputs.append(detector.runtime.run(detector.preprocess(picture)[0]))
        assert kind == "float32" or detector.spec.input.color == "RGB"
    for name, expected in outputs[0].items():
        np.testing.assert_allclose(outputs[1][name], expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_opencv_runs_the_decoded_file(tmp_path: Path, seed: int) -> None:
    source = load_model(random_darknet(tmp_path, seed))
    data = write_onnx(canonicalize(source.graph), source.spec, FileOptions(head="decoded"))
    tensor = np.random.default_rng(0).random(source.spec.input.shape, dtype=np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(tensor)
    expected = run_on(data, tensor)
    np.testing.assert_allclose(net.forward(), expected, rtol=1e-3, atol=1e-3)


def run_on(data: bytes, tensor: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(data).run(None, {"images": tensor})[0]


def test_opencv_runs_the_decoded_file_of_a_trained_model(assets: Path) -> None:
    source = load_model(assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg")
    data = write_onnx(canonicalize(source.graph), source.spec, FileOptions(head="decoded"))
    image = cv2.imread(str(assets / "images" / "dog.jpg"))
    tensor = cv2.dnn.blobFromImage(image, 1 / 255, (320, 320), swapRB=True)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    net.setInput(tensor)
    found = net.forward()[0]
    best = found[4:].max(axis=0)
    assert source.spec.names[found[4:, best.argmax()].argmax()] == "car"
    np.testing.assert_allclose(found, run_on(data, tensor)[0], rtol=1e-3, atol=1e-2)


def test_of_equal_classes_a_box_has_the_first() -> None:
    spec = make_spec("yolo", 1, 3)
    maps = {name: np.full_like(array, -9) for name, array in random_maps(spec, 0).items()}
    maps["head_1"][0, 2:4, 1, 1] = 0
    maps["head_1"][0, 4:, 1, 1] = 20  # objectness and all classes: their sigmoids are 1 in float32
    graph = constant_maps(spec, maps)
    picture = np.zeros((spec.input.height, spec.input.width, 3), np.uint8)
    for head in ("raw", "decoded", "nms"):
        found = Detector(write_onnx(graph, spec, FileOptions(head=head)))(picture)
        assert found.class_id.tolist() == [0]


def test_the_detector_leaves_nms_in_the_file_alone() -> None:
    spec = make_spec("yolo", 3, 2)
    graph = constant_maps(spec, random_maps(spec, 2))
    picture = np.zeros((spec.input.height, spec.input.width, 3), np.uint8)
    options = NmsOptions(0.05, 0.95, 100)
    data = write_onnx(graph, spec, FileOptions(head="nms", nms=options))
    assert len(Detector(data, confidence=0.05)(picture)) == len(
        Detector(write_onnx(graph, spec), **vars(options))(picture)
    )
    assert len(Detector(data, confidence=0.05, max_detections=3)(picture)) == 3


def test_word_trees_stay_outside() -> None:
    spec = make_spec("region", 1, 4, tree=(-1, -1, 0, 0))
    maps = random_maps(spec, 0)
    assert maps["head_0"].shape[1] == entries_before_classes("region") + 4
    with pytest.raises(InputError, match="word tree are decoded outside the file only"):
        write_onnx(constant_maps(spec, maps), spec, FileOptions(head="nms"))
