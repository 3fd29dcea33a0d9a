import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cpus import Machine
from tests.support import random_darknet, random_picture
from yolo_edge import Detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random detector with three classes that have names."""
    folder = tmp_path_factory.mktemp("model")
    cfg = random_darknet(folder, 11, classes=3)
    from yolo_edge.export import canonicalize, write_onnx
    from yolo_edge.export.load import load_model

    (folder / "a.names").write_text("cat\ndog\ntraffic light\n")
    source = load_model(cfg, names=str(folder / "a.names"))
    path = folder / "model.onnx"
    path.write_bytes(write_onnx(canonicalize(source.graph), source.spec))
    return path


@pytest.fixture(scope="module")
def dataset(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose labels are what the model finds in them, the best three of each."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "images").mkdir()
    detector = Detector(model, confidence=0.02, iou=0.3)
    images, annotations = [], []
    for i in range(12):
        picture = random_picture(90 + i, 70 + 2 * i, i)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png", "width": 90 + i, "height": 70 + 2 * i})
        found = detector(picture)
        for box, class_id in list(zip(found.xyxy.tolist(), found.class_id.tolist(), strict=True))[:3]:
            x1, y1, x2, y2 = box
            annotations.append({"image_id": i, "category_id": 1 + class_id, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    assert len(annotations) > 20
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "DOG"}, {"id": 3, "name": "traffic-light"}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return path


def test_contract(run: Run, model: Path, dataset: Path) -> None:
    result = run("validate", model, model, "--data", dataset, "--resamples", 50, "--json")
    assert result.code == 0, result.err
    first, second = result.json
    for entry in (first, second):
        assert {"model", "images", "mAP50", "mAP50_95", "difference", "per_class"} <= set(entry)
        assert entry["model"] == str(model)
        assert entry["images"] == 12
        assert 0 < entry["mAP50_95"] <= entry["mAP50"] <= 1
        assert entry["settings"]["confidence"] == 0.001
        assert entry["settings"]["iou"] == 0.6
        assert entry["settings"]["max_detections"] == 300
        assert set(entry["by_size"]) == {"small", "medium", "large"}
        assert set(entry["per_class"]) <= {"cat", "DOG", "traffic-light"}
        values = [part["mAP50"] for part in entry["per_class"].values()]
        assert entry["mAP50"] == pytest.approx(np.mean(values))
    assert first["difference"] is None
    assert first["agreement"] is None
    assert second["difference"] == {"mAP50": [0, 0, 0], "mAP50_95": [0, 0, 0]}


def test_classes_of_one_name_are_told_apart(run: Run, model: Path, dataset: Path, tmp_path: Path) -> None:
    """Names may stand twice where they do on both sides; each class keeps its line."""
    names = tmp_path / "some.names"
    names.write_text("crane\ncrane\ntraffic light\n")
    document = json.loads(dataset.read_text())
    for i, annotation in enumerate(document["annotations"]):
        annotation["category_id"] = 1 + i % 3
    mixed, renamed = (tmp_path / name for name in ("mixed.json", "renamed.json"))
    mixed.write_text(json.dumps(document))
    for category in document["categories"][:2]:
        category["name"] = "crane"
    renamed.write_text(json.dumps(document))
    arguments = ("validate", model, "--images", dataset.parent / "images", "--resamples", 50, "--json")
    (plain,) = run(*arguments, "--data", mixed).json
    (twice,) = run(*arguments, "--data", renamed, "--names", names).json
    keys = {"cat": "crane (0)", "DOG": "crane (1)", "traffic-light": "traffic-light"}
    assert twice["per_class"] == {keys[name]: values for name, values in plain["per_class"].items()}
    assert len(twice["per_class"]) == 3


def test_table(run: Run, model: Path, dataset: Path) -> None:
    result = run("validate", model, model, "--data", dataset, "--per-class")
    assert result.code == 0, result.err
    assert "+0.00 [+0.00, +0.00]" in result.out
    assert "traffic-light" in result.out
    assert "confidence 0.001, NMS IoU 0.6, at most 300 detections a picture" in result.err
    assert "No difference can be told in mAP50-95: model.onnx" in result.err


def test_fast_reaches_the_runtime_and_the_document(
    run: Run, model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sessions = Machine(monkeypatch, tmp_path).sessions()
    for options in ([], ["--fast"]):
        sessions.clear()
        entries = run("validate", model, model, "--data", dataset, "--resamples", 50, "--json", *options).json
        assert [entry["settings"]["fast"] for entry in entries] == [bool(options)] * 2
        assert sessions == [not options] * 2


def test_a_worse_setting_is_worse(run: Run, model: Path, dataset: Path) -> None:
    whole = run("validate", model, "--data", dataset, "--json").json[0]
    assert whole["mAP50"] > 0.5  # the labels are its own detections
    cut = run("validate", model, "--data", dataset, "--json", "--max-detections", 1).json[0]
    assert cut["mAP50"] < whole["mAP50"]


def test_as_pycocotools_from_the_detections_of_detect(run: Run, model: Path, dataset: Path) -> None:
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ours = run("validate", model, "--data", dataset, "--json").json[0]
    options = ("--confidence", 0.001, "--iou", 0.6, "--max-detections", 300, "--json")
    found = run("detect", model, dataset.parent / "images", *options).json
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(dataset.read_text())
        for number, annotation in enumerate(coco.dataset["annotations"], start=1):
            _, _, width, height = annotation["bbox"]
            annotation.update(id=number, iscrowd=0, area=width * height)
        coco.createIndex()
        results = [
            {
                "image_id": int(Path(item["image"]).stem),
                "category_id": 1 + each["class_id"],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": each["confidence"],
            }
            for item in found
            for each in item["detections"]
            for x1, y1, x2, y2 in [each["box"]]
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 2]
    # detect prints boxes to 2 decimals and confidences to 4
    assert ours["mAP50"] == pytest.approx(precision[0][precision[0] > -1].mean(), abs=2e-3)
    assert ours["mAP50_95"] == pytest.approx(precision[precision > -1].mean(), abs=1e-2)


def test_classes_by_name(run: Run, refuse: Callable[..., str], model: Path, dataset: Path, tmp_path: Path) -> None:
    document = json.loads(dataset.read_text())
    by_name = run("validate", model, "--data", dataset, "--json").json[0]
    # other ids and another order of the same names
    document["categories"] = [{"id": 3, "name": "Traffic light"}, {"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = {1: 7, 2: 9, 3: 3}[annotation["category_id"]]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    again = run("validate", model, "--data", path, "--images", dataset.parent / "images", "--json").json[0]
    assert again["mAP50_95"] == pytest.approx(by_name["mAP50_95"])
    labelled = [annotation["category_id"] for annotation in document["annotations"]]
    rare = min(document["categories"], key=lambda category: labelled.count(category["id"]))
    lost, rare["name"] = rare["name"].lower(), "zebra"
    path.write_text(json.dumps(document))
    result = run("validate", model, "--data", path, "--images", dataset.parent / "images", "--json")
    assert f"{model} does not know zebra: left out, for all models, though labelled" in result.err
    assert f"{lost} of {model} are not in the dataset" in result.err
    assert "zebra" not in result.json[0]["per_class"]
    document["categories"] = [
        {"id": category["id"], "name": f"other {category['id']}"} for category in document["categories"]
    ]
    document["categories"].append({"id": 99, "name": "cat"})
    path.write_text(json.dumps(document))
    message = refuse("validate", model, "--data", path, "--images", dataset.parent / "images")
    assert "none of its labels is of a class that the models know" in message


def test_classes_that_do_not_match_are_refused_before_the_work(
    refuse: Callable[..., str], model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("detectors ran")

    monkeypatch.setattr("yolo_edge.evaluation.run.gather", never)
    document = json.loads(dataset.read_text())
    path = tmp_path / "instances.json"
    arguments = ("validate", model, "--data", path, "--images", dataset.parent / "images")
    for category in document["categories"]:
        category["name"] = f"other {category['id']}"
    path.write_text(json.dumps(document))
    assert "no class of the model" in refuse(*arguments)
    document["categories"].append({"id": 99, "name": "cat"})  # which has no labels
    path.write_text(json.dumps(document))
    assert "none of its labels is of a class that the models know" in refuse(*arguments)


def test_labels_that_only_pictures_left_out_had(
    refuse: Callable[..., str], model: Path, dataset: Path, tmp_path: Path
) -> None:
    document = json.loads(dataset.read_text())
    shutil.copytree(dataset.parent / "images", tmp_path / "images")
    first = document["annotations"][0]
    document["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "zebra"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = 1 if annotation["image_id"] == first["image_id"] else 2
    (tmp_path / "instances.json").write_text(json.dumps(document))
    (tmp_path / "images" / f"{first['image_id']}.png").write_bytes(b"no picture")
    message = refuse("validate", model, "--data", tmp_path / "instances.json", "--skip-bad")
    assert "none of its labels is of a class that the models know" in message


def test_classes_by_id(run: Run, model: Path, dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    document = json.loads(dataset.read_text())
    for image in document["images"]:
        (folder / image["file_name"]).write_bytes((dataset.parent / "images" / image["file_name"]).read_bytes())
        lines = []
        for annotation in document["annotations"]:
            if annotation["image_id"] == image["id"]:
                x, y, w, h = annotation["bbox"]
                width, height = image["width"], image["height"]
                box = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
                lines.append(f"{annotation['category_id'] - 1} {box[0]} {box[1]} {box[2]} {box[3]}")
        (folder / f"{image['id']}.txt").write_text("\n".join(lines))
    result = run("validate", model, "--data", folder, "--json")
    assert result.code == 0, result.err
    assert "classes are matched by their ids" in result.err
    assert set(result.json[0]["per_class"]) <= {"cat", "dog", "traffic light"}  # the model's own names
    expected = run("validate", model, "--data", dataset, "--json").json[0]
    assert result.json[0]["mAP50_95"] == pytest.approx(expected["mAP50_95"], abs=1e-3)


def test_bad_pictures(run: Run, refuse: Callable[..., str], model: Path, dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for picture in (dataset.parent / "images").iterdir():
        (folder / picture.name).write_bytes(picture.read_bytes())
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "5.png").unlink()
    cv2.imwrite(str(folder / "7.png"), random_picture(50, 50))
    assert "3.png: not a picture" in refuse("validate", model, "--data", dataset, "--images", folder)
    result = run("validate", model, "--data", dataset, "--images", folder, "--skip-bad", "--json")
    assert result.code == 0, result.err
    assert result.json[0]["images"] == 9
    assert "7.png: has 50x50 pixels, its labels are for 97x84" in result.err
    assert "5.png: no such file" in result.err
    for picture in folder.iterdir():
        picture.unlink()
    message = refuse("validate", model, "--data", dataset, "--images", folder, "--skip-bad")
    assert "no picture can be used, such as" in message


def test_cfg_beside_an_exported_file(run: Run, model: Path, dataset: Path) -> None:
    cfg, weights, names = (model.with_name(name) for name in ("random-11.cfg", "random-11.weights", "a.names"))
    result = run("validate", cfg, model, "--data", dataset, "--names", names, "--weights", weights, "--json")
    assert result.code == 0, result.err
    assert result.json[1]["difference"]["mAP50"][0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resamples", "0"], "expected --resamples of 1..100000"),
        (["--seed", "-1"], "--seed of 0 or more"),
        (["--confidence", "2"], "confidence: expected 0..1"),
        (["--iou", "nan"], "iou: expected 0..1"),
        (["--split", "val"], "--split val"),
        (["--data", "nowhere.yaml"], "nowhere.yaml: no such file or folder"),
    ],
)
def test_refused(refuse: Callable[..., str], model: Path, dataset: Path, options: list[str], message: str) -> None:
    assert message in refuse("validate", model, "--data", dataset, *options)


def test_usage(refuse: Callable[..., str], model: Path) -> None:
    assert "Missing option '--data'" in refuse("validate", model)
    assert "nowhere.onnx: no such file" in refuse("validate", "nowhere.onnx", "--data", model.parent)
