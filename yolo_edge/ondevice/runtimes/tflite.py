"""TFLite files through LiteRT (`ai-edge-litert`), or `tflite-runtime` where there is no other; on the CPU."""

import contextlib
import importlib
import importlib.util
import os
import tempfile
import threading
from typing import Any, Dict, Iterator, Optional, Union

import numpy as np

from yolo_edge.ondevice.errors import InputError, MissingRuntimeError
from yolo_edge.ondevice.files import PathLike, check_readable, first_line, mapped, read_bytes, reason
from yolo_edge.ondevice.runtimes.base import Runtime, check_one_input
from yolo_edge.ondevice.runtimes.tflite_file import IDENTIFIER, check_model, is_tflite, read_metadata

MAX_MODEL_BYTES = 1 << 31  # what offsets in a FlatBuffer can reach
_PACKAGES = ("ai_edge_litert", "tflite_runtime")  # the first is the one that goes on
_STDERR = 2
_redirecting = threading.Lock()


def interpreter_class() -> Any:
    """The class `Interpreter` of the runtime that is installed.

    Raises:
        InputError: None is, or one that cannot work with this numpy.
    """
    return _module().Interpreter


def _version() -> str:
    """Of the package that is used."""
    package = importlib.import_module(_module().__name__.partition(".")[0])
    return str(getattr(package, "__version__", "unknown"))


def _module() -> Any:
    broken = ""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            continue
        if package == "tflite_runtime" and int(np.__version__.split(".", maxsplit=1)[0]) >= 2:
            # it imports all the same, and fails once a model is loaded
            raise MissingRuntimeError(
                f"tflite-runtime does not work with numpy {np.__version__}; "
                "run: pip install 'numpy<2', or: pip install ai-edge-litert"
            )
        try:
            return importlib.import_module(f"{package}.interpreter")
        except ImportError as error:
            broken = f"{package}, which runs TFLite files, does not load ({error})"
    raise MissingRuntimeError(
        f"{broken or 'nothing that runs TFLite files is installed'}; run: pip install ai-edge-litert "
        "(where there is none for the device: pip install tflite-runtime 'numpy<2')"
    )


def load_interpreter(model: Union[PathLike, bytes], threads: Optional[int] = None, **settings: Any) -> Any:
    """An interpreter with its tensors allocated.

    Args:
        model: A path, or the bytes of a TFLite file.
        threads: For one inference; None: one.
        **settings: Other arguments of `Interpreter`.

    Raises:
        InputError: No runtime is installed, or it does not load the model.
    """
    where = "model" if isinstance(model, bytes) else os.fspath(model)
    _check(model, where)
    interpreter = interpreter_class()
    source = {"model_content": model} if isinstance(model, bytes) else _by_name(where)
    with _without_notes(), _explained(where, "load"):
        loaded = interpreter(num_threads=threads or 1, **source, **settings)
        loaded.allocate_tensors()
    return loaded


def load_plain_interpreter(model: Union[PathLike, bytes]) -> Any:
    """An interpreter of plain kernels, without XNNPACK, that keeps what every operator gives; as `load_interpreter`."""
    resolver = _module().OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return load_interpreter(model, experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=True)


class TfliteRuntime(Runtime):
    """A TFLite file loaded into LiteRT or tflite-runtime, which run it with XNNPACK where they can."""

    name = "tflite"

    def __init__(self, model: Union[PathLike, bytes], threads: Optional[int] = None):
        """Load `model`, a path or the bytes of a file.

        Raises:
            InputError: No runtime is installed, it does not load the model, or that has not a single input.
        """
        where = "model" if isinstance(model, bytes) else os.fspath(model)
        self._where = where
        self._interpreter = load_interpreter(model, threads)
        self.threads, self.version = threads, _version()
        with _explained(where, "load"):
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        check_one_input(len(inputs), where)
        self._input = inputs[0]["index"]
        self.input_name = inputs[0]["name"]
        self.input_shape = tuple(int(size) for size in inputs[0]["shape"])
        self.input_dtype = np.dtype(inputs[0]["dtype"]).name
        self._outputs = {output["name"]: output["index"] for output in outputs}
        self.output_shapes = {output["name"]: tuple(int(size) for size in output["shape"]) for output in outputs}
        self.output_dtypes = {output["name"]: np.dtype(output["dtype"]).name for output in outputs}
        self.metadata = read_metadata(model, where)

    def run(self, tensor: np.ndarray) -> Dict[str, np.ndarray]:
        """One inference: the input tensor → output name → array.

        Raises:
            InputError: The runtime refuses to run the model.
        """
        with _explained(self._where, "run"):
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _check(model: Union[PathLike, bytes], where: str) -> None:
    if isinstance(model, bytes):
        _check_bytes(model, where)
        return
    if check_readable(model) > MAX_MODEL_BYTES:
        raise InputError(f"{where}: larger than the 2 GB of one TFLite file")
    try:
        with mapped(model) as data:
            _check_bytes(data, where)
    except OSError as error:
        raise InputError(f"{where}: {reason(error)}") from error


def _check_bytes(data: Union[bytes, memoryview], where: str) -> None:
    start = bytes(data[:8])
    if not is_tflite(start):
        raise InputError(f"{where}: not a TFLite file (its bytes 4 to 8 are {start[4:]!r}, expected {IDENTIFIER!r})")
    check_model(data, where)


def _by_name(name: str) -> Dict[str, Any]:
    try:
        name.encode()
    except UnicodeEncodeError:  # the runtime wants a name in UTF-8
        return {"model_content": read_bytes(name, MAX_MODEL_BYTES)}
    return {"model_path": name}


@contextlib.contextmanager
def _explained(where: str, what: str) -> Iterator[None]:
    """Turn what the runtime raises into an error for a person."""
    try:
        yield
    except (ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise InputError(f"{where}: the TFLite runtime does not {what} it ({first_line(error)})") from error


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Keep the notes of the C++ side ("INFO: Created ... delegate") off the terminal; anything else gets there."""
    with _redirecting, contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            saved = os.dup(_STDERR)
        except OSError:  # standard error was closed, or nothing can be written anywhere
            yield
            return
        os.dup2(file.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            file.seek(0)
            rest = b"".join(line for line in file if not line.startswith(b"INFO: "))
            if rest:
                os.write(_STDERR, rest)
