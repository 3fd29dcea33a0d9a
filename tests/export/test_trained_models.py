"""Real trained detectors against what OpenCV 4.10 made of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support import iou
from yolo_edge import Detections, Detector
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.verify import relative_error
from yolo_edge.ondevice.decode import decode_cells
from yolo_edge.ondevice.images import read_image

MODELS = {
    "mobilenet-yolo": ["MobileNetV2-YOLO-Fastest-voc", "MobileNetV2-YOLOv3-Nano-coco"],
    "yolo-fastest": ["yolo-fastest", "yolo-fastest-1.1", "yolo-fastest-1.1-xl"],
    "yolo-lite": ["coco-trial6", "tiny-yolov2-trial3", "tiny-yolov2-trial3-noBatch"],
    "yoloface": ["yoloface-50k", "yoloface-500k-v2"],
}
PATHS = [f"{folder}/{name}" for folder, names in MODELS.items() for name in names]
# the references were made under another name
REFERENCE_NAMES = {"coco-trial6": "trial6_653550"}


class Exported:
    """A model in both precisions, and its references."""

    def __init__(self, assets: Path, name: str):
        source = load_model(assets / "darknet" / f"{name}.cfg", resize="stretch")
        graph = canonicalize(source.graph)
        self.files = {precision: write_onnx(graph, source.spec, precision) for precision in ("fp32", "fp16")}
        stem = Path(name).name
        self.reference_name = REFERENCE_NAMES.get(stem, stem)
        (path,) = (assets / "reference").glob(f"{self.reference_name}__*.npz")
        self.arrays = dict(np.load(path))
        self.maps = [array for key, array in self.arrays.items() if key.startswith("feature")]
        self.decoded = [array for key, array in self.arrays.items() if key.startswith("decoded")]
        self.tensor = self.arrays["input_rgb_u8"].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


@pytest.fixture(scope="module", params=PATHS)
def exported(request: pytest.FixtureRequest, assets: Path) -> Exported:
    return Exported(assets, request.param)


def test_every_model_is_here(assets: Path) -> None:
    found = {path.relative_to(assets / "darknet").with_suffix("") for path in (assets / "darknet").glob("*/*.cfg")}
    assert {str(path) for path in found} == set(PATHS)


def test_raw_maps(exported: Exported) -> None:
    found = Detector(exported.files["fp32"]).runtime.run(exported.tensor)
    assert len(found) == len(exported.maps)
    for ours, theirs in zip(found.values(), exported.maps, strict=True):
        assert relative_error(theirs, ours) <= 1e-4


def test_fp16(exported: Exported) -> None:
    full = Detector(exported.files["fp32"]).runtime.run(exported.tensor)
    half = Detector(exported.files["fp16"]).runtime.run(exported.tensor)
    for name, expected in full.items():
        assert snr_db(expected, half[name]) >= 50
    # the graph itself weighs the same in both, which tells in the 47 kB of yoloface-50k
    limit = 0.56 if len(exported.files["fp32"]) > 100_000 else 0.66
    assert len(exported.files["fp16"]) <= limit * len(exported.files["fp32"])


def test_decoded_boxes(exported: Exported) -> None:
    """Every box of every cell, in OpenCV's units (fractions of the input) and order (cell by cell, anchors inside)."""
    spec = Detector(exported.files["fp32"]).spec
    for head, raw, decoded in zip(spec.heads, exported.maps, exported.decoded, strict=True):
        rows, columns = spec.grid(head)
        anchors = len(head.anchors)
        one = spec.__class__(spec.input, (head,), spec.names)
        boxes, confidence, class_id = decode_cells(one, {head.tensors["map"]: raw}, 0)
        assert len(boxes) == rows * columns * anchors
        # ours: anchor by anchor, cells inside
        theirs = decoded.reshape(rows * columns, anchors, -1).transpose(1, 0, 2).reshape(len(boxes), -1)
        centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        ours = np.concatenate([centers, sizes], axis=1) / ([spec.input.width, spec.input.height] * 2)
        np.testing.assert_allclose(ours, theirs[:, :4], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(confidence, theirs[:, 5:].max(axis=1), rtol=1e-4, atol=1e-4)
        best = theirs[np.arange(len(boxes)), 5 + class_id]
        np.testing.assert_allclose(best, theirs[:, 5:].max(axis=1), rtol=1e-4, atol=1e-6)


def unmatched(found: Detections, expected: list[dict], size: tuple[int, int]) -> list[dict]:
    """The expected detections above 0.30 that are not among those found."""
    missing = []
    for item in expected:
        if item["score"] <= 0.30:
            continue
        box = np.clip(np.array([item["box_xyxy"]]), 0, [*size, *size])
        same = (found.class_id == item["class_id"]) & (np.abs(found.confidence - item["score"]) <= 0.02)
        if not (iou(box, found.xyxy[same]) >= 0.95).any():
            missing.append(item)
    return missing


def test_from_picture_to_detections(exported: Exported, assets: Path) -> None:
    reference = json.loads((assets / "reference" / "opencv_detections.json").read_text())["models"]
    detector = Detector(exported.files["fp32"], confidence=0.25, iou=0.45)
    entries = reference[exported.reference_name]
    assert len(entries) >= 2
    for entry in entries:
        found = detector(read_image(assets / "images" / entry["image"]))
        size = tuple(entry["image_wh"])
        assert unmatched(found, entry["detections"], size) == []
        # and the other way round: nothing that the reference lacks
        ours = [
            {"class_id": class_id, "score": confidence, "box_xyxy": box}
            for class_id, confidence, box in zip(found.class_id, found.confidence, found.xyxy, strict=True)
        ]
        theirs = Detections(
            np.clip(np.array([item["box_xyxy"] for item in entry["detections"]]), 0, [*size, *size]),
            np.array([item["score"] for item in entry["detections"]]),
            np.array([item["class_id"] for item in entry["detections"]]),
        )
        assert unmatched(theirs, ours, size) == []


@pytest.mark.parametrize("size", [(416, 416), (256, 320)])
def test_other_sizes_run(assets: Path, size: tuple[int, int]) -> None:
    source = load_model(assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg", size=size)
    detector = Detector(write_onnx(canonicalize(source.graph), source.spec))
    found = detector(read_image(assets / "images" / "dog.jpg"))
    assert {"dog", "car"} <= {source.spec.names[i] for i in found.class_id}
