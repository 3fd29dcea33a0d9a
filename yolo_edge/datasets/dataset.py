"""`Dataset`: labelled pictures, whatever form they came in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolo_edge.ondevice.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
T = TypeVar("T")

MAX_SIDE = 1 << 20  # of a picture, in pixels: no format holds more
_MAX_COORDINATE = 4.0 * MAX_SIDE


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures: n pictures with m boxes in all. Boxes stand in the order of their pictures.

    Attributes:
        source: What it was read from.
        names: Class names by class id.
        names_known: The names came with the dataset; otherwise they were made up from the ids.
        paths: Of the pictures; they need not exist where the labels state sizes.
        sizes: int64 [n, 2]: width and height in pixels, upright.
        image: int64 [m]: which picture a box is in.
        class_id: int64 [m].
        xyxy: float64 [m, 4]: x1, y1, x2, y2 in pixels; they may reach out of the picture, or enclose nothing.
        area: float64 [m]: of the object where COCO states it, otherwise of the box, in pixels.
        crowd: bool [m]: COCO's `iscrowd`, a box around many.
        difficult: bool [m]: VOC's `difficult`.
        notes: What the reader left out or took for granted, for a person.
        skipped: A line for each picture or label that was left out as bad.
    """

    source: str
    names: tuple[str, ...]
    names_known: bool
    paths: tuple[Path, ...]
    sizes: Integers
    image: Integers
    class_id: Integers
    xyxy: Floats
    area: Floats
    crowd: Flags
    difficult: Flags
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def select(self, keep: Flags) -> "Dataset":
        """The dataset with some of its pictures and their boxes.

        Args:
            keep: bool [n].
        """
        number = np.cumsum(keep) - 1
        boxes = keep[self.image]
        return replace(
            self,
            paths=tuple(path for path, wanted in zip(self.paths, keep, strict=True) if wanted),
            sizes=self.sizes[keep],
            image=number[self.image[boxes]],
            class_id=self.class_id[boxes],
            xyxy=self.xyxy[boxes],
            area=self.area[boxes],
            crowd=self.crowd[boxes],
            difficult=self.difficult[boxes],
        )


def _plainly(items: Sequence[T], _: str) -> Iterable[T]:
    return items


class Reading:
    """How a dataset is read: what to do about a bad picture or label, and who is told of progress.

    Attributes:
        messages: A line for each that was left out.
    """

    def __init__(self, skip_bad: bool, track: Callable[[Sequence[Any], str], Iterable[Any]] | None = None):
        self._skip_bad = skip_bad
        self._track = track or _plainly
        self.messages: list[str] = []

    def track(self, items: Sequence[T]) -> Iterable[T]:
        """Go through the pictures or labels."""
        return self._track(items, "reading labels")

    def bad(self, message: str) -> None:
        """Leave something out.

        Raises:
            InputError: Bad labels are not to be skipped.
        """
        if not self._skip_bad:
            raise InputError(f"{message} (--skip-bad goes on without it)")
        self.messages.append(message)


@dataclass
class Columns:
    """Labels as they are read: one entry a box in each list.

    Attributes:
        image: Which picture.
        class_id: Which class.
        box: Four numbers, whatever the form has.
        where: What `describe` of `build` makes a place of, for error messages.
    """

    image: list[int] = field(default_factory=list)
    class_id: list[int] = field(default_factory=list)
    box: list[Sequence[float]] = field(default_factory=list)
    where: list[Any] = field(default_factory=list)

    def boxes(self) -> Floats:
        """float64 [m, 4]; infinite numbers become ones that are too large, which can be reckoned with."""
        return np.clip(np.array(self.box, np.float64).reshape(-1, 4), -2 * _MAX_COORDINATE, 2 * _MAX_COORDINATE)

    def find_bad(self, xyxy: Floats) -> dict[int, str]:
        """Boxes that cannot be: number of the box → what is wrong."""
        sides = xyxy[:, 2:] - xyxy[:, :2]
        with np.errstate(invalid="ignore"):
            checks = (
                (np.isnan(xyxy).any(axis=1), "is not a number"),
                ((sides < 0).any(axis=1), "has a negative width or height"),
                ((np.abs(xyxy) > _MAX_COORDINATE).any(axis=1), "is larger than any picture"),
            )
        bad: dict[int, str] = {}
        for wrong, problem in checks:
            for i in np.flatnonzero(wrong).tolist():
                bad.setdefault(i, f"the box {_show(self.box[i])} {problem}")
        return dict(sorted(bad.items()))


def _show(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def build(
    columns: Columns,
    xyxy: Floats,
    reading: Reading,
    *,
    source: str,
    names: tuple[str, ...],
    names_known: bool,
    paths: Sequence[Path],
    sizes: Integers,
    describe: Callable[[Any], str],
    bad_images: dict[int, str] | None = None,
    area: Floats | None = None,
    crowd: Flags | None = None,
    difficult: Flags | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Check boxes and make a dataset of them, in the order of the pictures.

    A picture with a bad label is left out whole: what is in it is not known.

    Args:
        columns: The labels as read.
        xyxy: float64 [m, 4], their boxes in pixels.
        reading: What to do about bad ones.
        source: What the dataset was read from.
        names: Class names.
        names_known: Whether they came with the dataset.
        paths: Of the pictures.
        sizes: int64 [n, 2].
        describe: An entry of `columns.where` → file and line, or place in a document.
        bad_images: Pictures that the reader found wanting → why.
        area: float64 [m]; None: of the boxes. NaN stands for "not stated".
        crowd: bool [m].
        difficult: bool [m].
        notes: For a person.

    Raises:
        InputError: A bad label that is not to be skipped, or nothing is left.
    """
    none = np.zeros(len(xyxy), bool)
    image = np.array(columns.image, np.int64)
    wrong = dict(bad_images or {})
    for i, problem in columns.find_bad(xyxy).items():
        wrong.setdefault(columns.image[i], f"{describe(columns.where[i])}: {problem}")
    for message in wrong.values():
        reading.bad(message)
    sides = np.clip(xyxy[:, 2:] - xyxy[:, :2], 0, None)
    own = sides[:, 0] * sides[:, 1]
    order = np.argsort(image, kind="stable")
    dataset = Dataset(
        source=source,
        names=names,
        names_known=names_known,
        paths=tuple(paths),
        sizes=sizes,
        image=image[order],
        class_id=np.array(columns.class_id, np.int64)[order],
        xyxy=xyxy[order],
        area=(own if area is None else np.where(np.isnan(area), own, area))[order],
        crowd=(none if crowd is None else crowd)[order],
        difficult=(none if difficult is None else difficult)[order],
        notes=tuple(notes),
        skipped=tuple(reading.messages),
    )
    if wrong:
        keep = np.ones(len(paths), bool)
        keep[list(wrong)] = False
        dataset = dataset.select(keep)
    if not dataset.paths:
        more = f", such as {reading.messages[0]}" if reading.messages else ""
        raise InputError(f"{source}: no pictures{more}")
    return dataset
