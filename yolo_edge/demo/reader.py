"""A thread that reads a source: the newest picture of a live one, every picture of a file."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from yolo_edge.demo.sources import Source, SourceError
from yolo_edge.ondevice.errors import YoloEdgeError

# between two tries to reach a lost source: short enough for one that is there again to be back within five seconds
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
_JOIN_S = 15.0  # OpenCV waits up to ten for a camera that hangs


@dataclass(frozen=True)
class Frame:
    """A picture to work on.

    Attributes:
        number: From 0, of the pictures that were read; live sources skip those that nobody took.
        image: BGR, uint8 [height, width, 3]; not to be written to.
        captured: When it was taken, `time.monotonic` seconds.
    """

    number: int
    image: np.ndarray
    captured: float


class Reader:
    """Reads ahead by one picture. Of a live source a newer one takes its place; of a file it waits to be taken.

    Attributes:
        lost: Why there are no pictures, while a live source is away; None: it is there.
        skipped: Pictures of a live source that nobody took.
        error: What ended it, other than the end of the file.
    """

    def __init__(self, source: Source, *, loop: bool, note: Callable[[str], None]):
        """Open the source, so that one that is not there is noticed at once.

        Args:
            source: What to read; it belongs to the reader from now on.
            loop: Begin a file again at its end.
            note: Is told what happens to the source.

        Raises:
            YoloEdgeError: It cannot be opened.
        """
        source.open()
        self.source = source
        self.lost: str | None = None
        self.skipped = 0
        self.error: YoloEdgeError | None = None
        self._pace: float | None = None
        self._loop, self._note = loop, note
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._frame: Frame | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self, fps: float | None = None) -> None:
        """Begin to read: at most so many pictures a second of a file; None: as fast as they are taken."""
        self._pace = None if fps is None or self.source.live else 1 / fps
        self._thread.start()

    def next(self, timeout: float) -> Frame | None:
        """The next picture; None where none came in `timeout` seconds, or where there are no more (`ended`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended, timeout)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    @property
    def ended(self) -> bool:
        """There are no more pictures to take."""
        with self._changed:
            return self._ended and self._frame is None

    def stop(self) -> None:
        """End the thread and close the source."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        else:
            self.source.close()

    def _run(self) -> None:
        try:
            number, due = 0, time.monotonic()
            while not self._stop.is_set():
                taken = self.source.read() or self._again()
                if taken is None:
                    return
                if self._pace is not None:
                    # what came late is not made up for by haste
                    due = max(due, time.monotonic() - self._pace)
                    if self._stop.wait(max(due - time.monotonic(), 0)):
                        return
                    due += self._pace
                    taken = (taken[0], time.monotonic())
                self._hand_over(Frame(number, *taken))
                number += 1
        except YoloEdgeError as error:
            self.error = error
        finally:
            self.source.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            if self.source.live:
                self.skipped += self._frame is not None
            else:
                self._changed.wait_for(lambda: self._frame is None or self._stop.is_set())
            self._frame = frame
            self._changed.notify_all()

    def _again(self) -> tuple[np.ndarray, float] | None:
        """The first picture after the end of a file, or after a live source is back."""
        if not self.source.live:
            if not self._loop:
                return None
            self.source.open()
            return self.source.read()
        since, pause = time.monotonic(), _FIRST_PAUSE_S
        self.lost = "it gives no more pictures"
        self._note(f"{self.source.name} is lost; trying to reach it again")
        self.source.close()
        while not self._stop.wait(pause):
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            try:
                self.source.open()
                taken = self.source.read()
            except SourceError as error:
                self.lost = str(error)
                continue
            if taken is not None:
                self.lost = None
                self._note(f"{self.source.name} is back after {time.monotonic() - since:.0f} s")
                return taken
            self.source.close()
        return None
