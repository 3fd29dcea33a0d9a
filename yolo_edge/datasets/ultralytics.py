"""Ultralytics' `data.yaml`: https://docs.ultralytics.com/datasets/detect/."""

from pathlib import Path
from typing import Any

import yaml

from yolo_edge.datasets.dataset import Dataset, Reading
from yolo_edge.datasets.yolo import MAX_CLASSES, pictures_in, read_labels
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_text
from yolo_edge.ondevice.images import SUFFIXES

SPLITS = ("train", "val", "test")

_MAX_BYTES = 4 * 1024 * 1024
_MAX_LIST_BYTES = 1 << 28


def read_data_yaml(path: Path, split: str, reading: Reading) -> Dataset:
    """Read one split of a dataset that a `data.yaml` describes.

    `path` in it is looked for from the file's own folder; a split is a folder of pictures (not of folders in it), a
    text file that lists pictures, or several of them.

    Args:
        path: The YAML file.
        split: "train", "val" or "test".
        reading: What to do about bad labels.

    Raises:
        InputError: The file is not of this form, the split is missing, or a label is bad.
    """
    document = _parse(path)
    names, named = _names(path, document)
    if split not in SPLITS:
        raise InputError(f"--split {printable(split)!r}: expected {', '.join(SPLITS)}")
    entry = document.get(split)
    if not entry:
        known = ", ".join(name for name in SPLITS if document.get(name)) or "none"
        raise InputError(f"{path}: no split {split!r}; there are: {known}")
    entries = entry if isinstance(entry, list) else [entry]
    root = document.get("path") or ""
    if not isinstance(root, str) or not all(isinstance(item, str) and item for item in entries):
        raise InputError(f"{path}: path and {split}: expected text, or a list of texts")
    base = _folder(path, root)
    pictures: dict[Path, None] = {}
    for item in entries:
        pictures.update(dict.fromkeys(_pictures(path, split, base, item)))
    return read_labels(list(pictures), names, f"{path} ({split})", reading, named=named)


def _parse(path: Path) -> dict[str, Any]:
    text = read_text(path, _MAX_BYTES, "YAML is UTF-8 text")
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise InputError(f"{path}{line}: not YAML ({problem})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected keys such as path, train, val and names")
    return document


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain data only, and no aliases: they can make much of little."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.YAMLError(f"aliases are not read, line {mark.line + 1}")
        return super().compose_node(parent, index)


def _names(path: Path, document: dict[str, Any]) -> tuple[list[str], bool]:
    """Class names, and whether the file has any: with `nc` alone they are made up."""
    names = document.get("names")
    known = names is not None
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise InputError(f"{path}: names: expected the ids 0..{len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    if names is None and isinstance(document.get("nc"), int) and 1 <= document["nc"] <= MAX_CLASSES:
        names = [f"class_{i}" for i in range(document["nc"])]
    if not isinstance(names, list) or not names or len(names) > MAX_CLASSES:
        raise InputError(f"{path}: names: expected a list of class names, or id: name")
    if any(isinstance(name, (dict, list)) or name is None for name in names):
        raise InputError(f"{path}: names: expected a text for each class")
    found = [printable(str(name).strip()) for name in names]
    if document.get("nc") not in (None, len(found)):
        raise InputError(f"{path}: nc is {printable(str(document['nc']))[:40]}, and there are {len(found)} names")
    return found, known


def _folder(path: Path, root: str) -> Path:
    """Where the splits are; Ultralytics' own files name a folder beside the place they are used from."""
    if "\0" in root:
        raise InputError(f"{path}: path: expected a folder")
    folders = [path.parent / root, Path(root)]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _pictures(path: Path, split: str, base: Path, item: str) -> list[Path]:
    if "\0" in item:
        raise InputError(f"{path}: {split}: expected a folder or a file")
    place = base / item
    if not place.exists() and item.startswith("../"):
        place = base / item.removeprefix("../")  # as Roboflow writes them, and Ultralytics reads them
    if place.is_dir():
        found = pictures_in(place)
        if not found:
            raise InputError(f"{place}: no pictures in this folder ({', '.join(sorted(SUFFIXES))})")
        return found
    if place.suffix.lower() != ".txt":
        raise InputError(f"{path}: {split}: no such folder: {place}")
    text = read_text(place, _MAX_LIST_BYTES, "a list of pictures is UTF-8 text, one a line")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "\0" in text or not lines:
        raise InputError(f"{place}: expected the path of a picture a line")
    # "./images/a.jpg" is from the list's own folder, as Ultralytics has it; others from the dataset's
    return [place.parent / line if line.startswith("./") else base / line for line in lines]
