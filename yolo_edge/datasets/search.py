"""Detectors over pictures, side by side: here, or wherever the same answers come from."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.datasets.loader import Preparer, load_images
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError


@dataclass(frozen=True)
class Searched:
    """A picture in which detectors looked for objects, or why they could not.

    Attributes:
        index: Its place among the paths.
        path: Where it is.
        size: (width, height) in pixels; (0, 0) with an error.
        found: What each detector found; nothing with an error.
        milliseconds: Of each inference alone.
        image: The picture itself, BGR, where it was asked for.
        error: None, or what is wrong with the file.
    """

    index: int
    path: Path
    size: tuple[int, int]
    found: tuple[Detections, ...]
    milliseconds: tuple[float, ...]
    image: np.ndarray | None = None
    error: InputError | None = None


def search(detectors: Sequence[Detector], paths: Sequence[Path], *, images: bool = False) -> Iterator[Searched]:
    """Find objects in pictures with each detector. Each picture is read once, ahead, by other threads.

    Args:
        detectors: With the settings to use.
        paths: The pictures.
        images: Give the pictures too.
    """
    prepare = Preparer([detector.spec.input for detector in detectors])
    for item in load_images(paths, lambda image: (image if images else None, prepare(image))):
        if item.error is not None:
            yield Searched(item.index, item.path, item.size, (), (), error=item.error)
            continue
        image, inputs = item.get()
        found, times = [], []
        for detector, (tensor, placement) in zip(detectors, inputs, strict=True):
            start = time.perf_counter()
            outputs = detector.runtime.run(tensor)
            times.append(1000 * (time.perf_counter() - start))
            found.append(detector.postprocess(outputs, placement))
        yield Searched(item.index, item.path, item.size, tuple(found), tuple(times), image)
