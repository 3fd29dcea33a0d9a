"""A video with boxes drawn, at the speed of the source."""

import os
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_edge.demo.inference import Model, Result, above
from yolo_edge.ondevice.draw import draw
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import check_output_folder, reason

CODECS = {".avi": "MJPG", ".mkv": "mp4v", ".mp4": "mp4v"}  # that every build of OpenCV's FFmpeg writes

_WAITING = 4  # frames
_FREE_BYTES, _CHECK_EVERY = 64 << 20, 100  # room that is left on a disk; frames between two looks at it
_MEASURED_S = 1.0  # of a live source, before its speed is known
_USUAL_FPS, _FASTEST, _MOST_REPEATS = 25.0, 60.0, 600


def check_video(path: Path) -> None:
    """Check the value of `--save`.

    Raises:
        InputError: No such video can be written there.
    """
    if path.suffix.lower() not in CODECS:
        raise InputError(f"--save {path}: expected {', '.join(CODECS)}, got {path.suffix or 'no suffix'}")
    if path.is_dir():
        raise InputError(f"--save {path}: is a folder, expected a file")
    check_output_folder(path.parent)


class Recorder:
    """Writes results into a video, in a thread of its own.

    A file is recorded frame by frame, at its own frame rate. A live source is recorded in real time: its frame rate is
    that of the first second's results, which is not in the video; frames are repeated or left out later on so that a
    minute stays a minute.

    Attributes:
        written: Frames in the video.
        left_out: Frames of a live source that came faster than they could be written.
        problem: Why recording ended early; None: it did not.
    """

    def __init__(
        self,
        path: Path,
        models: Sequence[Model],
        *,
        confidence: float,
        live: bool,
        fps: float | None,
        note: Callable[[str], None],
    ):
        """Start the thread; the file is made with the first frame.

        Args:
            path: Where it goes, once it is complete: .mp4, .mkv or .avi.
            models: The loaded ones.
            confidence: What is at or below is not drawn.
            live: Record in real time.
            fps: Of a file.
            note: Is told when recording ends early.

        Raises:
            InputError: No such video can be written there.
        """
        check_video(path)
        self.path = path
        self.written = self.left_out = 0
        self.problem: str | None = None
        # the suffix decides what is written
        self._temporary = path.with_name(f".{path.stem[:100]}.{os.getpid()}.tmp{path.suffix}")
        self._models, self._confidence, self._note = models, confidence, note
        self._live, self._fps = live, fps
        self._first, self._seen, self._rated = 0.0, 0, False
        self._writer: Any = None
        self._last: np.ndarray | None = None
        self._size = (0, 0)
        self._results: queue.Queue[Result | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def __call__(self, result: Result) -> None:
        """Have a frame recorded; of a file every one is, whatever time that takes."""
        while self.problem is None:
            try:
                self._results.put(result, timeout=0 if self._live else 0.2)
            except queue.Full:
                if not self._live:
                    continue
                self.left_out += 1
            return

    def close(self) -> None:
        """Write what waits, complete the file and put it in its place.

        Raises:
            YoloEdgeError: There is no video, or not all of it.
        """
        while self._thread.is_alive():
            try:
                self._results.put(None, timeout=0.2)
                break
            except queue.Full:
                continue
        self._thread.join()
        try:
            self._complete()
        except OSError as error:
            raise YoloEdgeError(f"{self.path}: cannot be written ({reason(error)})") from error
        finally:
            self._temporary.unlink(missing_ok=True)
        if self.problem is not None:
            raise YoloEdgeError(f"{self.path}: {self.problem}")

    def _run(self) -> None:
        try:
            while (result := self._results.get()) is not None:
                self._record(result)
        except Exception as error:  # noqa: BLE001 - of whatever type: results wait for this thread
            self.problem = str(error) if isinstance(error, YoloEdgeError) else f"not written ({error})"
            self._note(f"{self.path}: recording ended: {self.problem}")
        finally:
            if self._writer is not None:
                self._writer.release()

    def _record(self, result: Result) -> None:
        captured = result.frame.captured
        if self._live and not self._speed_is_known(captured):
            return
        image = self._draw(result)
        if self._writer is None:
            self._open(image)
            self._first = captured
        image = self._fitted(image)
        times = 1
        if self._live:
            due = int((captured - self._first) * (self._fps or _USUAL_FPS)) + 1
            times = min(max(due - self.written, 0), _MOST_REPEATS)
        for left in reversed(range(times)):
            # what was seen until now stays in the picture for as long as it was
            self._writer.write(self._last if left and self._last is not None else image)
            self.written += 1
            if self.written % _CHECK_EVERY == 0 and shutil.disk_usage(self.path.parent).free < _FREE_BYTES:
                raise YoloEdgeError(f"less than {_FREE_BYTES >> 20} MB are left on the disk")
        self._last = image

    def _speed_is_known(self, captured: float) -> bool:
        """Whether the first second of a live source is over, in which its frame rate is found out."""
        if self._rated:
            return True
        if self._seen == 0:
            self._first = captured
        passed = captured - self._first
        self._rated = passed >= _MEASURED_S
        if self._rated:
            # what the models keep up with, not what the camera could give
            self._fps = min(max(self._seen / passed, 1.0), _FASTEST)
        self._seen += 1
        return False

    def _draw(self, result: Result) -> np.ndarray:
        found = result.found[0]
        names = self._models[found.model].detector.spec.names
        return draw(result.frame.image, above(found.detections, self._confidence), names)

    def _open(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        self._size = (width & ~1, height & ~1)
        if min(self._size) < 2:
            raise YoloEdgeError(f"frames of {width}x{height} are too small for a video")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fps = self._fps or _USUAL_FPS
        codec = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary.absolute()), cv2.CAP_FFMPEG, codec, fps, self._size)
        if not self._writer.isOpened():
            raise YoloEdgeError("OpenCV cannot write a video there")

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """The picture at the size of the video, with borders where its form is another."""
        width, height = self._size
        if image.shape[0] & ~1 == height and image.shape[1] & ~1 == width:
            return image[:height, :width]
        ratio = min(width / image.shape[1], height / image.shape[0])
        inner = (max(round(image.shape[1] * ratio), 1), max(round(image.shape[0] * ratio), 1))
        canvas = np.zeros((height, width, 3), np.uint8)
        x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
        return canvas

    def _complete(self) -> None:
        if self.written == 0:
            self.problem = self.problem or "nothing was recorded"
            return
        # OpenCV's writer says nothing of a full disk
        check = cv2.VideoCapture(str(self._temporary.absolute()), cv2.CAP_FFMPEG)
        there = check.read()[0]
        check.release()
        if not there:
            self.problem = self.problem or "the video was not written whole: is the disk full?"
            return
        self._temporary.replace(self.path)
