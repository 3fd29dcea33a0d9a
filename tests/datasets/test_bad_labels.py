"""Bad labels name their file and line; --skip-bad leaves out their pictures, and counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.support import write_coco, write_data_yaml, write_voc, write_yolo_folder
from yolo_edge.datasets import has_labels, read_dataset
from yolo_edge.ondevice.errors import InputError


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "expected class, centre x and y, width and height .* got 4 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9", "expected class, .* got 6 numbers"),
        ("3 0.5 0.5 0.1 0.1", r"class 3: expected a whole number, 0\.\.2"),
        ("-1 0.5 0.5 0.1 0.1", r"class -1: expected a whole number, 0\.\.2"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5: expected a whole number"),
        ("nan 0.5 0.5 0.1 0.1", "class nan: expected"),
        ("inf 0.5 0.5 0.1 0.1", "class inf: expected"),
        ("0 nan 0.5 0.1 0.1", r"expected fractions of the picture, 0\.\.1, got nan"),
        ("0 0.5 0.5 -0.1 0.1", "expected fractions of the picture"),
        ("0 320 240 100 50", "expected fractions of the picture"),
        ("0 0.1 0.1 0.2 inf 0.3 0.3", "expected fractions of the picture"),
        ("0 0.1 0.1 0.2 nan 0.3 0.3", "expected fractions of the picture"),
        ("cat 0.5 0.5 0.1 0.1", "expected numbers, got 'cat 0.5"),
        ("\x1b[2J", r"expected numbers, got '\?"),
    ],
)
def test_yolo(tmp_path: Path, line: str, message: str) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "b.txt").write_text(f"1 0.5 0.5 0.5 0.5\n\n{line}\n")
    with pytest.raises(InputError, match=rf"b\.txt:3: {message}.*--skip-bad") as caught:
        read_dataset(folder)
    assert "\x1b" not in str(caught.value)
    dataset = read_dataset(folder, skip_bad=True)
    assert [path.stem for path in dataset.paths] == ["a", "c"]
    assert len(dataset.skipped) == 1


def test_yolo_polygons_and_repeated_labels(tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "a.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.6\n0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n")
    dataset = read_dataset(folder)
    assert dataset.xyxy[dataset.image == 0].tolist() == [
        pytest.approx([8, 12, 40, 36]),
        pytest.approx([32, 24, 48, 36]),
    ]
    assert dataset.notes == ("1 labels stood twice in their file: counted once",)


def test_yolo_pictures_without_labels(tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "a.txt").unlink()
    dataset = read_dataset(folder)
    assert len(dataset.paths) == 3
    assert dataset.notes == ("1 of 3 pictures have no label file: taken as showing nothing",)
    for file in folder.glob("?.txt"):
        file.unlink()
    with pytest.raises(InputError, match="none of the 3 pictures has a label file, such as"):
        read_dataset(folder)


def test_yolo_without_class_names(tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "classes.txt").unlink()
    dataset = read_dataset(folder)
    assert dataset.names == ("class_0", "class_1", "class_2")
    assert not dataset.names_known


def test_yolo_label_files_of_other_kinds(tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    (folder / "b.txt").write_bytes(b"\xff\xfe\0\0")
    with pytest.raises(InputError, match=r"b\.txt: labels are UTF-8 text"):
        read_dataset(folder)
    (folder / "b.txt").unlink()
    (folder / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"b\.txt: is a folder"):
        read_dataset(folder)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][1].update(bbox=[1, 2, -3, 4]), r"annotations\[1\]: .* negative width or height"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, 1e30, 4]), r"annotations\[1\]: .* larger than any picture"),
        (
            lambda d: d["annotations"][1].update(bbox=[1e308, 2, 1e308, 4]),
            r"annotations\[1\]: .* larger than any picture",
        ),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), r"annotations\[1\]: bbox has 3 numbers, not 4"),
        (lambda d: d["annotations"][1].pop("bbox"), r"annotations\[1\]: bbox has 0 numbers, not 4"),
        (lambda d: d["annotations"][1].update(category_id=99), r"annotations\[1\]: there is no category 99"),
        (lambda d: d["images"][0].update(width=-4), r"images\[0\]: a picture of -4x60 pixels"),
        (lambda d: d["images"][0].update(width=1 << 40), r"images\[0\]: a picture of"),
        (lambda d: d["images"][0].update(width=0, height=0, file_name="z.png"), r"images\[0\]: no width and height"),
    ],
)
def test_coco(tmp_path: Path, change: Change, message: str) -> None:
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"instances\.json: {message}.*--skip-bad"):
        read_dataset(path)
    dataset = read_dataset(path, skip_bad=True)
    assert [picture.stem for picture in dataset.paths] == ["b", "c"]
    assert len(dataset.image) == 1
    assert len(dataset.skipped) == 1


def test_coco_annotation_of_no_picture(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["image_id"] = "\x1b[31m"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"annotations\[0\]: there is no image \?"):
        read_dataset(path)
    dataset = read_dataset(path, skip_bad=True)
    assert len(dataset.paths) == 3
    assert len(dataset.image) == 2


def test_coco_keeps_what_coco_keeps(tmp_path: Path) -> None:
    # zero-size, out-of-image and crowd boxes count as the file has them
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0].update(bbox=[5, 5, 0, 7])
    document["annotations"][1].update(bbox=[-20, 10, 500, 7], iscrowd=1, area=33.5)
    document["images"][1].update(width=0, height=0)  # from the picture's header
    path.write_text(json.dumps(document))
    dataset = read_dataset(path)
    assert dataset.xyxy.tolist()[:2] == [[5, 5, 5, 12], [-20, 10, 480, 17]]
    assert dataset.crowd.tolist() == [False, True, False]
    assert dataset.area.tolist() == [0, 33.5, 1600]
    assert dataset.sizes[1].tolist() == [50, 100]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "not COCO's instances.json"),
        ("[]", "not COCO's instances.json"),
        ('{"images": [], "annotations": []}', "categories"),
        ('{"images": [], "annotations": [], "categories": []}', "there are no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "no pictures"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', r"file_name.*images"),
        ('{"images": [], "annotations": [{"image_id": 1, "category_id": NaN}], "categories": []}', "not COCO's"),
        ('{"images": ' + "[" * 100_000, "not COCO's instances.json"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "two categories share an id",
        ),
    ],
)
def test_what_is_no_coco(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_dataset(path, skip_bad=True)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.png", "", "a\0b"])
def test_coco_names_outside_the_folder(tmp_path: Path, name: str) -> None:
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="expected a name inside the folder of the pictures"):
        read_dataset(path, skip_bad=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>6</xmin>", "<xmin>nan</xmin>", r"object 1: the box .* is not a number"),
        ("<xmin>6</xmin>", "<xmin>60</xmin>", r"object 1: the box .* has a negative width or height"),
        ("<xmin>6</xmin>", "<xmin>-1e99</xmin>", r"object 1: the box .* is larger than any picture"),
        (
            "<xmin>6</xmin><ymin>11</ymin><xmax>25<",
            "<xmin>inf</xmin><ymin>11</ymin><xmax>inf<",
            "object 1: .* is larger",
        ),
        ("<xmin>6</xmin>", "<xmin>six</xmin>", "xmin: expected a number, got 'six'"),
        ("<xmin>6</xmin>", "", r"an object \(dog\) without xmin"),
        ("<name>dog</name>", "", "an object without a name"),
        ("<width>50</width>", "<width>-5</width>", "a picture of -5x100 pixels"),
        ("<width>50</width>", "<width>nan</width>", "a picture of nanx100 pixels"),
        ("</annotation>", "", r"1: not XML"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "declares entities or a document type"),
        ("<annotation>", '<?xml version="1.0" encoding="klingon"?><annotation>', "not XML"),
    ],
)
def test_voc(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = write_voc(tmp_path)
    annotation = folder / "Annotations" / "b.xml"
    text = annotation.read_text()
    assert old in text
    annotation.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=rf"b\.xml:? ?{message}.*--skip-bad"):
        read_dataset(folder, training=True)
    dataset = read_dataset(folder, training=True, skip_bad=True)
    assert [path.stem for path in dataset.paths] == ["a", "c"]
    assert len(dataset.skipped) == 1


def test_folders_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may look into all."""
    folder = write_yolo_folder(tmp_path)
    (folder / "lost+found").mkdir()
    is_dir = Path.is_dir

    def refuse(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refuse)
    assert has_labels(folder)
    assert len(read_dataset(folder).paths) == 3


