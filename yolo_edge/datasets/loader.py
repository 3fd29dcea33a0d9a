"""Pictures decoded and prepared by worker threads, ahead of whoever uses them."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Placement, Preprocessor
from yolo_edge.ondevice.spec import InputSpec

T = TypeVar("T")

_MAX_WORKERS = 4  # more do not help: something else is waiting for the processor


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A picture that was prepared, or why not.

    Attributes:
        index: Its place among the paths.
        path: Where it is.
        size: (width, height) in pixels; (0, 0) with an error.
        value: What `prepare` made of it; None with an error.
        error: None, or what is wrong with the file.
    """

    index: int
    path: Path
    size: tuple[int, int]
    value: T | None
    error: InputError | None

    def get(self) -> T:
        """What `prepare` made of the picture.

        Raises:
            InputError: The picture cannot be used.
        """
        if self.error is not None or self.value is None:
            raise self.error or InputError(f"{self.path}: nothing was made of it")
        return self.value


def load_images(
    paths: Iterable[PathLike], prepare: Callable[[np.ndarray], T], *, workers: int | None = None, ahead: int = 2
) -> Iterator[Loaded[T]]:
    """Read and prepare pictures in worker threads; they come in the order of `paths`.

    At most workers + `ahead` pictures are in memory, beside the one that was handed out. A picture that cannot be read
    comes with its error and does not end the job; leaving the loop early ends the workers.

    Args:
        paths: The files.
        prepare: What to make of a picture (BGR, uint8 [height, width, 3]); called in several threads at once. What it
            raises ends the job.
        workers: Threads; None: one a processor, four at most.
        ahead: How many pictures may be finished and waiting.

    Raises:
        ValueError: No workers, or a negative `ahead`.
    """
    if workers is None:
        workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    if workers < 1 or ahead < 0:
        raise ValueError(f"expected at least one worker and ahead >= 0, got {workers} and {ahead}")

    def work(index: int, path: Path) -> Loaded[T]:
        try:
            image = read_image(path)
        except InputError as error:
            return Loaded(index, path, (0, 0), None, error)
        return Loaded(index, path, (image.shape[1], image.shape[0]), prepare(image), None)

    pool = ThreadPoolExecutor(workers, "load")
    waiting: deque[Future[Loaded[T]]] = deque()
    try:
        for index, path in enumerate(map(Path, paths)):
            waiting.append(pool.submit(work, index, path))
            if len(waiting) >= workers + ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=True)


class Preparer:
    """Preprocesses a picture for one or several models, in whatever thread it is called from."""

    def __init__(self, specs: Sequence[InputSpec]):
        self._specs = tuple(specs)
        self._of_thread = threading.local()  # preprocessors keep buffers: each thread has its own

    def __call__(self, image: np.ndarray) -> tuple[tuple[np.ndarray, Placement], ...]:
        """For each model its input tensor, the caller's own, and where the picture lies in it.

        Args:
            image: BGR, uint8 [height, width, 3].

        Raises:
            ValueError: Not such a picture.
        """
        if not hasattr(self._of_thread, "preprocessors"):
            self._of_thread.preprocessors = [Preprocessor(spec) for spec in self._specs]
        prepared = (preprocess(image) for preprocess in self._of_thread.preprocessors)
        return tuple((tensor.copy(), placement) for tensor, placement in prepared)
