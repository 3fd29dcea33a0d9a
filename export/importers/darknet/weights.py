"""darknet weights: a header of version numbers, then float32 after float32 in the order of the layers.

The header is three int32 (major, minor, revision) and the number of images seen: int64 from version 0.2 on, int32
before, so 20 or 16 bytes (`load_weights_upto` in darknet's src/parser.c).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_readable
from yolo_edge.ondevice.runtimes.foreign import kind_of

# pjreddie's and OpenCV's; AlexeyAB's fused inference adds 1e-5
BATCH_NORM_EPSILON = 1e-6


class WeightSource(Protocol):
    """Where layers take their parameters from, one after another."""

    def take(self, shape: Sequence[int], where: str) -> np.ndarray:
        """The next parameters.

        Args:
            shape: Of the array.
            where: Whose they are, for error messages ("layer 3 [convolutional] biases").

        Returns:
            float32 of that shape.
        """


class NoWeights:
    """Stands in where only shapes matter: zeros that take no memory."""

    def take(self, shape: Sequence[int], where: str) -> np.ndarray:
        """Zeros of the shape."""
        return np.broadcast_to(np.float32(0), tuple(shape))


class WeightsFile:
    """A weights file, memory-mapped.

    A file that is too short gives zeros, so that `finish` can say how many parameters the network has.
    """

    def __init__(self, path: Path):
        """Read the header of `path`.

        Raises:
            InputError: It cannot be read, or is no weights file.
        """
        self.path = path
        size = check_readable(path)
        with path.open("rb") as file:
            start = file.read(32)
        kind = kind_of(start)
        if kind is not None:
            raise InputError(f"{path}: not darknet weights (it looks like {kind})")
        if size < 16:
            raise InputError(f"{path}: not darknet weights ({size} bytes, the header alone has 16)")
        major, minor, _ = (int(number) for number in np.frombuffer(start[:12], "<i4"))
        if not (0 <= major < 10 and 0 <= minor < 100):
            raise InputError(
                f"{path}: not darknet weights (the header says version {major}.{minor}, darknet's are 0.1 and 0.2)"
            )
        self._header = 20 if major * 10 + minor >= 2 else 16
        self._bytes = size - self._header
        count = max(self._bytes, 0) // 4
        self._floats = (
            np.memmap(path, "<f4", "r", offset=self._header, shape=(count,)) if count else np.empty(0, np.float32)
        )
        self._taken = 0
        self._arrays: list[tuple[str, np.ndarray]] = []

    def take(self, shape: Sequence[int], where: str) -> np.ndarray:
        """The next parameters: a view of the file."""
        count = math.prod(shape)
        start, self._taken = self._taken, self._taken + count
        if self._taken > len(self._floats):
            return np.broadcast_to(np.float32(0), tuple(shape))
        array = self._floats[start : self._taken].reshape(tuple(shape))
        self._arrays.append((where, array))
        return array

    def finish(self, cfg: Path) -> None:
        """Check that the file is exactly what the network needs, and holds numbers.

        Raises:
            InputError: It is shorter or longer, with both numbers; or a parameter is NaN, infinite or a variance below
                zero, with its layer.
        """
        needed = 4 * self._taken
        if needed != self._bytes:
            word = "short" if needed > self._bytes else "long"
            raise InputError(
                f"{self.path}: too {word} for {cfg.name}: the network has {self._taken} parameters "
                f"({needed + self._header} bytes with the header), the file has {self._bytes + self._header} bytes"
            )
        for where, array in self._arrays:
            if not np.isfinite(array).all():
                raise InputError(f"{self.path}: {where}: NaN or infinity; the file is damaged")
            # real files hold variances a hair below zero
            if where.endswith("variance") and array.min() <= -BATCH_NORM_EPSILON:
                raise InputError(
                    f"{self.path}: {where}: {array.min():g} is below zero; the file is damaged or of another network"
                )
