"""TFLite files from outside: what they begin with, whether they hold together, and the zip behind them.

tflite-runtime 2.14 runs off into memory when a file is damaged, LiteRT takes all memory for a tensor that is too large:
what a runtime relies on is checked before it sees the file. The schema is that of tensorflow/lite/schema/schema.fbs,
the zip that of https://www.tensorflow.org/lite/models/convert/metadata.
"""

import io
import os
import zipfile
import zlib
from typing import Any, Dict, Sequence, Union

import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, reason
from yolo_edge.ondevice.flatbuffer import Schema, decode
from yolo_edge.ondevice.spec import METADATA_KEY

SPEC_FILE = "yolo_edge.spec.json"
IDENTIFIER = b"TFL3"  # bytes 4 to 8 of a file

# the tables of a model without the options of its operators; fields stand in the order of their slots
MODEL_TABLES = {
    "Model": {
        "version": "uint32",
        "operator_codes": "[OperatorCode]",
        "subgraphs": "[SubGraph]",
        "description": "string",
        "buffers": "[Buffer]",
        "metadata_buffer": "[int32]",
        "metadata": "[Metadata]",
        "signature_defs": "[SignatureDef]",
    },
    "OperatorCode": {
        "deprecated_builtin_code": "int8",
        "custom_code": "string",
        "version": "int32=1",
        "builtin_code": "int32",
    },
    "SubGraph": {
        "tensors": "[Tensor]",
        "inputs": "[int32]",
        "outputs": "[int32]",
        "operators": "[Operator]",
        "name": "string",
    },
    "Tensor": {
        "shape": "[int32]",
        "type": "int8",
        "buffer": "uint32",
        "name": "string",
        "quantization": "QuantizationParameters",
    },
    "QuantizationParameters": {
        "min": "[float32]",
        "max": "[float32]",
        "scale": "[float32]",
        "zero_point": "[int64]",
        "details": "union",
        "quantized_dimension": "int32",
    },
    "Operator": {
        "opcode_index": "uint32",
        "inputs": "[int32]",
        "outputs": "[int32]",
        "builtin_options": "union",
        "custom_options": "[uint8]",
    },
    "Buffer": {"data": "bytes16"},
    "Metadata": {"name": "string", "buffer": "uint32"},
    "SignatureDef": {
        "inputs": "[TensorMap]",
        "outputs": "[TensorMap]",
        "signature_key": "string",
        "deprecated_tag": "string",
        "subgraph_index": "uint32",
    },
    "TensorMap": {"name": "string", "tensor_index": "uint32"},
}

TENSOR_TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
TYPE_NAMES = {number: name for name, number in TENSOR_TYPES.items()}

_SCHEMA = Schema(MODEL_TABLES, {"builtin_options": {}, "details": {}})
_SIZES = {number: np.dtype(name).itemsize for name, number in TENSOR_TYPES.items()}
_INTEGERS = {TENSOR_TYPES[name]: name for name in ("int8", "uint8", "int16", "int32", "int64")}
_SCALES = (1e-30, 1e30)  # of integers; beyond them products of scales leave float32
_MAX_TENSOR_BYTES = 1 << 31
_MAX_BYTES = 1 << 24  # a spec with ten thousand class names has some 200 kB


def is_tflite(data: bytes) -> bool:
    """Whether a file with these bytes, or these first bytes, is a TFLite model."""
    return data[4:8] == IDENTIFIER


def check_model(data: Union[bytes, memoryview], where: str) -> None:
    """Check that a TFLite model holds together: that every reference leads to something, and constants have their size.

    Args:
        data: The whole file.
        where: What it is, for error messages.

    Raises:
        InputError: It does not.
    """
    try:
        model = decode(_SCHEMA, "Model", data)
        buffers = model["buffers"] or []
        for graph in model["subgraphs"] or []:
            _check_graph(graph, len(model["operator_codes"] or []), buffers)
    except ValueError as error:
        raise InputError(f"{where}: a damaged TFLite file ({error})") from error
    if not model["subgraphs"]:
        raise InputError(f"{where}: a TFLite file without a graph")


def _check_graph(graph: Dict[str, Any], codes: int, buffers: Sequence[Dict[str, Any]]) -> None:
    tensors, operators = graph["tensors"] or [], graph["operators"] or []
    for number, tensor in enumerate(tensors):
        _check_tensor(tensor, number, buffers)
    sides = [graph["inputs"], graph["outputs"]]
    for operator in operators:
        if operator["opcode_index"] >= codes:
            raise ValueError(f"operator code {operator['opcode_index']} of {codes}")
        sides += [operator["inputs"], operator["outputs"]]
    for side in sides:
        for tensor in side or []:
            if not -1 <= tensor < len(tensors):  # -1: an input that is left out
                raise ValueError(f"tensor {tensor} of {len(tensors)}")


def _check_tensor(tensor: Dict[str, Any], number: int, buffers: Sequence[Dict[str, Any]]) -> None:
    if tensor["buffer"] >= len(buffers):
        raise ValueError(f"buffer {tensor['buffer']} of {len(buffers)}")
    size = _SIZES.get(tensor["type"], 1)
    for side in tensor["shape"] or []:
        size *= side
        if not 0 <= size <= _MAX_TENSOR_BYTES:
            raise ValueError(f"tensor {number} has the shape {tensor['shape']}")
    _check_quantization(tensor, number)
    data = buffers[tensor["buffer"]]["data"]
    if data and tensor["type"] in _SIZES and len(data) != size:
        raise ValueError(f"tensor {number} of {size} bytes has {len(data)}")


def _check_quantization(tensor: Dict[str, Any], number: int) -> None:
    """Check the values: runtimes end the process on some; how many there are they check by themselves."""
    quantization = tensor["quantization"]
    if quantization is None or tensor["type"] not in _INTEGERS:
        return
    for scale in quantization["scale"] or []:
        if not _SCALES[0] <= scale <= _SCALES[1]:
            raise ValueError(f"tensor {number} has the scale {scale:g}")
    bounds = np.iinfo(_INTEGERS[tensor["type"]])
    for zero_point in quantization["zero_point"] or []:
        if not bounds.min <= zero_point <= bounds.max:
            raise ValueError(f"tensor {number} has the zero-point {zero_point}")


def read_metadata(model: Union[PathLike, bytes], where: str) -> Dict[str, str]:
    """What the zip behind a TFLite model says.

    Args:
        model: A path, or the bytes of a file.
        where: What it is, for error messages.

    Returns:
        The spec under `METADATA_KEY`; nothing where there is no zip, or no spec in it.

    Raises:
        InputError: There is a spec that cannot be read.
    """
    source = io.BytesIO(model) if isinstance(model, bytes) else os.fspath(model)
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile:
        return {}
    except OSError as error:
        raise InputError(f"{where}: {reason(error)}") from error
    try:
        with archive:
            if SPEC_FILE not in archive.namelist():
                return {}
            with archive.open(SPEC_FILE) as file:
                data = file.read(_MAX_BYTES + 1)  # whatever size the zip claims
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: {SPEC_FILE} in it cannot be read ({error})") from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{where}: {SPEC_FILE} in it is larger than {_MAX_BYTES} bytes")
    try:
        return {METADATA_KEY: data.decode()}
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {SPEC_FILE} in it is not UTF-8 ({error})") from error
