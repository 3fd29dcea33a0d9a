"""Released detectors of seven families: our files against the original graph with its own decoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import iou
from tests.tflite_support import operators
from yolo_edge.datasets import read_dataset
from yolo_edge.evaluation import Found, Truth, evaluate
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.decode import decode
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.nms import nms
from yolo_edge.ondevice.runtimes.onnx import new_session

Decode = Callable[..., tuple[np.ndarray, np.ndarray]]

# `anchors` in data/coco.data of Yolo-FastestV2
V2_ANCHORS = [(12.64, 19.39), (37.88, 51.48), (55.71, 138.31), (126.91, 78.23), (131.57, 214.55), (279.92, 258.87)]


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def with_objectness(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[1, N, 85] of YOLOv5: boxes and scores."""
    return output[0, :, :4], output[0, :, 4:5] * output[0, :, 5:]


def plain(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[1, 84, N] of YOLOv8."""
    return output[0, :4].T, output[0, 4:].T


def yolox(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[1, 3549, 85] of YOLOX at 416, whose boxes are decoded outside (demo_postprocess of its utils)."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        side = 416 // stride
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        grids.append(np.stack([x, y], axis=2).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    rows = output[0].astype(np.float64)
    boxes = np.concatenate([(rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride], axis=1)
    return boxes.astype(np.float32), (rows[:, 4:5] * rows[:, 5:]).astype(np.float32)


def fastestdet(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[1, 85, 22, 22] of FastestDet at 352 (example/onnx-runtime/runtime.py, cell by cell)."""
    boxes, scores = [], []
    cells = output[0].transpose(1, 2, 0).astype(np.float64)
    rows, columns, _ = cells.shape
    for h in range(rows):
        for w in range(columns):
            data = cells[h][w]
            center = (w + np.tanh(data[1])) / columns, (h + np.tanh(data[2])) / rows
            boxes.append([*center, *logistic(data[3:5])])
            scores.append(data[0] ** 0.6 * data[5:] ** 0.4)
    return (np.array(boxes) * 352).astype(np.float32), np.array(scores, np.float32)


def fastestv2(*outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes, objectness and classes on two grids (handel_preds of Yolo-FastestV2's utils/utils.py)."""
    boxes, scores = [], []
    for i in range(2):
        reg, obj, cls = (array[0].transpose(1, 2, 0).astype(np.float64) for array in outputs[3 * i : 3 * i + 3])
        side = len(reg)
        reg = logistic(reg.reshape(side, side, 3, 4))
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        grid = np.stack([x, y], axis=2)[:, :, None]
        center = (reg[..., :2] * 2 - 0.5 + grid) * (352 / side)
        size = (reg[..., 2:] * 2) ** 2 * np.array(V2_ANCHORS).reshape(2, 3, 2)[i]
        odds = np.exp(cls - cls.max(axis=2, keepdims=True))
        shared = (odds / odds.sum(axis=2, keepdims=True))[:, :, None]
        boxes.append(np.concatenate([center, size], axis=3).reshape(-1, 4))
        scores.append((logistic(obj)[..., None] * shared).reshape(-1, cls.shape[2]))
    return np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)


def nanodet(*outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes, then distributions, on three grids at 416 (gfl_head.py and nanodet_head.py of NanoDet 0.x)."""
    boxes = []
    for stride, reg in zip((8, 16, 32), outputs[3:], strict=True):
        side = 416 // stride
        y, x = np.meshgrid((np.arange(side) + 0.5) * stride, (np.arange(side) + 0.5) * stride, indexing="ij")
        odds = np.exp(reg[0].reshape(-1, 4, 8).astype(np.float64))
        away = (odds / odds.sum(axis=2, keepdims=True)) @ np.arange(8) * stride
        low, high = (
            np.stack([x.ravel(), y.ravel()], axis=1) + sign * part
            for sign, part in ((-1, away[:, :2]), (1, away[:, 2:]))
        )
        boxes.append(np.concatenate([(low + high) / 2, high - low], axis=1))
    return np.concatenate(boxes).astype(np.float32), np.concatenate([scores[0] for scores in outputs[:3]])


MODELS: dict[str, Decode] = {
    "FastestDet": fastestdet,
    "nanodet_m_416": nanodet,
    "yolo-fastestv2": fastestv2,
    "yolov5n": with_objectness,
    "yolov8n_dequantised_float": plain,
    "yolox_nano": yolox,
}


ANCHORS = {"yolo-fastestv2": V2_ANCHORS}


def as_trained(name: str, pixels: np.ndarray) -> np.ndarray:
    """RGB 0..1 as the trainer of a model feeds it."""
    if name == "yolox_nano":
        pixels = pixels[:, ::-1] * 255
    elif name in ("FastestDet", "yolo-fastestv2"):
        pixels = pixels[:, ::-1]
    elif name == "nanodet_m_416":
        mean, deviation = ([[103.53]], [[116.28]], [[123.675]]), ([[57.375]], [[57.12]], [[58.395]])
        pixels = (pixels[:, ::-1] * 255 - np.array(mean)) / np.array(deviation)
    return np.ascontiguousarray(pixels, np.float32)


# what is below matters to nobody here, and would have NMS take most of the time
LEAST = 0.01


def find(boxes: np.ndarray, confidence: np.ndarray, class_id: np.ndarray) -> Detections:
    kept = nms(boxes, confidence, class_id, 0.6, 300)
    return Detections(boxes[kept], confidence[kept], class_id[kept])


def original(session: object, decoder: Decode, tensor: np.ndarray) -> Detections:
    outputs = session.run(None, {session.get_inputs()[0].name: tensor})  # type: ignore[attr-defined]
    centers, scores = decoder(*outputs)
    half = centers[:, 2:] / 2
    boxes = np.concatenate([centers[:, :2] - half, centers[:, :2] + half], axis=1)
    class_id = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), class_id]
    kept = best > LEAST
    return find(boxes[kept], best[kept], class_id[kept])


def assert_same(expected: Detections, found: Detections) -> int:
    """Every box above 0.26 on either side has its like on the other; returns how many."""
    for one, other in ((expected, found), (found, expected)):
        sure = one.confidence > 0.26
        overlaps = iou(one.xyxy[sure], other.xyxy)
        same = overlaps >= 0.98
        same &= one.class_id[sure][:, None] == other.class_id[None]
        same &= np.abs(one.confidence[sure][:, None] - other.confidence[None]) <= 0.01
        assert same.any(axis=1).all()
    return int((expected.confidence > 0.26).sum())


def pictures(assets: Path) -> list[Path]:
    return sorted((assets / "images").glob("*.jpg")) + sorted((assets / "coco128" / "images" / "val2017").glob("*.jpg"))


@pytest.mark.parametrize("name", MODELS)
def test_detections_and_map_are_the_originals(name: str, assets: Path) -> None:
    path = assets / "onnx" / f"{name}.onnx"
    session = new_session(path.read_bytes(), threads=1)
    source = import_onnx(path, anchors=ANCHORS.get(name, ()))
    graph = canonicalize(source.graph)
    detectors = [Detector(write(graph, source.spec), threads=1) for write in (write_onnx, write_tflite)]
    results: list[list[Detections]] = [[], [], []]
    seen = 0
    for picture in pictures(assets):
        image = read_image(picture)
        found = []
        for detector in detectors:
            tensor, placement = detector.preprocess(image)
            outputs = detector.runtime.run(tensor)
            found.append((find(*decode(detector.spec, outputs, LEAST)), placement))
            pixels = tensor.transpose(0, 3, 1, 2) if tensor.shape[3] == 3 else tensor
        expected = original(session, MODELS[name], as_trained(name, pixels))
        for (ours, placement), kept in zip(found, results[1:], strict=True):
            seen += assert_same(expected, ours)
            kept.append(Detections(placement.to_source(ours.xyxy), ours.confidence, ours.class_id))
        results[0].append(Detections(placement.to_source(expected.xyxy), expected.confidence, expected.class_id))
    assert seen > 500
    assert_same_map(results, assets)


def assert_same_map(results: list[list[Detections]], assets: Path) -> None:
    """mAP of the pictures that have labels, the last 64."""
    dataset = read_dataset(assets / "coco128" / "images" / "val2017")
    truth = Truth.of_dataset(dataset)
    values = []
    for found in results:
        boxes = Found.of_detections(found[-len(dataset.paths) :])
        accuracy = evaluate(truth, boxes.select(boxes.class_id < truth.classes))
        values.append((accuracy.value("mAP50"), accuracy.value("mAP50_95")))
    assert values[0][0] is not None
    assert values[0][0] > 0.3
    for ours in values[1:]:
        assert ours == pytest.approx(values[0], abs=0.002)


def heads(source: SourceModel, pixels: np.ndarray) -> list[np.ndarray]:
    session = new_session(write_onnx(canonicalize(source.graph), source.spec))
    return list(session.run(None, {"images": pixels}))


@pytest.mark.parametrize("size", [None, (320, 256)])
def test_the_dynamic_file_is_the_dequantised_one(size: tuple[int, int] | None, assets: Path) -> None:
    sources = [
        import_onnx(assets / "onnx" / f"yolov8n_{kind}.onnx", size) for kind in ("int8_dynamic", "dequantised_float")
    ]
    assert "taken back to float" in sources[0].notes[0]
    assert sources[0].spec.heads == sources[1].spec.heads
    spec = sources[0].spec.input
    pixels = np.random.default_rng(0).random((1, 3, spec.height, spec.width), dtype=np.float32)
    for a, b in zip(*(heads(source, pixels) for source in sources), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(320, 320), (416, 256)])
def test_other_sizes(name: str, size: tuple[int, int], assets: Path) -> None:
    # the importer itself compares the raw heads with those of the file's own operators at that size
    source = import_onnx(assets / "onnx" / f"{name}.onnx", size, anchors=ANCHORS.get(name, ()))
    assert (source.spec.input.width, source.spec.input.height) == size
    assert "TRANSPOSE" not in operators(write_tflite(canonicalize(source.graph), source.spec))


def test_licences_and_names_come_along(assets: Path) -> None:
    spec = import_onnx(assets / "onnx" / "yolov8n_dequantised_float.onnx").spec
    assert spec.provenance.licence == "AGPL-3.0 License (https://ultralytics.com/license)"
    assert spec.names[3] == "motorcycle"
    assert spec.names_from == "file yolov8n_dequantised_float.onnx"
    assert import_onnx(assets / "onnx" / "yolox_nano.onnx").spec.names_from == "coco assumed"


def test_what_a_file_does_not_say_is_asked_for(assets: Path) -> None:
    path = assets / "onnx" / "yolo-fastestv2.onnx"
    with pytest.raises(
        InputError, match=r"the file does not hold them\. Say them with --anchors .* 6 of them .* 352x352"
    ):
        import_onnx(path)
    with pytest.raises(InputError, match=r"3 anchors on each of 2 grids; got 4"):
        import_onnx(path, anchors=V2_ANCHORS[:4])
    with pytest.raises(InputError, match=r"--anchors: are for files that lack theirs; .* it is fastestdet"):
        import_onnx(assets / "onnx" / "FastestDet.onnx", anchors=V2_ANCHORS)
