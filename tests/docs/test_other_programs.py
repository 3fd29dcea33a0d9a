"""What docs/tasks says of other programs: OpenCV, and Frigate by the rules of its source, find what we find."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.docs.pages import blocks_of
from tests.support import ROOT
from yolo_edge import Detections, Detector
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.sample import CFG, NAMES
from yolo_edge.sample.scenes import scene

TASKS = ROOT / "docs" / "tasks"
LEAST = 0.4  # below that Frigate drops a detection


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """With three codes at least."""
    return next(made.image for made in (scene(3, index) for index in range(1000, 1100)) if len(made.boxes) >= 3)


def config(number: int) -> dict:
    """What the page says about the model."""
    blocks = [block for block in blocks_of(TASKS / "frigate.md") if block.language == "yaml"]
    model: dict = yaml.safe_load("\n".join(blocks[number].lines))["model"]
    return model


def found_by(model: Path, image: np.ndarray) -> Detections:
    return Detector(model, confidence=LEAST)(image)


def assert_like(rows: list[list[float]], found: Detections, image: np.ndarray) -> None:
    """Rows of class, score, top, left, bottom, right as fractions are what was found."""
    assert len(rows) == len(found) > 0
    height, width = image.shape[:2]
    rows = sorted(rows, key=lambda row: -row[1])
    np.testing.assert_array_equal([row[0] for row in rows], found.class_id)
    np.testing.assert_allclose([row[1] for row in rows], found.confidence, atol=0.01)
    corners = np.array(rows)[:, [3, 2, 5, 4]] * [width, height, width, height]
    np.testing.assert_allclose(np.clip(corners, 0, [width, height] * 2), found.xyxy, atol=2)


def test_the_detector_onnx_reads_decoded_heads(image: np.ndarray, tmp_path: Path) -> None:
    import onnxruntime

    model = config(0)
    assert (model["model_type"], model["input_tensor"], model["input_dtype"]) == ("yolo-generic", "nchw", "float")
    source = load_model(CFG)
    path = tmp_path / Path(model["path"].replace("model-", "codes-")).name
    path.write_bytes(write_onnx(canonicalize(source.graph), source.spec, FileOptions(head="decoded")))

    size = (model["width"], model["height"])
    pixels = cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_BGR2RGB)[None]
    tensor = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: tensor})
    assert len(outputs) == 1  # several are read as YOLOv7's, with anchors of COCO
    rows = outputs[0].squeeze().T
    rows = rows[rows[:, 4:].max(1) > LEAST]
    center, sides, scores = rows[:, :2], rows[:, 2:4], rows[:, 4:]
    boxes = np.hstack([center - sides / 2, sides])
    kept = np.array(cv2.dnn.NMSBoxes(boxes, scores.max(1), LEAST, 0.4), int).reshape(-1)
    x, y, w, h = (boxes[kept] / [*size, *size]).T
    read = np.column_stack([scores[kept].argmax(1), scores[kept].max(1), y, x, y + h, x + w])
    assert_like(read.tolist(), found_by(path, image), image)


def test_the_detector_cpu_reads_the_four_outputs(image: np.ndarray, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = config(1)
    source = load_model(CFG)
    path = tmp_path / "codes.tflite"
    path.write_bytes(write_tflite(canonicalize(source.graph), source.spec, FileOptions(head="nms", input="uint8")))

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    assert (list(entry["shape"]), entry["dtype"]) == ([1, model["height"], model["width"], 3], np.uint8)
    size = (model["width"], model["height"])
    interpreter.set_tensor(entry["index"], cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_BGR2RGB)[None])
    interpreter.invoke()
    boxes, classes, scores, count = (
        interpreter.get_tensor(item["index"])[0] for item in interpreter.get_output_details()
    )
    read = [[classes[i], scores[i], *boxes[i]] for i in range(int(count)) if scores[i] >= LEAST]
    assert_like(read, found_by(path, image), image)


def test_names_are_a_label_map() -> None:
    lines = NAMES.read_text().splitlines()
    # with a number in front of the first, all lines are read as number and name
    assert not lines[0].split(" ")[0].isdigit()


def test_opencv_finds_the_same(image: np.ndarray, tmp_path: Path) -> None:
    source, model = load_model(CFG), tmp_path / "out" / "model-320-fp32-decoded.onnx"
    model.parent.mkdir()
    model.write_bytes(write_onnx(canonicalize(source.graph), source.spec, FileOptions(head="decoded")))
    names = ["QR code", "ArUco marker", "bar code"]  # like COCO's, some have spaces
    (tmp_path / "model.names").write_text("\n".join(names) + "\n")
    cv2.imwrite(str(tmp_path / "photo.jpg"), image)
    (block,) = [block for block in blocks_of(TASKS / "opencv.md") if block.is_python]
    script = [sys.executable, "-c", "\n".join(block.lines)]
    printed = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = [line.rsplit(maxsplit=5) for line in printed.splitlines()]
    found = Detector(model)(cv2.imread(str(tmp_path / "photo.jpg")))
    assert [row[0] for row in rows] == [names[i] for i in found.class_id]
    assert rows
    np.testing.assert_allclose([float(row[1]) for row in rows], found.confidence, atol=0.01)
    np.testing.assert_allclose(np.array([row[2:] for row in rows], float), found.xyxy, atol=2)