def test_voc_expands_no_entities(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    laughs = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    bomb = f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><annotation><object><name>&a9;</name></object></annotation>'
    (folder / "Annotations" / "b.xml").write_text(bomb, encoding="utf-16")
    with pytest.raises(InputError, match="declares entities or a document type"):
        read_dataset(folder, training=True)


def test_voc_missing_annotation_and_size(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    annotation = folder / "Annotations" / "a.xml"
    text = annotation.read_text()
    annotation.write_text(text.replace("<width>80</width><height>60</height>", "<width>0</width><height>0</height>"))
    assert read_dataset(folder, training=True).sizes[0].tolist() == [80, 60]  # from the picture
    annotation.unlink()
    with pytest.raises(InputError, match=r"a\.xml: no such file"):
        read_dataset(folder, training=True)


def test_voc_names_of_pictures_stay_inside(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("b\n../../secret\n")
    with pytest.raises(InputError, match=r"val\.txt:2: expected the name of a picture"):
        read_dataset(folder, split="val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"data\.yaml:\d: not YAML"),
        ("- 1\n- 2", "expected keys such as path, train, val and names"),
        ("val: images/val", "names: expected a list of class names"),
        ("val: images/val\nnames: [a, [b]]", "names: expected a text for each class"),
        ("val: images/val\nnames: {0: a, 2: b}", r"names: expected the ids 0\.\.1"),
        ("val: images/val\nnames: [a]\nnc: 3", "nc is 3, and there are 1 names"),
        ("train: images/val\nnames: [a, b, c]", "no split 'val'; there are: train"),
        ("val: {a: 1}\nnames: [a, b, c]", "path and val: expected text"),
        ("val: nowhere\nnames: [a, b, c]", "val: no such folder"),
        ("val: nowhere.txt\nnames: [a, b, c]", "nowhere.txt: no such file"),
        ("a: &x [1]\nb: *x", "not YAML .*aliases are not read, line 2"),
        ("val: !!python/object/apply:os.system [ls]\nnames: [a]", "not YAML"),
        ("names: [a]\nval: " + "[" * 5000, "not YAML"),
        ('val: "a\\0b"\nnames: [a]', "val: expected a folder or a file"),
    ],
)
def test_data_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = write_data_yaml(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_dataset(path)


def test_data_yaml_lists_and_roboflow(tmp_path: Path) -> None:
    path = write_data_yaml(tmp_path / "set")
    (tmp_path / "set" / "val.txt").write_text("./images/val/a.png\nimages/val/b.png\n\n")
    path.write_text("val: [val.txt]\nnames: [a, b, c]\ntest: ../images/val")
    assert [picture.stem for picture in read_dataset(path).paths] == ["a", "b"]
    assert len(read_dataset(path, split="test").paths) == 3  # one folder too far up
    with pytest.raises(InputError, match="--split 'all': expected train, val, test"):
        read_dataset(path, split="all")
    (tmp_path / "set" / "images" / "val" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: no such file"):
        read_dataset(path)
    path.write_text("val: images/val\nnc: 3")
    assert read_dataset(path).names == ("class_0", "class_1", "class_2")


def test_nothing_is_left(tmp_path: Path) -> None:
    folder = write_yolo_folder(tmp_path)
    for file in folder.glob("?.txt"):
        file.write_text("bad")
    with pytest.raises(InputError, match=r"no pictures, such as .*a\.txt:1"):
        read_dataset(folder, skip_bad=True)
