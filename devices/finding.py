"""Objects found in pictures by detectors that run on a device."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from yolo_edge.datasets.search import Searched
from yolo_edge.devices.agents import AgentError, AgentProcess
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import check_options
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.images import read_image, read_picture
from yolo_edge.ondevice.spec import ModelSpec

_OPEN_SECONDS, _FIND_SECONDS = 900.0, 300.0
_AHEAD = 2  # pictures that are on their way, or wait there

_Index = Annotated[int, msgspec.Meta(ge=0)]


@dataclass
class FarDetector:
    """A model and the settings to run it with on a device; the settings are those of `Detector`.

    Attributes:
        model: The file, on this machine.
        spec: Its spec.
        threads: For one inference; None leaves it to the runtime.
        runtime: "auto" or the name of one.
        fast: As of `open_runtime`.
        options: All but model and spec, as the agent takes them.
    """

    model: Path
    spec: ModelSpec
    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300
    agnostic: bool = False
    threads: int | None = None
    runtime: str = "auto"
    fast: bool = False
    options: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_options(self.confidence, self.iou, self.max_detections)
        names = ("confidence", "iou", "max_detections", "agnostic", "threads", "runtime", "fast")
        self.options = {name: getattr(self, name) for name in names}


class _Found(msgspec.Struct):
    xyxy: list[tuple[float, float, float, float]]
    confidence: list[float]
    class_id: list[_Index]
    inference_ms: float


class _Answer(msgspec.Struct):
    size: tuple[_Index, _Index]
    found: list[_Found]


def search_there(
    agent: AgentProcess, detectors: Sequence[FarDetector], paths: Sequence[Path], *, images: bool = False
) -> Iterator[Searched]:
    """Find objects in pictures with each detector, all on the device: decoding and preprocessing, too.

    Args:
        agent: On the device; the detectors are opened in it.
        detectors: With the settings to use.
        paths: The pictures, on this machine.
        images: Give the pictures too, decoded here.

    Raises:
        InputError: A model cannot be used there.
        YoloEdgeError: The device is gone, or answers something else.
    """
    for detector in detectors:
        agent.ask(
            "open", _OPEN_SECONDS, model=str(detector.model), spec=detector.spec.to_json(), options=detector.options
        )
    return _search(agent, detectors, paths, images)


def _search(
    agent: AgentProcess, detectors: Sequence[FarDetector], paths: Sequence[Path], images: bool
) -> Iterator[Searched]:
    unread: dict[int, InputError] = {}
    sent: deque[int] = deque()

    def requests() -> Iterator[tuple[dict[str, object], bytes]]:
        for index, path in enumerate(paths):
            try:
                data = read_picture(path)
            except InputError as error:
                unread[index] = error
                continue
            sent.append(index)
            yield {"name": str(path)}, data

    done = 0
    for answer in agent.ask_in_turn("find", _FIND_SECONDS, requests(), _AHEAD):
        index = sent.popleft()
        for i in range(done, index):
            yield Searched(i, paths[i], (0, 0), (), (), error=unread[i])
        yield _searched(index, paths[index], answer, detectors, images)
        done = index + 1
    for i in range(done, len(paths)):
        yield Searched(i, paths[i], (0, 0), (), (), error=unread[i])


def _searched(
    index: int, path: Path, answer: dict[str, Any] | YoloEdgeError, detectors: Sequence[FarDetector], images: bool
) -> Searched:
    if isinstance(answer, InputError):
        return Searched(index, path, (0, 0), (), (), error=answer)
    if isinstance(answer, YoloEdgeError):
        raise answer
    try:
        parsed = msgspec.convert(answer, _Answer)
        found = tuple(
            _detections(item, len(detector.spec.names)) for item, detector in zip(parsed.found, detectors, strict=True)
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise AgentError(f"{path}: the device answers something else than detections ({error})") from error
    image = read_image(path) if images else None
    return Searched(index, path, parsed.size, found, tuple(item.inference_ms for item in parsed.found), image)


def _detections(item: _Found, classes: int) -> Detections:
    """Raise ValueError where they are none of a model with so many classes."""
    found = Detections(
        np.array(item.xyxy, np.float32).reshape(-1, 4),
        np.array(item.confidence, np.float32),
        np.array(item.class_id, np.int64),
    )
    if not len(found.xyxy) == len(found.confidence) == len(found.class_id):
        raise ValueError("lists of different lengths")
    if not (np.isfinite(found.xyxy).all() and np.isfinite(found.confidence).all()):
        raise ValueError("numbers that are none")
    if (found.class_id >= classes).any():
        raise ValueError(f"a class beyond the {classes} of the model")
    return found
