"""yolo-edge: a trained YOLO on an edge device.

`import yolo_edge` loads no runtime and no onnx; the names below load what they need when they are first used.
"""

from typing import TYPE_CHECKING, Any, List

from yolo_edge._version import __version__

if TYPE_CHECKING:
    from yolo_edge.ondevice.detections import Detections
    from yolo_edge.ondevice.detector import Detector
    from yolo_edge.ondevice.errors import InputError, SpecError, YoloEdgeError
    from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

__all__ = [
    "Detections",
    "Detector",
    "Head",
    "InputError",
    "InputSpec",
    "ModelSpec",
    "SpecError",
    "YoloEdgeError",
    "__version__",
]

_HOMES = {
    "Detections": "detections",
    "Detector": "detector",
    "Head": "spec",
    "InputError": "errors",
    "InputSpec": "spec",
    "ModelSpec": "spec",
    "SpecError": "errors",
    "YoloEdgeError": "errors",
}


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})  # completion shows what is not loaded yet


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'yolo_edge' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only needed here

    return getattr(importlib.import_module(f"yolo_edge.ondevice.{_HOMES[name]}"), name)
