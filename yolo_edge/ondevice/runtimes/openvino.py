"""ONNX files through OpenVINO, on the CPU. The package `openvino` is optional."""

import importlib
import os
from typing import Any, Dict, Iterable, Optional, Union

import numpy as np

from yolo_edge.ondevice.errors import InputError, MissingRuntimeError
from yolo_edge.ondevice.files import PathLike, first_line
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.runtimes.onnx_file import describe, read_detector

_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # channels among the axes


def load_openvino() -> Any:
    """The module `openvino`.

    Raises:
        MissingRuntimeError: It is not installed, does not load, or is older than 2023.1.
    """
    try:
        module = importlib.import_module("openvino")
    except ImportError as error:
        # a broken installation says what it lacks
        found = "is not installed" if error.name == "openvino" else f"does not load ({first_line(error)})"
        raise MissingRuntimeError(f"openvino {found}; run: pip install openvino") from error
    if not hasattr(module, "Core"):
        raise MissingRuntimeError("this openvino is too old; run: pip install 'openvino>=2023.1'")
    return module


class OpenvinoRuntime(Runtime):
    """An ONNX file compiled by OpenVINO for the CPU."""

    name = "openvino"

    def __init__(self, model: Union[PathLike, bytes], threads: Optional[int] = None, fast: bool = False):
        """Load `model`, a path or the bytes of a file.

        Args:
            model: What to load.
            threads: For one inference; None: one a physical core.
            fast: Let floats be rounded to 16 bits where the CPU is faster with them.

        Raises:
            InputError: OpenVINO is not installed, it does not load the model, or that has not a single input.
        """
        self._where = "model" if isinstance(model, bytes) else os.fspath(model)
        openvino = load_openvino()
        self.version = str(openvino.__version__).partition("-")[0]  # behind it: the build
        data, signature = read_detector(model)
        settings: Dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            # no other runtime here ties its threads to CPUs; where that is wanted, a benchmark ties the whole process
            "ENABLE_CPU_PINNING": False,
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino.Core()
            # on ARM and AMX its own choice would be 16 bits, which find something else than the file says
            settings["INFERENCE_PRECISION_HINT"] = _narrow(core) if fast else "f32"
            network = core.read_model(model=data)
            planes = _takes_planes(network)
            # bytes are rearranged anyway, before they become floats
            self.channels_last = planes and network.inputs[0].element_type == openvino.Type.f32
            names = [info.name for info in signature.outputs]
            maps = [name for name in names if planes and _has_four_axes(network.output(name))]
            compiled = core.compile_model(_with_channels_last(network, maps, self.channels_last), "CPU", settings)
            self._request = compiled.create_infer_request()
            self._outputs = [(name, compiled.output(name), name in maps) for name in names]
        except Exception as error:  # OpenVINO raises RuntimeError and types of pybind11
            raise InputError(f"{self._where}: OpenVINO does not load it ({_complaint(error)})") from error
        self.threads = threads
        describe(self, signature)

    def run(self, tensor: np.ndarray) -> Dict[str, np.ndarray]:
        """One inference: the input tensor → output name → array.

        Raises:
            InputError: OpenVINO refuses to run the model.
        """
        if self.channels_last:
            tensor = np.ascontiguousarray(tensor.transpose(_LAST))
        try:
            found = self._request.infer({0: tensor}, share_inputs=True)
        except Exception as error:
            raise InputError(f"{self._where}: OpenVINO does not run it ({_complaint(error)})") from error
        return {name: found[port].transpose(_FIRST) if last else found[port] for name, port, last in self._outputs}


def _takes_planes(network: Any) -> bool:
    """Whether the input is [1, channels, rows, columns]."""
    shape = network.inputs[0].partial_shape
    return bool(shape.is_static and len(shape) == 4 and shape.to_shape()[1] < shape.to_shape()[3])


def _has_four_axes(port: Any) -> bool:
    rank = port.partial_shape.rank
    return bool(rank.is_static and rank.get_length() == 4)


def _with_channels_last(network: Any, maps: Iterable[str], pixels: bool) -> Any:
    """The network with maps, and the input too, as its kernels have them in memory: nothing is rearranged."""
    builder = importlib.import_module("openvino.preprocess").PrePostProcessor(network)
    layout = importlib.import_module("openvino").Layout
    for side in [*map(builder.output, maps), *([builder.input(0)] if pixels else [])]:
        side.model().set_layout(layout("NCHW"))
        side.tensor().set_layout(layout("NHWC"))
    return builder.build()


def _narrow(core: Any) -> str:
    """The floats that the CPU is fastest with, as OpenVINO tells its abilities."""
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return next((hint for name, hint in (("BF16", "bf16"), ("FP16", "f16")) if name in able), "f32")


def _complaint(error: Exception) -> str:
    """What OpenVINO says: it begins with the places in its source where the error passed."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return first_line(ValueError(said[0]) if said else error)
