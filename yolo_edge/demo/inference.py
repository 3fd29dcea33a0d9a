"""The thread that runs the models on the pictures of a reader."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from yolo_edge.demo.reader import Frame, Reader
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.ondevice.files import first_line

SIDE_BY_SIDE = 2  # models that run at a time, at most
_POLL_S = 0.2
_RATE_OVER = 2.0  # seconds that frames a second are counted over


@dataclass(frozen=True)
class Found:
    """What one model found in a frame.

    Attributes:
        model: Its number.
        detections: All above the floor, by falling confidence.
        preprocess_ms, inference_ms, postprocess_ms: How long each took.
    """

    model: int
    detections: Detections
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float


@dataclass(frozen=True)
class Result:
    """A frame, and what is in it.

    Attributes:
        frame: The picture.
        found: One for each model that ran; what actions go by is the first.
        waited_ms: From the capture until the first model began.
        latency_ms: From the capture until all boxes were there.
    """

    frame: Frame
    found: tuple[Found, ...]
    waited_ms: float
    latency_ms: float


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        name: Its file's name, or as much of the path as tells it from the others.
        detector: With the floor as its confidence.
        classes: Ids of the classes that count; None: all do.
    """

    name: str
    detector: Detector
    classes: frozenset[int] | None = None


Sink = Callable[[Result], None]


def above(detections: Detections, confidence: float) -> Detections:
    """Those of falling confidence that are above it."""
    return _pick(detections, slice(int(np.count_nonzero(detections.confidence > confidence))))


def _pick(detections: Detections, which: slice | np.ndarray) -> Detections:
    return Detections(detections.xyxy[which], detections.confidence[which], detections.class_id[which])


class Inference:
    """Runs the chosen models on each frame and hands the results to sinks, in order.

    Attributes:
        frames: How many were worked on.
        error: What ended it, other than the end of the source.
        done: Set when there are no more frames, or `stop` was called.
    """

    def __init__(self, reader: Reader, models: Sequence[Model], sinks: Sequence[Sink], lost: Callable[[], None]):
        """Nothing runs yet.

        Args:
            reader: Where frames come from.
            models: Loaded ones; the first runs until `choose` says otherwise.
            sinks: Are called with each result by this thread, so they return soon.
            lost: Is called by this thread when the source is lost, again and again until it is back.
        """
        self.models = models
        self.frames = 0
        self.error: YoloEdgeError | None = None
        self.done = threading.Event()
        self._reader, self._sinks, self._lost = reader, sinks, lost
        self._chosen: tuple[int, ...] = (0,)
        self._finished: deque[float] = deque(maxlen=1000)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def chosen(self) -> tuple[int, ...]:
        """Numbers of the models that run."""
        return self._chosen

    def choose(self, numbers: Sequence[int]) -> None:
        """Run these models from the next frame on.

        Raises:
            ValueError: None, too many, twice the same, or one that there is not.
        """
        if not 1 <= len(numbers) <= SIDE_BY_SIDE or len(set(numbers)) != len(numbers):
            raise ValueError(f"expected one to {SIDE_BY_SIDE} different models, got {list(numbers)}")
        if not all(0 <= number < len(self.models) for number in numbers):
            raise ValueError(f"expected numbers below {len(self.models)}, got {list(numbers)}")
        self._chosen = tuple(numbers)

    def fps(self) -> float:
        """Frames a second, over the last two seconds."""
        now = time.monotonic()
        recent = [moment for moment in list(self._finished) if now - moment < _RATE_OVER]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the frame that it works on."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._reader.next(_POLL_S)
                if frame is not None:
                    self._work(frame)
                elif self._reader.ended:
                    self.error = self._reader.error
                    return
                elif self._reader.lost is not None:
                    self._lost()
        except YoloEdgeError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a runtime's own types: the job ends with one line
            self.error = YoloEdgeError(f"the model failed ({type(error).__name__}: {first_line(error)})")
        finally:
            self.done.set()

    def _work(self, frame: Frame) -> None:
        begun = time.monotonic()
        found = tuple(self._detect(number, frame) for number in self._chosen)
        now = time.monotonic()
        self._finished.append(now)
        result = Result(frame, found, 1e3 * (begun - frame.captured), 1e3 * (now - frame.captured))
        for sink in self._sinks:
            sink(result)
        self.frames += 1

    def _detect(self, number: int, frame: Frame) -> Found:
        model = self.models[number]
        detector = model.detector
        start = time.perf_counter()
        tensor, placement = detector.preprocess(frame.image)
        ready = time.perf_counter()
        outputs = detector.runtime.run(tensor)
        ran = time.perf_counter()
        detections = detector.postprocess(outputs, placement)
        if model.classes is not None:
            detections = _pick(detections, np.isin(detections.class_id, list(model.classes)))
        stamps = (start, ready, ran, time.perf_counter())
        times = [1e3 * (after - before) for before, after in pairwise(stamps)]
        return Found(number, detections, *times)
