"""The four forms give the same dataset."""

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.support import CONTENT, NAMES, WRITERS, write_coco, write_voc
from yolo_edge.datasets import Dataset, read_dataset
from yolo_edge.ondevice.errors import InputError


def boxes(dataset: Dataset) -> list[tuple[str, str, list[float]]]:
    """What is where: picture, class, corners."""
    return [
        (dataset.paths[image].stem, dataset.names[class_id], np.round(xyxy, 6).tolist())
        for image, class_id, xyxy in zip(dataset.image, dataset.class_id, dataset.xyxy, strict=True)
    ]


@pytest.mark.parametrize("form", WRITERS)
def test_content(form: str, tmp_path: Path) -> None:
    dataset = read_dataset(WRITERS[form](tmp_path / "dataset"), training=True)
    assert sorted(path.stem for path in dataset.paths) == ["a", "b", "c"]
    assert all(path.is_file() for path in dataset.paths)
    assert dataset.sizes.tolist() == [list(CONTENT[path.stem][0]) for path in dataset.paths]
    expected = [
        (stem, NAMES[class_id], [float(side) for side in box])
        for stem, (_, found) in CONTENT.items()
        for class_id, *box in found
    ]
    assert boxes(dataset) == expected
    assert dataset.area.tolist() == pytest.approx([600, 4800, 1600])
    assert not dataset.crowd.any()
    assert dataset.difficult.tolist() == [False, False, form == "voc"]
    assert dataset.names_known
    assert dataset.skipped == ()


def test_select(tmp_path: Path) -> None:
    dataset = read_dataset(write_coco(tmp_path)).select(np.array([False, True, True]))
    assert [path.stem for path in dataset.paths] == ["b", "c"]
    assert boxes(dataset) == [("b", "dog", [5, 10, 25, 90])]
    assert dataset.sizes.tolist() == [[50, 100], [64, 64]]


def test_splits_of_voc(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "VOC2007")
    assert [path.stem for path in read_dataset(folder).paths] == ["b", "c"]  # val
    assert [path.stem for path in read_dataset(folder, split="train").paths] == ["a"]
    assert len(read_dataset(tmp_path, training=True).paths) == 3  # the only VOC folder in it: trainval
    with pytest.raises(InputError, match=r"no split 'test' .*; there are: train, trainval, val$"):
        read_dataset(folder, split="test")
    with pytest.raises(InputError, match="no split"):
        read_dataset(folder, split="../../etc/passwd")
    write_voc(tmp_path / "VOC2012")
    with pytest.raises(InputError, match="several VOC folders, choose one: VOC2007, VOC2012"):
        read_dataset(tmp_path)


def test_voc_without_splits(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    for file in (folder / "ImageSets" / "Main").iterdir():
        file.unlink()
    assert len(read_dataset(folder).paths) == 3


def test_voc_names_are_in_vocs_order(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    annotation = folder / "Annotations" / "a.xml"
    annotation.write_text(annotation.read_text().replace("traffic light", "aeroplane"))
    dataset = read_dataset(folder, training=True)
    assert len(dataset.names) == 20
    assert [name for _, name, _ in boxes(dataset)] == ["cat", "aeroplane", "dog"]


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/instances_val2017.json", "images"),
        ("instances.json", "images"),
        ("instances.json", "."),
    ],
)
def test_pictures_of_coco_are_found(tmp_path: Path, layout: str, place: str) -> None:
    source = write_coco(tmp_path / "source")
    target = tmp_path / "target" / layout
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    folder = tmp_path / "target" / place
    folder.mkdir(parents=True, exist_ok=True)
    for picture in (source.parent / "images").iterdir():
        picture.rename(folder / picture.name)
    assert all(path.is_file() for path in read_dataset(target).paths)


def test_pictures_elsewhere(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a")
    (tmp_path / "a" / "images").rename(tmp_path / "elsewhere")
    assert not read_dataset(path).paths[0].exists()  # labels are enough
    assert all(path.is_file() for path in read_dataset(path, images=tmp_path / "elsewhere").paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "nowhere"}, "no such file or folder"),
        ({"path": "note.txt"}, "expected a dataset: a data.yaml"),
        ({"path": "empty"}, "neither a VOC folder .* nor pictures in it"),
        ({"path": "with-yaml"}, "did you mean .*data.yaml"),
        ({"path": "coco/instances.json", "split": "val"}, "--split val: .* has no splits"),
        ({"path": "yolo", "split": "val"}, "--split val: .* has no splits"),
        ({"path": "yolo", "images": Path("x")}, "--images x: goes with COCO's .json or a VOC folder"),
        ({"path": "yaml/data.yaml", "images": Path("x")}, "--images x: goes with"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, arguments: dict, message: str) -> None:
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "with-yaml").mkdir()
    (tmp_path / "with-yaml" / "data.yaml").write_text("{}")
    for form in ("coco", "yolo", "yaml"):
        WRITERS[form](tmp_path / form)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / arguments.pop("path"), **arguments)
