"""Detecting in a few pictures with one model: the unit that accuracy work is divided into, wherever it runs.

Requests and answers are bytes (msgpack), so that processes and clusters pass them on without knowing what they hold,
and a folder keeps what is done.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from yolo_edge._version import __version__
from yolo_edge.datasets.dataset import MAX_SIDE
from yolo_edge.evaluation.boxes import Found
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import read_bytes
from yolo_edge.ondevice.images import MAX_BYTES, decode_image

CHUNK = 16  # pictures: half a second of work, and some MB where they travel

Side = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIDE)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to do; the model and the pictures go beside it.

    Attributes:
        version: Of this program: another one may find something else.
        sha256: Of the model file.
        pictures: What they are called.
        confidence: Of the detector.
        iou: Of the detector.
        max_detections: Of the detector.
        runtime: "auto" or the name of one.
        fast: Of the detector.
    """

    version: str = __version__
    sha256: str
    pictures: tuple[str, ...]
    confidence: float
    iou: float
    max_detections: int
    runtime: str = "auto"
    fast: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        errors: One entry a picture: why it cannot be used, or None.
        sizes: Width and height of each; 0 with an error.
        counts: Detections of each.
        milliseconds: Of each inference; 0 with an error.
        xyxy: float32 [detections, 4]; like the others little-endian.
        confidence: float32 [detections].
        class_id: int32 [detections].
    """

    errors: tuple[str | None, ...]
    sizes: tuple[tuple[Side, Side], ...]
    counts: tuple[Count, ...]
    milliseconds: tuple[float, ...]
    xyxy: bytes
    confidence: bytes
    class_id: bytes

    def detections(self) -> list[Detections]:
        """One entry a picture.

        Raises:
            ValueError: The parts do not fit together.
        """
        number = len(self.errors)
        if not len(self.sizes) == len(self.counts) == len(self.milliseconds) == number:
            raise ValueError(f"expected {number} pictures in all parts")
        xyxy = np.frombuffer(self.xyxy, "<f4").reshape(-1, 4)
        confidence, class_id = np.frombuffer(self.confidence, "<f4"), np.frombuffer(self.class_id, "<i4")
        if not len(xyxy) == len(confidence) == len(class_id) == sum(self.counts):
            raise ValueError(f"expected {sum(self.counts)} detections in all parts")
        ends = np.cumsum(self.counts)
        return [
            Detections(xyxy[start:end], confidence[start:end], class_id[start:end].astype(np.int64))
            for start, end in zip(ends - np.array(self.counts), ends, strict=True)
        ]


def encode(value: Request | Answer) -> bytes:
    """As bytes."""
    return msgspec.msgpack.encode(value)


def decode_answer(data: bytes, pictures: int) -> Answer:
    """The answer for so many pictures.

    Raises:
        ValueError: The bytes are none, or one for another number of pictures.
    """
    try:
        answer = msgspec.msgpack.decode(data, type=Answer)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an answer ({error})") from error
    if len(answer.errors) != pictures:
        raise ValueError(f"an answer for {len(answer.errors)} pictures, expected {pictures}")
    answer.detections()
    return answer


_of_thread = threading.local()  # the last model: chunks of one follow each other; a detector is for one thread


def detect_chunk(request: bytes, model: str | bytes, pictures: Sequence[str | bytes]) -> bytes:
    """Detect in some pictures.

    Args:
        request: A `Request`.
        model: A path, or the bytes of the file.
        pictures: Paths, or the bytes of the files; in the order of the request.

    Returns:
        An `Answer`. A picture that cannot be read has its error there.

    Raises:
        InputError: The model cannot be used.
        YoloEdgeError: Another version was asked for.
    """
    what = msgspec.msgpack.decode(request, type=Request)
    if what.version != __version__:
        raise YoloEdgeError(f"the worker has yolo-edge {__version__}, expected {what.version}: install the same there")
    detector = _detector(what, model)
    errors: list[str | None] = []
    sizes, milliseconds, found = [], [], []
    for name, picture in zip(what.pictures, pictures, strict=True):
        try:
            image = decode_image(picture if isinstance(picture, bytes) else read_bytes(picture, MAX_BYTES), name)
        except InputError as error:
            errors.append(str(error))
            sizes.append((0, 0))
            milliseconds.append(0.0)
            found.append(Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)))
            continue
        tensor, placement = detector.preprocess(image)
        start = time.perf_counter()
        outputs = detector.runtime.run(tensor)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        found.append(detector.postprocess(outputs, placement))
        errors.append(None)
        sizes.append((image.shape[1], image.shape[0]))
    every = Found.of_detections(found)
    answer = Answer(
        errors=tuple(errors),
        sizes=tuple(sizes),
        counts=tuple(map(len, found)),
        milliseconds=tuple(milliseconds),
        xyxy=every.xyxy.astype("<f4").tobytes(),
        confidence=every.confidence.astype("<f4").tobytes(),
        class_id=every.class_id.astype("<i4").tobytes(),
    )
    return encode(answer)


def _detector(what: Request, model: str | bytes) -> Detector:
    key = (what.sha256, what.runtime, what.fast)
    if getattr(_of_thread, "key", None) != key:
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        if hashlib.sha256(data).hexdigest() != what.sha256:
            raise InputError(f"the model file changed: expected one with the SHA-256 {what.sha256[:12]}…")
        # one thread: there are as many workers as processors
        _of_thread.detector = Detector(model, threads=1, runtime=what.runtime, fast=what.fast)
        _of_thread.key = key
    detector: Detector = _of_thread.detector
    detector.confidence, detector.iou, detector.max_detections = what.confidence, what.iou, what.max_detections
    return detector
