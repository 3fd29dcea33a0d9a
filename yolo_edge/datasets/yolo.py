"""YOLO label files: a text file a picture, `class cx cy width height` a line, as fractions of the picture.

Lines of a polygon (`class x1 y1 x2 y2 x3 y3 …`, Ultralytics' segments) count as the box around it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_edge.datasets.dataset import Columns, Dataset, Reading, build
from yolo_edge.datasets.image_size import image_size
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_text, reason
from yolo_edge.ondevice.images import SUFFIXES

MAX_CLASSES = 100_000

_MAX_BYTES = 16 * 1024 * 1024  # of a label file
_EDGE = 1.01  # labels are rounded: Ultralytics lets a hundredth pass too
_NAMES_FILES = ("classes.txt", "obj.names", "classes.names")


def read_yolo_folder(folder: Path, reading: Reading) -> Dataset:
    """Read a folder of pictures (not of folders in it) and their label files.

    Class names come from a `classes.txt` or `obj.names` in it or up to two folders above; without one they are made up.

    Args:
        folder: Of pictures, or with `images` in it. Labels are beside the pictures, or in `labels` where their path has
            `images`.
        reading: What to do about bad labels.

    Raises:
        InputError: No pictures, no labels at all, or a bad label.
    """
    pictures = pictures_in(folder)
    if not pictures and (folder / "images").is_dir():  # as many label tools lay it out
        pictures = pictures_in(folder / "images")
    if not pictures:
        others = sorted(child.name for child in folder.iterdir() if child.suffix.lower() in (".yaml", ".yml", ".json"))
        hint = f"; did you mean {folder / others[0]}?" if others else ""
        kinds = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{folder}: neither a VOC folder (no Annotations) nor pictures in it ({kinds}){hint}")
    names = _names_beside(folder)
    return read_labels(pictures, names, str(folder), reading)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in order of their names.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return sorted(child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"{folder}: {reason(error)}") from error


def label_path(picture: Path) -> Path:
    """Where the labels of a picture are: with `labels` for the last `images` of its path, or else beside it."""
    parts = list(picture.absolute().parts)
    for at in range(len(parts) - 2, 0, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            swapped = Path(*parts).with_suffix(".txt")
            beside = picture.with_suffix(".txt")
            return beside if not swapped.is_file() and beside.is_file() else swapped
    return picture.with_suffix(".txt")


def read_labels(
    pictures: Sequence[Path], names: Sequence[str] | None, source: str, reading: Reading, *, named: bool = True
) -> Dataset:
    """Read the label files of pictures. A picture without one shows nothing, as the trainers have it.

    Args:
        pictures: Their sizes are read from their headers.
        names: Class names; None: made up from the ids.
        source: What the dataset is, for messages.
        reading: What to do about bad labels.
        named: The names are the dataset's own.

    Raises:
        InputError: A bad label or picture, or not a single label file.
    """
    columns = Columns()
    sizes = np.ones((len(pictures), 2), np.int64)
    bad_images: dict[int, str] = {}
    files = [label_path(picture) for picture in pictures]
    missing = repeated = 0
    for number, (picture, file) in enumerate(reading.track(list(zip(pictures, files, strict=True)))):
        try:
            sizes[number] = image_size(picture)
            text = _read(file)
            missing += text is None
            repeated += _read_lines(text or "", file, number, len(names) if names else MAX_CLASSES, columns)
        except InputError as error:
            bad_images[number] = str(error)
    if missing == len(pictures):
        raise InputError(f"{source}: none of the {len(pictures)} pictures has a label file, such as {files[0]}")
    remarks = []
    if missing:
        remarks.append(f"{missing} of {len(pictures)} pictures have no label file: taken as showing nothing")
    if repeated:
        remarks.append(f"{repeated} labels stood twice in their file: counted once")
    if names is None:
        names = [f"class_{i}" for i in range(max(columns.class_id, default=0) + 1)]
        named = False
        remarks.append(f"no class names: {len(names)} classes, from the highest id in the labels")
    fractions = columns.boxes()
    half = fractions[:, 2:] / 2
    corners = np.concatenate([fractions[:, :2] - half, fractions[:, :2] + half], axis=1)
    scale = sizes[np.array(columns.image, np.int64)]
    return build(
        columns,
        corners * np.concatenate([scale, scale], axis=1),
        reading,
        source=source,
        names=tuple(names),
        names_known=named,
        paths=pictures,
        sizes=sizes,
        describe=lambda where: f"{where[0]}:{where[1]}",
        bad_images=bad_images,
        notes=remarks,
    )


def _read(file: Path) -> str | None:
    """The text of a label file; an empty one is one that has no labels; None: there is none."""
    try:
        if file.stat().st_size == 0:
            return ""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{file}: {reason(error)}") from error
    return read_text(file, _MAX_BYTES, "labels are UTF-8 text")


def _read_lines(text: str, file: Path, image: int, classes: int, columns: Columns) -> int:
    """Add the labels of one file; returns how many were repeated."""
    seen: set[tuple[float, ...]] = set()
    repeated = 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise InputError(f"{file}:{number}: expected numbers, got {printable(line.strip())[:60]!r}") from None
        class_id, box = values[0], values[1:]
        if len(box) >= 6 and len(box) % 2 == 0:
            box = _around(box)
        elif len(box) != 4:
            raise InputError(
                f"{file}:{number}: expected class, centre x and y, width and height (or a polygon), "
                f"got {len(words)} numbers"
            )
        if not 0 <= class_id < classes or class_id != int(class_id):
            raise InputError(f"{file}:{number}: class {words[0][:40]}: expected a whole number, 0..{classes - 1}")
        if not all(0 <= value <= _EDGE for value in box):
            shown = " ".join(words[1:5])[:80]
            raise InputError(f"{file}:{number}: expected fractions of the picture, 0..1, got {shown}")
        key = (class_id, *box)
        if key in seen:
            repeated += 1
            continue
        seen.add(key)
        columns.image.append(image)
        columns.class_id.append(int(class_id))
        columns.box.append(box)
        columns.where.append((file, number))
    return repeated


def _around(polygon: list[float]) -> list[float]:
    """Centre and size of the box around a polygon; NaN stays NaN."""
    if any(math.isnan(value) for value in polygon):
        return [math.nan] * 4
    left, right = min(polygon[::2]), max(polygon[::2])
    top, bottom = min(polygon[1::2]), max(polygon[1::2])
    if left < 0 or top < 0 or max(right, bottom) > _EDGE:
        return [math.inf] * 4
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _names_beside(folder: Path) -> list[str] | None:
    for place in (folder, *folder.absolute().parents[:2]):
        for name in _NAMES_FILES:
            if (place / name).is_file():
                text = read_text(place / name, _MAX_BYTES, "class names are UTF-8 text, one a line")
                names = [printable(line.strip()) for line in text.splitlines() if line.strip()]
                return names or None
    return None
