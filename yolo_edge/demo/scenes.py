"""The sample model's scenes as a moving source, so that a demo runs where there is no camera."""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from yolo_edge.demo.sources import Taken
from yolo_edge.sample.scenes import Scene, scene

SIZE = (640, 480)
FPS = 15.0
EACH = 60  # pictures of one scene

_LATE_S = 0.5  # from when on what was missed is not made up for


class Scenes:
    """One scene after the other, each looked at by a hand that is not quite steady; attributes as in `Source`."""

    live = True

    def __init__(self, seed: int = 0):
        """Nothing is drawn yet; the same seed gives the same pictures, on one version of OpenCV."""
        self.name = "scenes"
        self.fps: float | None = FPS
        self.frames: int | None = None
        self._seed = seed
        self._number, self._due = 0, 0.0
        self._pool: ThreadPoolExecutor | None = None
        self._coming: Future[Scene] | None = None
        self._image = np.empty((0, 0, 3), np.uint8)

    def open(self) -> None:
        """Begin, or begin again.

        Raises:
            InputError: This OpenCV cannot draw them.
        """
        self.close()
        self._number, self._due = 0, time.monotonic()
        self._image = scene(self._seed, 0).image
        self._pool = ThreadPoolExecutor(1, "scenes")
        self._coming = self._pool.submit(scene, self._seed, 1)

    def read(self) -> Taken | None:
        """The next picture, at its time."""
        if self._pool is None or self._coming is None:
            return None
        which, step = divmod(self._number, EACH)
        if which and step == 0:
            self._image = self._coming.result().image
            self._coming = self._pool.submit(scene, self._seed, which + 1)
        image = _moved(self._image, step / EACH)
        now = time.monotonic()
        self._due = max(self._due + 1 / FPS, now - _LATE_S)
        time.sleep(max(self._due - now, 0))
        self._number += 1
        return image, time.monotonic()

    def close(self) -> None:
        """Let it go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _moved(image: np.ndarray, moment: float) -> np.ndarray:
    """A scene as it is seen at a moment, 0..1: nearer, aside and turned by a little, and back."""
    turn = 2 * math.pi * moment
    height, width = image.shape[:2]
    cover = max(SIZE[0] / width, SIZE[1] / height) * (1.1 + 0.06 * math.sin(turn))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 2.5 * math.sin(2 * turn), cover)
    # what the picture is larger than the view is the room to move in
    matrix[0, 2] += (SIZE[0] - width) / 2 + 0.35 * (cover * width - SIZE[0]) * math.cos(turn)
    matrix[1, 2] += (SIZE[1] - height) / 2 + 0.35 * (cover * height - SIZE[1]) * math.sin(turn)
    return np.asarray(cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
