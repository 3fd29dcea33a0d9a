import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.int8_support import quantize
from tests.support import ROOT, random_darknet, random_picture
from yolo_edge import Detector
from yolo_edge.export import canonicalize
from yolo_edge.export.job import FORMATS, WRITERS
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.export.tflite import write_tflite
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.spec import NmsOptions

EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("example", sorted(EXAMPLES))
def test_they_are_short_and_need_no_yolo_edge(example: str) -> None:
    text = EXAMPLES[example].read_text()
    assert len(text.splitlines()) < 80
    words = [line.split() for line in text.splitlines() if line.strip().startswith(("import ", "from "))]
    imports = {line[1].split(".")[0] for line in words}
    runtimes = {"onnxruntime"} if example.startswith("onnx") else {"ai_edge_litert", "tflite_runtime", "zipfile"}
    assert imports <= {"cv2", "json", "numpy", "sys"} | runtimes


def compare(model: Path, picture: Path, example: Path) -> int:
    result = subprocess.run([sys.executable, example, model, picture], capture_output=True, text=True, check=True)
    lines = [line.rsplit(" ", 5) for line in result.stdout.splitlines()]
    detector = Detector(model, max_detections=10**6)
    image = read_image(picture)
    found = detector(image)
    assert [line[0] for line in lines] == [detector.spec.names[i] for i in found.class_id]
    np.testing.assert_allclose([float(line[1]) for line in lines], found.confidence, atol=0.02)
    boxes = np.array([[float(side) for side in line[2:]] for line in lines]).reshape(-1, 4)
    # the example does not clip
    np.testing.assert_allclose(np.clip(boxes, 0, [image.shape[1], image.shape[0]] * 2), found.xyxy, atol=1.01)
    return len(lines)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("seed", [3, 8])
def test_it_finds_what_the_detector_finds(tmp_path: Path, seed: int, resize: str, format_: str) -> None:
    source = load_model(random_darknet(tmp_path, seed), resize=resize)
    model, picture = tmp_path / f"a.{format_}", tmp_path / "a.png"
    model.write_bytes(WRITERS[format_](canonicalize(source.graph), source.spec, FileOptions()))
    cv2.imwrite(str(picture), random_picture(150, 100, seed))
    assert compare(model, picture, EXAMPLES[f"{format_}_minimal"]) > 0


@pytest.mark.parametrize("seed", [3, 8])
def test_int8_of_tflite(tmp_path: Path, seed: int) -> None:
    source = load_model(random_darknet(tmp_path, seed), resize="stretch")
    graph, picture = canonicalize(source.graph), random_picture(150, 100, seed)
    tensor, _ = Preprocessor(source.spec.input)(picture)
    model = tmp_path / "a.tflite"
    model.write_bytes(write_tflite(quantize(graph, [tensor]), source.spec, "int8"))
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert compare(model, tmp_path / "a.png", EXAMPLES["tflite_int8"]) > 0


@pytest.mark.parametrize("format_", FORMATS)
def test_on_a_trained_model(tmp_path: Path, assets: Path, format_: str) -> None:
    source = load_model(assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg")
    model = tmp_path / f"a.{format_}"
    model.write_bytes(WRITERS[format_](canonicalize(source.graph), source.spec, FileOptions()))
    assert compare(model, assets / "images" / "dog.jpg", EXAMPLES[f"{format_}_minimal"]) >= 5


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("head", ["decoded", "nms"])
def test_files_that_decode_by_themselves(tmp_path: Path, cfg: Path, head: str, format_: str) -> None:
    source = load_model(cfg)
    model, picture = tmp_path / f"a.{format_}", tmp_path / "a.png"
    options = FileOptions(head=head, input="uint8", nms=NmsOptions(max_detections=2000))
    model.write_bytes(WRITERS[format_](canonicalize(source.graph), source.spec, options))
    cv2.imwrite(str(picture), random_picture(150, 100, 1))
    assert compare(model, picture, EXAMPLES[f"{format_}_{head}"]) > 0
