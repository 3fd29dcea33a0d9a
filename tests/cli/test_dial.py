"""YOLO9000's dial: one set of weights at several sizes, by `--size` of validate and benchmark, in the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.cli.conftest import Run
from tests.support import random_darknet, random_picture
from yolo_edge import Detector
from yolo_edge.benchmarks.accuracy import read_accuracy
from yolo_edge.benchmarks.report.charts import figures
from yolo_edge.benchmarks.report.content import gather
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.export.exporter import ExportOptions, export

SIZES = "64,96"
TIMED = ["--threads", "1", "--quick", "--seconds", "0.05", "--inferences", "5", "--repeats", "1"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_darknet(tmp_path_factory.mktemp("model"), 11, classes=3)


@pytest.fixture(scope="module")
def exported(source: Path) -> list[Path]:
    files = export(source, source.parent / "out", ExportOptions(sizes=((64, 64), (96, 96)))).files
    return [Path(file.path) for file in files]


@pytest.fixture(scope="module")
def data(exported: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose labels are what the larger file finds in them."""
    folder = tmp_path_factory.mktemp("data")
    detector = Detector(exported[-1], confidence=0.05, iou=0.3)
    images, annotations = [], []
    for i in range(6):
        picture = random_picture(70, 60, i)
        cv2.imwrite(str(folder / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png", "width": 70, "height": 60})
        found = detector(picture)
        for box, class_id in list(zip(found.xyxy.tolist(), found.class_id.tolist(), strict=True))[:3]:
            x1, y1, x2, y2 = box
            annotations.append({"image_id": i, "category_id": 1 + class_id, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    assert annotations
    names = [{"id": 1 + i, "name": f"class {i}"} for i in range(3)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return path


def without_names(document: Any) -> Any:
    return [{k: v for k, v in item.items() if k not in ("model", "inference_ms")} for item in document]


def test_a_curve_of_one_set_of_weights(
    run: Run, source: Path, exported: list[Path], data: Path, tmp_path: Path
) -> None:
    judged = ["--data", data, "--images", data.parent, "--resamples", "10", "--json"]
    dialled = run("validate", source, "--size", SIZES, *judged)
    assert dialled.code == 0, dialled.err
    assert [Path(item["model"]).name for item in dialled.json] == [f"{source.name}@{size}" for size in SIZES.split(",")]
    # the same as of files that were exported for each size
    assert without_names(dialled.json) == without_names(run("validate", *exported, *judged).json)
    results = tmp_path / "results"
    timed = run("benchmark", source, "--size", SIZES, *TIMED, "-o", results)
    assert timed.code == 0, timed.err
    known = results / "accuracy.json"
    known.write_text(dialled.out)
    (path,) = results.glob("benchmark-*.json")
    result = read_result(path)
    assert [cell.input for cell in result.cells] == [(64, 64), (96, 96)]
    assert len({cell.source for cell in result.cells}) == 1
    dial = next(f for f in figures(gather([result], read_accuracy(known)), "#000") if f.key == "dial")
    lines = dial.chart.to_dict()["layer"][0]["data"]["values"]
    assert [record["size"] for record in lines] == SIZES.split(",")
    assert [record["y"] for record in lines] == pytest.approx([item["mAP50_95"] for item in dialled.json], rel=1e-4)
    assert "Accuracies on" in dial.caption


def test_an_exported_file_has_one_size(refuse: Callable[..., str], exported: list[Path], data: Path) -> None:
    for command in (["benchmark"], ["validate", "--data", data]):
        assert "an exported file has one size" in refuse(*command, exported[0], "--size", "64,96")
