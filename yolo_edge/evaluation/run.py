"""What detectors found in the pictures of a dataset, side by side."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_edge.datasets import Dataset
from yolo_edge.datasets.dataset import Reading
from yolo_edge.datasets.search import Searched
from yolo_edge.evaluation.boxes import Flags, Floats, Found
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.errors import InputError


@dataclass(frozen=True)
class Run:
    """What detectors found in the pictures of a dataset.

    Attributes:
        dataset: The pictures that could be used, with their labels.
        found: One entry a detector, with the detector's own class ids.
        milliseconds: float64 [pictures], one entry a detector: of its inference alone.
        seconds: Of the whole job.
        skipped: A line for each picture that was left out.
    """

    dataset: Dataset
    found: tuple[Found, ...]
    milliseconds: tuple[Floats, ...]
    seconds: float
    skipped: tuple[str, ...]


def gather(
    searched: Iterable[Searched],
    dataset: Dataset,
    detectors: int,
    *,
    skip_bad: bool = False,
    track: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> Run:
    """Look for objects in all pictures, and put together what was found.

    Args:
        searched: The dataset's pictures in their order, see `search`.
        dataset: The pictures.
        detectors: How many there are.
        skip_bad: Leave out pictures that cannot be used.
        track: Goes through the pictures, of which it is told the number, and shows the progress.

    Raises:
        InputError: A picture cannot be read, or is not of the size that its labels say; or none is left.
    """
    reading = Reading(skip_bad)
    keep = np.zeros(len(dataset.paths), bool)
    found: list[list[Detections]] = [[] for _ in range(detectors)]
    times: list[list[float]] = [[] for _ in range(detectors)]
    began = time.perf_counter()
    for item in track(searched, len(dataset.paths)) if track else searched:
        problem = size_problem(dataset, item.index, item.size) if item.error is None else str(item.error)
        if problem is not None:
            reading.bad(problem)
            continue
        keep[item.index] = True
        for number in range(detectors):
            times[number].append(item.milliseconds[number])
            found[number].append(item.found[number])
    return Run(
        usable(dataset, keep, reading),
        tuple(Found.of_detections(pictures) for pictures in found),
        tuple(np.array(values) for values in times),
        time.perf_counter() - began,
        tuple(reading.messages),
    )


def usable(dataset: Dataset, keep: Flags, reading: Reading) -> Dataset:
    """The part of a dataset whose pictures can be used.

    Args:
        dataset: All of it.
        keep: bool [pictures].
        reading: What was told of the others.

    Raises:
        InputError: There is none.
    """
    if not keep.any():
        raise InputError(f"{dataset.source}: no picture can be used, such as {reading.messages[0]}")
    return dataset if keep.all() else dataset.select(keep)


def size_problem(dataset: Dataset, index: int, size: tuple[int, int]) -> str | None:
    """What is wrong where a picture is not as large, (width, height), as its labels say; None where it is."""
    stated = tuple(dataset.sizes[index].tolist())
    if size == stated:
        return None
    return f"{dataset.paths[index]}: has {size[0]}x{size[1]} pixels, its labels are for {stated[0]}x{stated[1]}"
