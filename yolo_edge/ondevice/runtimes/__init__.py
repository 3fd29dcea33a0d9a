"""Runtimes: what executes a model file. Each is one module here, imported only when it is used."""

from pathlib import Path
from typing import Optional, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.runtimes.tflite_file import is_tflite

# by the suffix of the files that each runs
_BY_SUFFIX = {".onnx": "onnxruntime", ".tflite": "tflite"}
RUNTIMES = ("auto", *_BY_SUFFIX.values())


def open_runtime(
    model: Union[PathLike, bytes], runtime: str = "auto", threads: Optional[int] = None, fast: bool = False
) -> Runtime:
    """Load a model into a runtime.

    Args:
        model: A path, or the bytes of a file.
        runtime: One of `RUNTIMES`; "auto" goes by the file's suffix.
        threads: Threads for one inference; None: the runtime's own choice (one a physical core in onnxruntime,
            one in TFLite).
        fast: Let int8 sums saturate where onnxruntime's fastest kernels do: on x86-64 without VNNI.

    Raises:
        InputError: An unknown runtime, one that does not run such files, or a file that cannot be loaded.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r} is not known; there are {', '.join(RUNTIMES)}")
    if threads is not None and not 1 <= threads <= 1024:
        raise InputError(f"threads: expected 1..1024, got {threads}")
    if isinstance(model, bytes):
        where, suffix = "model", ".tflite" if is_tflite(model) else ".onnx"
    else:
        where, suffix = str(model), Path(model).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise InputError(f"{where}: expected an .onnx or .tflite file, got {suffix or 'no suffix'}")
    if runtime not in ("auto", _BY_SUFFIX[suffix]):
        raise InputError(f"{where}: runtime {runtime} does not run {suffix} files, {_BY_SUFFIX[suffix]} does")
    # a runtime is imported when it is used
    if suffix == ".tflite":
        from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime  # noqa: PLC0415

        return TfliteRuntime(model, threads)
    from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime  # noqa: PLC0415

    return OnnxRuntime(model, threads, precise=False if fast else None)


def check_runtime(suffix: str) -> None:
    """Check that what runs files of this suffix is installed and works.

    Raises:
        InputError: It is not; the message says what to install.
    """
    if suffix == ".tflite":
        from yolo_edge.ondevice.runtimes.tflite import interpreter_class  # noqa: PLC0415

        interpreter_class()
