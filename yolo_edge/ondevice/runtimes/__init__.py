"""Runtimes: what executes a model file. Each is one module here, imported only when it is used."""

from pathlib import Path
from typing import Optional, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.runtimes.base import Runtime

RUNTIMES = ("auto", "onnxruntime")


def open_runtime(model: Union[PathLike, bytes], runtime: str = "auto", threads: Optional[int] = None) -> Runtime:
    """Load a model into a runtime.

    Args:
        model: A path, or the bytes of an ONNX file.
        runtime: One of `RUNTIMES`; "auto" goes by the file's suffix.
        threads: Threads for one inference; None leaves it to the runtime (one a physical core).

    Raises:
        InputError: An unknown runtime, or a file that cannot be loaded.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r} is not known; there are {', '.join(RUNTIMES)}")
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads: expected 1..1024, got {threads}")
    if not isinstance(model, bytes):
        suffix = Path(model).suffix.lower()
        if suffix != ".onnx":
            raise InputError(f"{model}: expected an .onnx file, got {suffix or 'no suffix'}")
    from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime  # noqa: PLC0415 - a runtime is imported when it is used

    return OnnxRuntime(model, threads)
