"""Scenes as a dataset: pictures, YOLO's labels, and a data.yaml."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.sample import CLASSES
from yolo_edge.sample.scenes.compose import scene
from yolo_edge.sample.scenes.scan import Scene


@dataclass(frozen=True)
class Part:
    """Scenes of a dataset.

    Attributes:
        seed: Of the scenes, 0 or more.
        count: How many.
        codes: False for pictures that only have what looks like codes.
        start: The number of the first, 0 or more.
    """

    seed: int
    count: int
    codes: bool = True
    start: int = 0


def write_dataset(folder: PathLike, splits: Mapping[str, Sequence[Part]], *, workers: int = 1) -> Iterator[Path]:
    """Write `images/<split>/`, `labels/<split>/` and, last, `data.yaml`; give the path of each picture once written.

    A picture is made when it is asked for: go through all of them. The same parts give the same files, whatever the
    number of worker processes.

    Args:
        folder: Made where it is missing; files of the same names are replaced.
        splits: Name of the split, also of its folders → what it consists of.
        workers: Processes; 1 makes the scenes in this one.

    Raises:
        InputError: This OpenCV draws no ArUco markers, or the name of a split is none for a folder.
        ValueError: A seed or a start below 0.
    """
    folder = Path(folder)
    for split in splits:
        if split in ("", ".", "..") or Path(split).name != split:
            raise InputError(f"split {split!r}: expected a name for a folder, such as 'train'")
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
    jobs = [
        (folder, split, part.seed, index, part.codes)
        for split, parts in splits.items()
        for part in parts
        for index in range(part.start, part.start + part.count)
    ]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(_write_scene, jobs, chunksize=8)
    else:
        yield from map(_write_scene, jobs)
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES))
    lines = "".join(f"{split}: images/{split}\n" for split in splits)
    (folder / "data.yaml").write_text(f"# scenes of yolo-edge\n{lines}names:\n{names}")


def _write_scene(job: tuple[Path, str, int, int, bool]) -> Path:
    folder, split, seed, index, codes = job
    made = scene(seed, index, codes=codes)
    name = f"{'scene' if codes else 'empty'}-{seed}-{index:05}"
    _, data = cv2.imencode(".jpg", made.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    (folder / "labels" / split / f"{name}.txt").write_text("".join(_lines(made)))
    picture = folder / "images" / split / f"{name}.jpg"
    picture.write_bytes(data.tobytes())
    return picture


def _lines(made: Scene) -> Iterable[str]:
    height, width = made.image.shape[:2]
    for class_id, (x1, y1, x2, y2) in zip(made.class_id.tolist(), made.boxes.tolist(), strict=True):
        x, y, w, h = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        yield f"{class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
