"""Labelled pictures in the forms that people have them: COCO, VOC, Ultralytics, YOLO label files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from yolo_edge.datasets.dataset import Dataset, Reading
from yolo_edge.datasets.loader import Loaded, Preparer, load_images
from yolo_edge.datasets.matching import ClassMatch, match_classes
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, printable, reason

__all__ = [
    "ClassMatch",
    "Dataset",
    "Loaded",
    "Preparer",
    "has_labels",
    "load_images",
    "match_classes",
    "read_dataset",
]


def read_dataset(
    path: PathLike,
    *,
    split: str | None = None,
    training: bool = False,
    images: PathLike | None = None,
    skip_bad: bool = False,
    track: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Dataset:
    """Read a dataset, whatever its form.

    Args:
        path: A `.yaml` (Ultralytics), a `.json` (COCO's instances), a VOC folder, or a folder of pictures with YOLO
            label files.
        split: Of an Ultralytics or VOC dataset; None: its training or validation part, or all where there are no parts.
        training: Which of the two.
        images: The folder of the pictures of a COCO or VOC dataset; None: where they usually are.
        skip_bad: Leave out pictures with bad labels, and say so in `Dataset.skipped`.
        track: Shows how far reading is: (items, what is done) → the same items.

    Raises:
        InputError: There is no dataset of these forms, or a label is bad; the message names file and line.
    """
    from yolo_edge.datasets.coco import read_coco  # noqa: PLC0415 - each form loads a parser of its own
    from yolo_edge.datasets.ultralytics import read_data_yaml  # noqa: PLC0415
    from yolo_edge.datasets.voc import read_voc, voc_root, voc_splits  # noqa: PLC0415
    from yolo_edge.datasets.yolo import read_yolo_folder  # noqa: PLC0415

    path, images = Path(path), None if images is None else Path(images)
    reading = Reading(skip_bad, track)
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            root = voc_root(path)
            if root is not None:
                if split is None:
                    wanted = ("trainval", "train") if training else ("val", "test")
                    split = next((name for name in wanted if name in voc_splits(root)), None)
                return read_voc(root, split, images, reading)
            if split is None and images is None:
                return read_yolo_folder(path, reading)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder")
        elif suffix in (".yaml", ".yml") and images is None:
            return read_data_yaml(path, split or ("train" if training else "val"), reading)
        elif suffix == ".json" and split is None:
            return read_coco(path, images, reading)
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error
    except ValueError as error:
        raise InputError(f"{printable(str(path))!r}: not a path ({error})") from error
    if split is not None and (path.is_dir() or suffix == ".json"):
        raise InputError(f"--split {printable(split)}: {path} has no splits; a data.yaml or a VOC folder has")
    if images is not None and (path.is_dir() or suffix in (".yaml", ".yml")):
        raise InputError(f"--images {images}: goes with COCO's .json or a VOC folder, {path} is neither")
    raise InputError(
        f"{path}: expected a dataset: a data.yaml, COCO's instances.json, a VOC folder, or a folder of pictures with "
        "YOLO label files"
    )


def has_labels(folder: PathLike) -> bool:
    """Whether a folder is a dataset, and not just pictures: VOC's, or with a label file of YOLO.

    Raises:
        InputError: It cannot be read, or holds several VOC folders.
    """
    from yolo_edge.datasets.voc import voc_root  # noqa: PLC0415
    from yolo_edge.datasets.yolo import label_path, pictures_in  # noqa: PLC0415

    folder = Path(folder)
    inside = folder / "images"
    pictures = pictures_in(folder) or (pictures_in(inside) if inside.is_dir() else [])
    return voc_root(folder) is not None or any(label_path(picture).is_file() for picture in pictures)
