"""mAP of a real detector against one that shares no code with us: OpenCV's raw maps, a dense decoder, plain NMS."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cli.conftest import run as run  # noqa: PLC0414 - a fixture
from tests.support import opencv_network

ANCHORS = [(12, 18), (37, 49), (52, 132), (115, 73), (119, 199), (242, 238)]  # of yolo-fastest-1.1.cfg
HEADS = [(32, (3, 4, 5)), (16, (0, 1, 2))]
SIDE, CLASSES = 320, 80


def dense_decode(maps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] in fractions of the picture and scores [n, 80], all cells: darknet's yolo_layer.c."""
    boxes, scores = [], []
    for (stride, mask), array in zip(HEADS, maps, strict=True):
        cells = SIDE // stride
        values = array.reshape(3, 5 + CLASSES, cells, cells).astype(np.float64)
        for anchor, entry in zip(mask, values, strict=True):
            rows, columns = np.mgrid[:cells, :cells]
            x = (1 / (1 + np.exp(-entry[0])) + columns) / cells
            y = (1 / (1 + np.exp(-entry[1])) + rows) / cells
            w = np.exp(entry[2]) * ANCHORS[anchor][0] / SIDE
            h = np.exp(entry[3]) * ANCHORS[anchor][1] / SIDE
            boxes.append(np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1).reshape(-1, 4))
            probability = 1 / (1 + np.exp(-entry[4])) * (1 / (1 + np.exp(-entry[5:])))
            scores.append(probability.reshape(CLASSES, -1).T)
    return np.concatenate(boxes), np.concatenate(scores)


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    order = list(np.argsort(-scores, kind="stable"))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order:
        best = order.pop(0)
        kept.append(best)
        rest = np.array(order, int)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        order = list(rest[common <= limit * (areas[best] + areas[rest] - common)])
    return kept


def independent_map(assets: Path) -> tuple[float, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = assets / "darknet" / "yolo-fastest"
    cfg = (folder / "yolo-fastest-1.1.cfg").read_text()
    weights = np.fromfile(folder / "yolo-fastest-1.1.weights", np.uint8)
    document = json.loads((assets / "coco-mini" / "instances.json").read_text())
    ids = sorted(category["id"] for category in document["categories"])
    results = []
    for image in document["images"]:
        picture = cv2.imread(str(assets / "coco-mini" / "images" / image["file_name"]))
        tensor = cv2.dnn.blobFromImage(picture, 1 / 255, (SIDE, SIDE), swapRB=True)
        boxes, scores = dense_decode(list(opencv_network(cfg, weights, tensor)))
        boxes = np.clip(boxes * np.array([image["width"], image["height"]] * 2), 0, None)
        boxes = np.minimum(boxes, [image["width"], image["height"]] * 2)
        best, found = scores.argmax(axis=1), []
        for class_id in range(CLASSES):
            rows = np.flatnonzero((best == class_id) & (scores[:, class_id] > 0.001))
            kept = greedy_nms(boxes[rows], scores[rows, class_id], 0.6)
            found += [(float(scores[i, class_id]), class_id, boxes[i]) for i in rows[kept]]
        for score, class_id, (x1, y1, x2, y2) in sorted(found, key=lambda item: -item[0])[:300]:
            bbox = [float(side) for side in (x1, y1, x2 - x1, y2 - y1)]
            results.append({"image_id": image["id"], "category_id": ids[class_id], "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(assets / "coco-mini" / "instances.json"))
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1]), float(evaluation.stats[0])


def test_yolo_fastest_on_coco(assets: Path, run: Run) -> None:
    model = assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg"
    ours = run("validate", model, "--data", assets / "coco-mini" / "instances.json", "--json").json[0]
    assert ours["images"] == 118
    assert (ours["mAP50"], ours["mAP50_95"]) == pytest.approx(independent_map(assets), abs=0.002)


def test_ultralytics_and_voc_models(assets: Path, run: Run, tmp_path: Path) -> None:
    names = (assets / "names" / "coco.names").read_text().splitlines()
    listed = "\n".join(f"  {i}: {name}" for i, name in enumerate(names))
    data = tmp_path / "coco128.yaml"
    data.write_text(f"path: {assets / 'coco128'}\ntrain: images/train2017\nval: images/val2017\nnames:\n{listed}\n")
    folder = assets / "darknet"
    models = ("yolo-fastest/yolo-fastest-1.1.cfg", "mobilenet-yolo/MobileNetV2-YOLO-Fastest-voc.cfg")
    result = run("validate", *(folder / model for model in models), "--data", data, "--resamples", 100, "--json")
    assert result.code == 0, result.err
    coco, voc = result.json
    # VOC's twenty classes, under darknet's names for them here, are all that is compared
    assert set(coco["per_class"]) == set(voc["per_class"]) <= set((assets / "names" / "voc.names").read_text().split())
    assert "and 54 other classes" in result.err
    assert 0.1 < voc["mAP50"] < 1
