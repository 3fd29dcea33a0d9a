"""Runtimes: what executes a model file. Each is one module here, imported only when it is used."""

from pathlib import Path
from typing import Optional, Union

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.runtimes.tflite_file import is_tflite

# suffix → what runs such files; the first is "auto"
BY_SUFFIX = {".onnx": ("onnxruntime", "openvino", "opencv"), ".tflite": ("tflite",)}
RUNTIMES = ("auto", *(name for names in BY_SUFFIX.values() for name in names))


Model = Union[PathLike, bytes]


def open_runtime(model: Model, runtime: str = "auto", threads: Optional[int] = None, fast: bool = False) -> Runtime:
    """Load a model into a runtime.

    Args:
        model: A path, or the bytes of a file.
        runtime: One of `RUNTIMES`; "auto" goes by the file's suffix.
        threads: Threads for one inference; None: the runtime's own choice (one a physical core in onnxruntime and
            OpenVINO, one in TFLite, OpenCV's number in OpenCV).
        fast: The runtime's fastest kernels, also where they are not exact: int8 sums that saturate in onnxruntime, on
            x86-64 without VNNI; floats of 16 bits in OpenVINO, where the CPU has them.

    Raises:
        MissingRuntimeError: The runtime is not installed.
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
    if suffix not in BY_SUFFIX:
        raise InputError(f"{where}: expected an .onnx or .tflite file, got {suffix or 'no suffix'}")
    names = BY_SUFFIX[suffix]
    if runtime not in ("auto", *names):
        verb = "does" if len(names) == 1 else "do"
        raise InputError(f"{where}: runtime {runtime} does not run {suffix} files, {', '.join(names)} {verb}")
    return _LOADERS[names[0] if runtime == "auto" else runtime](model, threads, fast)


# a runtime is imported when it is used


def _load_onnxruntime(model: Model, threads: Optional[int], fast: bool) -> Runtime:
    from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime  # noqa: PLC0415

    return OnnxRuntime(model, threads, precise=False if fast else None)


def _load_openvino(model: Model, threads: Optional[int], fast: bool) -> Runtime:
    from yolo_edge.ondevice.runtimes.openvino import OpenvinoRuntime  # noqa: PLC0415

    return OpenvinoRuntime(model, threads, fast)


def _load_opencv(model: Model, threads: Optional[int], fast: bool) -> Runtime:
    from yolo_edge.ondevice.runtimes.opencv_dnn import OpencvRuntime  # noqa: PLC0415

    return OpencvRuntime(model, threads)


def _load_tflite(model: Model, threads: Optional[int], fast: bool) -> Runtime:
    from yolo_edge.ondevice.runtimes.tflite import TfliteRuntime  # noqa: PLC0415

    return TfliteRuntime(model, threads)


_LOADERS = {
    "onnxruntime": _load_onnxruntime,
    "openvino": _load_openvino,
    "opencv": _load_opencv,
    "tflite": _load_tflite,
}


def check_runtime(suffix: str) -> None:
    """Check that what runs files of this suffix is installed and works.

    Raises:
        InputError: It is not; the message says what to install.
    """
    if suffix == ".tflite":
        from yolo_edge.ondevice.runtimes.tflite import interpreter_class  # noqa: PLC0415

        interpreter_class()
