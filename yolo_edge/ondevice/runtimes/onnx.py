"""ONNX files through onnxruntime, on the CPU."""

import os
import platform
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

# its wheels report to Microsoft and leave a device id in the home folder, unless this is set before the import
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, first_line, read_bytes
from yolo_edge.ondevice.runtimes.base import Runtime, check_one_input
from yolo_edge.ondevice.runtimes.onnx_file import MAX_MODEL_BYTES, check_self_contained

CPUINFO = Path("/proc/cpuinfo")

# onnxruntime's kOrtSessionOptionsAvx2PrecisionMode; versions and builds that do not know it pass over it
_PRECISE = "session.x64quantprecision"
_VNNI = frozenset({"avx_vnni", "avx512_vnni"})  # as Linux names the instructions that add without saturating
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


def int8_saturates() -> bool:
    """Whether int8 sums can saturate in onnxruntime on this CPU: x86-64 without VNNI.

    The products of uint8 activations and int8 weights are added there in pairs by VPMADDUBSW, into 16 bits that not all
    of them fit. A CPU that does not tell what it has (macOS, Windows) counts as one without.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        with CPUINFO.open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")  # of the first CPU: all have the same
    except OSError:
        return True
    return _VNNI.isdisjoint(flags.partition(":")[2].split())


def new_session(
    model: Union[str, bytes],
    threads: Optional[int] = None,
    optimize: bool = True,
    precise: Optional[bool] = None,
    spin: bool = True,
    **settings: Any,
) -> "ort.InferenceSession":
    """A session on the CPU that logs nothing but fatal errors.

    Args:
        model: A path, or the bytes of an ONNX file.
        threads: Threads within one operator; None: onnxruntime's own choice.
        optimize: Let onnxruntime rewrite the graph.
        precise: Let it make the int8 weights uint8, whose slower kernels never saturate; None: where `int8_saturates`.
            Float models stay what they are.
        spin: Let its threads wait for the next run by spinning, which slows whatever else works in between.
        **settings: Attributes of `onnxruntime.SessionOptions`.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads:
        options.intra_op_num_threads = threads
    if int8_saturates() if precise is None else precise:
        options.add_session_config_entry(_PRECISE, "1")
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in settings.items():
        setattr(options, name, value)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxRuntime(Runtime):
    """An ONNX file loaded into onnxruntime."""

    name = "onnxruntime"
    version = ort.__version__

    def __init__(self, model: Union[PathLike, bytes], threads: Optional[int] = None, precise: Optional[bool] = None):
        """Load `model`, a path or the bytes of a file; the other arguments are those of `new_session`.

        Raises:
            InputError: Not a model that onnxruntime loads, or not one with a single image input.
        """
        where = "model" if isinstance(model, bytes) else os.fspath(model)
        check_self_contained(model, where)
        if not isinstance(model, bytes) and not _is_text(where):
            model = read_bytes(where, MAX_MODEL_BYTES)  # onnxruntime wants a name in UTF-8
        ort.set_default_logger_severity(4)
        self.precise = int8_saturates() if precise is None else precise
        try:
            self._session = new_session(model if isinstance(model, bytes) else where, threads, precise=self.precise)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise InputError(f"{where}: onnxruntime does not load it ({first_line(error)})") from error
        self.threads = threads
        inputs = self._session.get_inputs()
        check_one_input(len(inputs), where)
        self.input_name = inputs[0].name
        self.input_shape = _static_shape(inputs[0])
        self.input_dtype = _DTYPES.get(inputs[0].type, inputs[0].type)
        outputs = self._session.get_outputs()
        self.output_shapes = {output.name: _static_shape(output) for output in outputs}
        self.output_dtypes = {output.name: _DTYPES.get(output.type, output.type) for output in outputs}
        self._output_names = list(self.output_shapes)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, tensor: np.ndarray) -> Dict[str, np.ndarray]:
        """One inference: the input tensor → output name → array."""
        outputs = self._session.run(self._output_names, {self.input_name: tensor})
        return dict(zip(self._output_names, outputs))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _static_shape(value: "ort.NodeArg") -> Tuple[int, ...]:
    # unknown dimensions are texts or None in onnxruntime
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)
