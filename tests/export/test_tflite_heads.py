"""`--head decoded|nms` and `--input uint8` of TFLite files, against decoders outside the file, and the ONNX files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.export.test_onnx_heads import constant_maps
from tests.ondevice.test_decode import FAMILIES, make_spec, random_maps, slow_decode
from tests.support import random_darknet, random_picture
from tests.tflite_support import nhwc, run_onnx, run_tflite
from yolo_edge import Detector, InputError
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.ondevice.decode import decode
from yolo_edge.ondevice.spec import NmsOptions


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("classes", [1, 5])
def test_decoded_equals_the_formulas(family: str, activation: str, classes: int) -> None:
    spec = make_spec(family, 2, classes, scale_xy=1.2, class_activation=activation)
    maps = random_maps(spec, seed=1)
    graph = constant_maps(spec, maps)
    data = write_tflite(graph, spec, FileOptions(head="decoded"))
    tensor = np.zeros((1, spec.input.height, spec.input.width, 3), np.float32)
    side = np.array([spec.input.width, spec.input.height] * 2)
    in_onnx = run_onnx(write_onnx(graph, spec, FileOptions(head="decoded")), tensor.transpose(0, 3, 1, 2))["output0"][0]
    for delegates in (True, False):
        found = run_tflite(data, tensor, delegates=delegates)["output0"][0]
        # box by box in the same order, boxes as fractions of the input
        np.testing.assert_allclose(found[:4] * side[:, None], in_onnx[:4], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found[4:], in_onnx[4:], rtol=1e-4, atol=1e-6)
        center, size = found[:2].T * side[:2], found[2:4].T * side[:2]
        ours = np.concatenate([center - size / 2, center + size / 2, found[4:].max(axis=0)[:, None]], axis=1)
        expected = np.array(slow_decode(spec, maps, -1.0))
        order = np.argsort(ours[:, 4], kind="stable")
        np.testing.assert_allclose(ours[order, 4], expected[:, 4], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [NmsOptions(), NmsOptions(0.05, 0.3, 7), NmsOptions(0.999, 0.5, 20), NmsOptions(0, 0, 50), NmsOptions(0, 1)],
)
def test_nms_equals_the_detector(family: str, options: NmsOptions) -> None:
    spec = make_spec(family, 3, 4)
    graph = constant_maps(spec, random_maps(spec, seed=2))
    data = write_tflite(graph, spec, FileOptions(head="nms", nms=options))
    picture = np.zeros((spec.input.height, spec.input.width, 3), np.uint8)
    expected = Detector(write_onnx(graph, spec), **vars(options))(picture)
    detector = Detector(data, **vars(options))
    found = detector(picture)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
    if len(np.unique(expected.confidence.round(5))) == len(expected):  # ties may stand in any order
        np.testing.assert_array_equal(found.class_id, expected.class_id)
        np.testing.assert_allclose(found.xyxy, expected.xyxy, atol=2e-2)
    for threads in (2, 3, 4, 8):
        assert len(Detector(data, **vars(options), threads=threads)(picture)) == len(expected)
    without = run_tflite(data, np.zeros((1, *picture.shape), np.float32), delegates=False)
    assert int(without["num_detections"][0]) == len(expected)
    count = len(expected)
    np.testing.assert_allclose(without["detection_scores"][0][:count], expected.confidence, atol=1e-5)


def test_what_lies_behind_the_count_is_not_read() -> None:
    spec = make_spec("yolo", 1, 2)
    data = write_tflite(constant_maps(spec, random_maps(spec, 0)), spec, FileOptions(head="nms"))
    file_spec = Detector(data).spec
    outputs = {
        "detection_boxes": np.full((1, 4, 4), 0.5, np.float32) * [0, 0.1, 1, 1.2],
        "detection_classes": np.array([[1, 0, np.nan, 1e30]], np.float32),
        "detection_scores": np.array([[0.9, 0.3, 0.8, 7]], np.float32),
        "num_detections": np.array([2], np.float32),
    }
    boxes, confidence, class_id = decode(file_spec, outputs, 0.25)
    np.testing.assert_allclose(confidence, [0.9, 0.3])
    np.testing.assert_array_equal(class_id, [1, 0])
    width, height = file_spec.input.width, file_spec.input.height
    np.testing.assert_allclose(boxes[0], [0.05 * width, 0, 0.6 * width, 0.5 * height], rtol=1e-5)
    outputs["num_detections"][0] = -1
    assert len(decode(file_spec, outputs, 0.25)[0]) == 0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("head", ["raw", "decoded", "nms"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_random_networks_find_the_same_whatever_the_file(tmp_path: Path, seed: int, head: str, precision: str) -> None:
    source = load_model(random_darknet(tmp_path, seed), resize="letterbox")
    graph, picture = canonicalize(source.graph), random_picture(100, 80, seed)
    expected = Detector(write_onnx(graph, source.spec, precision))(picture)
    for kind in ("float32", "uint8"):
        detector = Detector(write_tflite(graph, source.spec, FileOptions(precision, head, kind)))
        assert (detector.runtime.input_dtype, detector.spec.input.layout) == (kind, "NHWC")
        found = detector(picture)
        assert abs(len(found) - len(expected)) <= 0.02 * len(expected)
        if len(found) == len(expected):
            np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("mean", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (123.0, 117.0, 104.0)])
@pytest.mark.parametrize("scale", [(0.017, 0.017, 0.017), (0.017, 0.018, 0.019), (1.0, 1.0, 1.0)])
def test_pixels_replace_any_normalization(
    cfg: Path, color: str, mean: tuple[float, float, float], scale: tuple[float, float, float]
) -> None:
    source = load_model(cfg)
    image = dataclasses.replace(source.spec.input, color=color, mean=mean, scale=scale)
    spec, graph = dataclasses.replace(source.spec, input=image), canonicalize(source.graph)
    picture = random_picture(image.width, image.height)
    onnx = Detector(write_onnx(graph, spec))
    expected = onnx.runtime.run(onnx.preprocess(picture)[0])
    for kind in ("float32", "uint8"):
        detector = Detector(write_tflite(graph, spec, FileOptions(input=kind)))
        outputs = detector.runtime.run(detector.preprocess(picture)[0])
        assert detector.spec.input.color == (color if kind == "float32" else "RGB")
        for name, array in expected.items():
            np.testing.assert_allclose(outputs[name], nhwc(array), atol=2e-5 * np.abs(array).max())


def test_word_trees_stay_outside() -> None:
    spec = make_spec("region", 1, 4, tree=(-1, -1, 0, 0))
    graph = constant_maps(spec, random_maps(spec, 0))
    for head in ("decoded", "nms"):
        with pytest.raises(InputError, match="word tree are decoded outside the file only"):
            write_tflite(graph, spec, FileOptions(head=head))
    detector = Detector(write_tflite(graph, spec), confidence=0.01)
    picture = np.zeros((spec.input.height, spec.input.width, 3), np.uint8)
    expected = Detector(write_onnx(graph, spec), confidence=0.01)(picture)
    found = detector(picture)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
    np.testing.assert_array_equal(found.class_id, expected.class_id)
