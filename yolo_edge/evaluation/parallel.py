"""What many models find in a dataset, chunk by chunk, kept in a folder so that a cut job goes on where it was."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from yolo_edge.datasets import Dataset
from yolo_edge.datasets.dataset import Reading
from yolo_edge.evaluation.boxes import Flags, Found
from yolo_edge.evaluation.chunks import CHUNK, Answer, Request, decode_answer, encode
from yolo_edge.evaluation.metrics import MAX_DETECTIONS
from yolo_edge.evaluation.pool import Job, Workers
from yolo_edge.evaluation.run import Run, size_problem, usable
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import read_bytes, write_atomically

_MAX_ANSWER = 256 << 20  # bytes of a file


@dataclass(frozen=True)
class Options:
    """How the detectors are run, by default as `validate` does; see `Detector`."""

    confidence: float = 0.001
    iou: float = 0.6
    max_detections: int = MAX_DETECTIONS
    runtime: str = "auto"
    fast: bool = False


@dataclass(frozen=True)
class _Part:
    """One chunk of one model: where its answer is kept."""

    request: Request
    first: int
    path: Path


class ChunkedWork:
    """The work of several models on one dataset."""

    def __init__(self, models: Sequence[tuple[Path, str]], dataset: Dataset, options: Options, folder: Path):
        """Divide it, and see what is done; nothing is run yet.

        Args:
            models: Files with their SHA-256.
            dataset: The pictures.
            options: Of the detectors.
            folder: Keeps the answers.
        """
        self._models, self._dataset = tuple(models), dataset
        stamps = [stamp(path) for path in dataset.paths]
        self._parts: list[list[_Part]] = []
        for _, sha256 in self._models:
            parts = []
            for first in range(0, len(dataset.paths), CHUNK):
                request = Request(
                    sha256=sha256,
                    pictures=tuple(str(path) for path in dataset.paths[first : first + CHUNK]),
                    **msgspec.to_builtins(options),
                )
                key = hashlib.sha256(msgspec.json.encode([request, stamps[first : first + CHUNK]])).hexdigest()
                parts.append(_Part(request, first, folder / sha256[:16] / f"{first:08}-{key[:24]}.chunk"))
            self._parts.append(parts)
        self._missing = [
            (model, part)
            for model, parts in zip(self._models, self._parts, strict=True)
            for part in parts
            if _kept(part) is None
        ]

    @property
    def missing(self) -> int:
        """How many chunks are to be run."""
        return len(self._missing)

    @property
    def chunks(self) -> int:
        """How many there are."""
        return sum(map(len, self._parts))

    def run(self, workers: Workers, progress: Callable[[str], None] = lambda _: None) -> None:
        """Run what is missing; each chunk is kept as soon as it is there.

        Args:
            workers: What runs it.
            progress: Called after each chunk.

        Raises:
            InputError: A model cannot be used.
            YoloEdgeError: The work failed; what was done is kept.
        """
        missing = self._missing
        jobs = [
            Job(number, encode(part.request), path, sha256, self._dataset.paths[part.first : part.first + CHUNK])
            for number, ((path, sha256), part) in enumerate(missing)
        ]
        for number, answer in workers.run(jobs):
            (path, _), part = missing[number]
            try:
                decode_answer(answer, len(part.request.pictures))
            except ValueError as error:
                raise YoloEdgeError(f"{path.name}: what a worker sent cannot be used ({error})") from error
            write_atomically(part.path, answer)
            progress(path.name)
        self._missing = [item for item in missing if _kept(item[1]) is None]

    def collect(self, skip_bad: bool) -> Run:
        """Put the answers together, as `gather` gives them.

        Args:
            skip_bad: Leave out pictures that cannot be used.

        Raises:
            InputError: A picture cannot be used, or none can.
            ValueError: Something is missing yet.
        """
        reading = Reading(skip_bad)
        answers = [[_need(part) for part in parts] for parts in self._parts]
        keep = self._usable(answers[0], reading)
        dataset = usable(self._dataset, keep, reading)
        found, times = [], []
        for model in answers:
            pictures: list[Detections] = [found for answer in model for found in answer.detections()]
            found.append(Found.of_detections([picture for picture, used in zip(pictures, keep, strict=True) if used]))
            times.append(np.array([ms for answer in model for ms in answer.milliseconds])[keep])
        return Run(dataset, tuple(found), tuple(times), 0.0, tuple(reading.messages))

    def forget(self) -> None:
        """Remove the answers: what was wanted of them is written."""
        for parts in self._parts:
            for part in parts:
                part.path.unlink(missing_ok=True)
            folder = parts[0].path.parent
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _usable(self, answers: Sequence[Answer], reading: Reading) -> Flags:
        keep = np.ones(len(self._dataset.paths), bool)
        index = 0
        for answer in answers:
            for error, size in zip(answer.errors, answer.sizes, strict=True):
                problem = size_problem(self._dataset, index, size) if error is None else error
                if problem is not None:
                    reading.bad(problem)
                    keep[index] = False
                index += 1
        return keep


def stamp(path: Path) -> Any:
    """What changes when a picture does."""
    try:
        status = path.stat()
    except OSError as error:
        return str(error)  # reading it will tell
    return [status.st_size, status.st_mtime_ns]


def _kept(part: _Part) -> Answer | None:
    """The answer, if a whole one is there."""
    if not part.path.is_file():
        return None
    try:
        return decode_answer(read_bytes(part.path, _MAX_ANSWER), len(part.request.pictures))
    except (InputError, ValueError):
        return None


def _need(part: _Part) -> Answer:
    answer = _kept(part)
    if answer is None:
        raise ValueError(f"{part.path}: missing")
    return answer
