"""A line of JSON for each frame, for the next program of a pipe."""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from yolo_edge.demo.inference import Model, Result, above
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.files import reason

_WAITING = 64  # lines


class Lines:
    """Writes to a stream in a thread of its own, so that a slow reader slows nothing else."""

    def __init__(self, stream: TextIO, note: Callable[[str], None]):
        """Start the thread.

        Args:
            stream: Where lines go.
            note: Is told when the reader goes away.

        Attributes:
            closed: No more lines are taken: the reader went away, or they cannot be written.
        """
        self.closed = threading.Event()
        self._problem: str | None = None
        self._stream, self._note = stream, note
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name="jsonl", daemon=True)
        self._thread.start()

    def offer(self, text: str, timeout: float) -> bool:
        """Have lines written; False where there was no room for them within so many seconds."""
        try:
            self._waiting.put(text, timeout=timeout)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what waits and end the thread; a reader that takes nothing for two seconds is given up.

        Raises:
            YoloEdgeError: Lines could not be written, as to a full disk.
        """
        with suppress(queue.Full):
            self._waiting.put(None, timeout=0 if self.closed.is_set() else 2)
            self._thread.join(2)
        if self._problem is not None:
            raise YoloEdgeError(self._problem)

    def _run(self) -> None:
        try:
            while (text := self._waiting.get()) is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                self._problem = f"the lines of --jsonl cannot be written ({reason(error)})"
            self.closed.set()
            self._note(self._problem or "the reader of --jsonl went away")
            # what is left in the buffer has nowhere to go, also at exit
            if self._stream is sys.stdout:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class JsonLines:
    """A line for each frame and each model that ran."""

    def __init__(
        self,
        stream: TextIO,
        models: Sequence[Model],
        *,
        confidence: float,
        every_frame: bool,
        note: Callable[[str], None],
    ):
        """Begin.

        Args:
            stream: Where lines go.
            models: The loaded ones.
            confidence: What is at or below is left out.
            every_frame: Wait for a slow reader; otherwise frames are left out.
            note: Is told when the reader goes away.

        Attributes:
            left_out: Frames that a slow reader did not get.
            closed: No more lines are taken: the reader went away, or they cannot be written.
        """
        self.left_out = 0
        self._writer = Lines(stream, note)
        self.closed = self._writer.closed
        self._models, self._confidence, self._every_frame = models, confidence, every_frame

    def __call__(self, result: Result) -> None:
        """Have a frame written."""
        height, width = result.frame.image.shape[:2]
        found = [
            {
                "frame": result.frame.number,
                "time": round(time.time() - (time.monotonic() - result.frame.captured), 3),
                "model": self._models[item.model].name,
                "width": width,
                "height": height,
                "latency_ms": round(result.latency_ms, 2),
                "detections": above(item.detections, self._confidence).to_dicts(
                    self._models[item.model].detector.spec.names
                ),
            }
            for item in result.found
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found)
        while not self.closed.is_set():
            if self._writer.offer(text, 0.2 if self._every_frame else 0):
                return
            if not self._every_frame:
                self.left_out += 1
                return

    def hurry(self) -> None:
        """Wait for nobody any more."""
        self._every_frame = False

    def close(self) -> None:
        """Write what waits; a reader that takes nothing for two seconds is given up.

        Raises:
            YoloEdgeError: Lines could not be written, as to a full disk.
        """
        self._writer.close()
