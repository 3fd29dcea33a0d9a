"""Class names: COCO's and VOC's, spelt as darknet's `coco.names` and `voc.names`, and those of files."""

import dataclasses
from pathlib import Path
from typing import Dict, Tuple

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import read_text
from yolo_edge.ondevice.spec import ModelSpec

COCO: Tuple[str, ...] = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa",
    "pottedplant", "bed", "diningtable", "toilet", "tvmonitor", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

VOC: Tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

NAMES: Dict[str, Tuple[str, ...]] = {"coco": COCO, "voc": VOC}

_MAX_BYTES = 4 * 1024 * 1024


def assumed_names(classes: int) -> Tuple[Tuple[str, ...], str]:
    """Names for a model that brought none.

    Returns:
        The names and how they came to be, as `ModelSpec.names_from` says it.
    """
    for key, names in NAMES.items():
        if len(names) == classes:
            return names, f"{key} assumed"
    return tuple(f"class_{i}" for i in range(classes)), "none"


def rename_classes(spec: ModelSpec, names: str) -> ModelSpec:
    """The spec with the class names "coco", "voc" or those of a file.

    Raises:
        InputError: The file cannot be read, or there are more or fewer names than classes.
    """
    if not names:
        raise InputError("names: expected coco, voc or a file, got an empty text")
    found = NAMES[names] if names in NAMES else _read_names(Path(names))
    if len(found) != len(spec.names):
        raise InputError(f"names {names}: {len(found)} names for {len(spec.names)} classes")
    names_from = names if names in NAMES else f"file {Path(names).name}"
    return dataclasses.replace(spec, names=found, names_from=names_from)


def _read_names(path: Path) -> Tuple[str, ...]:
    text = read_text(path, _MAX_BYTES, "class names are UTF-8 text, one a line")
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        if not name or not name.isprintable():
            raise InputError(f"{path}:{number}: expected a class name, got {name[:40]!r}")
    return tuple(names)
