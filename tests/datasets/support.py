"""Small datasets in each form, all with the same content."""

import json
from pathlib import Path

import cv2

from tests.support import random_picture

NAMES = ("cat", "dog", "traffic light")
# picture → (width, height), boxes as class, x1, y1, x2, y2
CONTENT: dict[str, tuple[tuple[int, int], list[tuple[int, float, float, float, float]]]] = {
    "a": ((80, 60), [(0, 10, 20, 30, 50), (2, 0, 0, 80, 60)]),
    "b": ((50, 100), [(1, 5, 10, 25, 90)]),
    "c": ((64, 64), []),
}


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (stem, ((width, height), _)) in enumerate(CONTENT.items()):
        cv2.imwrite(str(folder / f"{stem}.png"), random_picture(width, height, seed))


def write_coco(folder: Path) -> Path:
    write_pictures(folder / "images")
    ids = {stem: 100 + 7 * i for i, stem in enumerate(CONTENT)}
    document = {
        "images": [
            {"id": ids[stem], "file_name": f"{stem}.png", "width": size[0], "height": size[1]}
            for stem, (size, _) in CONTENT.items()
        ],
        "annotations": [
            {
                "id": 1 + number,
                "image_id": ids[stem],
                "category_id": 10 * (class_id + 1),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            for number, (stem, (class_id, x1, y1, x2, y2)) in enumerate(
                (stem, box) for stem, (_, boxes) in CONTENT.items() for box in boxes
            )
        ],
        "categories": [{"id": 10 * (i + 1), "name": name} for i, name in enumerate(NAMES)],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def write_voc(folder: Path) -> Path:
    write_pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for stem, ((width, height), boxes) in CONTENT.items():
        objects = "".join(
            f"<object><name>{NAMES[class_id]}</name><difficult>{int(stem == 'b')}</difficult><bndbox>"
            # counted from 1, the last pixel in the box
            f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for class_id, x1, y1, x2, y2 in boxes
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    main = folder / "ImageSets" / "Main"
    (main / "train.txt").write_text("a\n")
    (main / "val.txt").write_text("b\nc\n")
    (main / "trainval.txt").write_text("a\nb\nc\n")
    (main / "cat_train.txt").write_text("a 1\n")
    return folder


def write_labels(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, ((width, height), boxes) in CONTENT.items():
        lines = [
            f"{class_id} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
            for class_id, x1, y1, x2, y2 in boxes
        ]
        (folder / f"{stem}.txt").write_text("\n".join(lines))


def write_data_yaml(folder: Path) -> Path:
    write_pictures(folder / "images" / "val")
    write_labels(folder / "labels" / "val")
    path = folder / "data.yaml"
    names = "\n".join(f"  {i}: {name}" for i, name in enumerate(NAMES))
    path.write_text(f"path: .\ntrain: images/val\nval: images/val\nnames:\n{names}\n")
    return path


def write_yolo_folder(folder: Path) -> Path:
    write_pictures(folder)
    write_labels(folder)
    (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return folder


WRITERS = {"coco": write_coco, "voc": write_voc, "yaml": write_data_yaml, "yolo": write_yolo_folder}
