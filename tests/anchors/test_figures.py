"""The figures of the YOLOv2 paper, on real labels."""

import tarfile
from pathlib import Path

import pytest

from yolo_edge.anchors import cluster
from yolo_edge.anchors.boxes import box_sizes
from yolo_edge.datasets import read_dataset


@pytest.mark.parametrize(("k", "least"), [(5, 0.610), (9, 0.672)])
def test_voc_2007_trainval(assets: Path, tmp_path: Path, k: int, least: float) -> None:
    with tarfile.open(assets / "annotations" / "VOC2007_trainval_annotations.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = read_dataset(tmp_path / "VOCdevkit", training=True)
    assert len(dataset.paths) == 5011
    assert len(dataset.image) == 15662  # the published number of objects
    boxes = box_sizes(dataset, (416, 416), "none").boxes
    assert len(boxes) == 12608  # without difficult ones
    mean, median = (cluster(boxes, k, update=update).avg_iou for update in ("mean", "median"))
    assert mean >= least
    assert median >= mean + 0.005


def test_better_than_yolov3s_own_on_coco(assets: Path) -> None:
    dataset = read_dataset(assets / "annotations" / "coco_val2017_boxes.json")
    assert len(dataset.paths) == 5000
    boxes = box_sizes(dataset, (416, 416), "letterbox").boxes
    assert cluster(boxes, 9).avg_iou > 0.605  # yolov3.cfg's anchors reach 0.599
