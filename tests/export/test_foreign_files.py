"""What is written of other trainers' files, in both formats, against the files themselves."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export import foreign
from tests.tflite_support import operators
from yolo_edge.export.exporter import export
from yolo_edge.export.job import ExportOptions
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.runtimes.onnx import new_session

MODELS = {
    "yolov5": foreign.yolov5(),
    "yolov5-focus": foreign.yolov5(17, seed=1, activation="mish"),
    "yolov8": foreign.yolov8(),
    "yolov8-attention": foreign.yolov8(attention=True),
    "yolov8-hswish": foreign.yolov8(activation="hswish", classes=1),
    "yolov8-transposed": foreign.yolov8(learned=(2, 0)),
    "yolov8-padded": foreign.yolov8(learned=(4, 1)),
    "yolox": foreign.yolox(form="decoded"),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"{request.param}.onnx"
    onnx.save(MODELS[request.param], path)
    return path


@pytest.mark.parametrize("head", ["raw", "decoded", "nms"])
def test_every_file_is_verified(model: Path, head: str, tmp_path: Path) -> None:
    options = ExportOptions(formats=("onnx", "tflite"), precisions=("fp32", "fp16"), head=head)
    files = export(model, tmp_path / "out", options).files
    assert len(files) == 4
    for file in files:
        detector = Detector(file.path, confidence=0.3)
        image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
        assert len(detector(image)) > 0


def expected_of(model: Path, pixels: np.ndarray) -> np.ndarray:
    """The file's own output as [4 + classes, N]."""
    session = new_session(str(model))
    if model.stem == "yolox":
        pixels = np.ascontiguousarray(pixels[:, ::-1] * 255)  # BGR, 0..255
    (output,) = session.run(None, {"picture": pixels})
    if model.stem.startswith("yolov8"):
        return np.asarray(output[0])
    rows = output[0]
    return np.concatenate([rows[:, :4], rows[:, 4:5] * rows[:, 5:]], axis=1).T


def test_decoded_files_give_what_the_original_gives(model: Path, tmp_path: Path) -> None:
    options = ExportOptions(formats=("onnx", "tflite"), head="decoded")
    files = export(model, tmp_path / "out", options).files
    pixels = np.random.default_rng(1).random((1, 3, 96, 64), dtype=np.float32)
    expected = expected_of(model, pixels)
    for file in files:
        runtime = Detector(file.path).runtime
        tensor = pixels if file.format == "onnx" else pixels.transpose(0, 2, 3, 1)
        (found,) = runtime.run(np.ascontiguousarray(tensor)).values()
        ours = found[0].copy()
        if file.format == "tflite":  # fractions of the input
            ours[:4] *= np.array([[64], [96], [64], [96]], np.float32)
        assert ours.shape == expected.shape
        sides = np.abs(expected[:4]).max()
        np.testing.assert_allclose(ours[:4], expected[:4], atol=1e-4 * sides, rtol=1e-3)
        np.testing.assert_allclose(ours[4:], expected[4:], atol=1e-4)


def test_decoding_outside_gives_the_same_boxes(model: Path, tmp_path: Path) -> None:
    options = ExportOptions(formats=("onnx", "tflite"))
    image = np.random.default_rng(2).integers(0, 256, (96, 64, 3), np.uint8)
    found = [
        Detector(file.path, confidence=0.2, iou=1)(image) for file in export(model, tmp_path / "raw", options).files
    ]
    decoded = ExportOptions(head="decoded")
    (file,) = export(model, tmp_path / "decoded", decoded).files
    expected = Detector(file.path, confidence=0.2, iou=1)(image)
    assert len(expected) > 5
    for ours in found:
        assert len(ours) == len(expected)
        np.testing.assert_allclose(np.sort(ours.confidence), np.sort(expected.confidence), atol=1e-3)
        np.testing.assert_allclose(np.sort(ours.xyxy, axis=0), np.sort(expected.xyxy, axis=0), atol=0.2)


def test_bodies_hold_no_transpose(model: Path, tmp_path: Path) -> None:
    (file,) = export(model, tmp_path / "out", ExportOptions(formats=("tflite",))).files
    found = operators(Path(file.path).read_bytes())
    assert ("TRANSPOSE" in found) == ("attention" in model.stem)


def test_a_file_of_ours_can_be_exported_again(tmp_path: Path) -> None:
    onnx.save(MODELS["yolov8"], tmp_path / "a.onnx")
    (first,) = export(tmp_path / "a.onnx", tmp_path / "one").files
    (second,) = export(Path(first.path), tmp_path / "two", ExportOptions(formats=("tflite",))).files
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    a, b = Detector(first.path)(image), Detector(second.path)(image)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)
    assert Detector(second.path).spec.heads[0].family == "dfl"
