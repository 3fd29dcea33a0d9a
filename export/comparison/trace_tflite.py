"""The layers of a TFLite file, whoever wrote it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.export.comparison.trace import (
    ACTIVATION,
    CONVOLUTION,
    INPUT,
    JOIN,
    Builder,
    Layer,
    Storage,
    Trace,
    Weights,
    dequantized,
)
from yolo_edge.export.tflite.schema import SCHEMA
from yolo_edge.export.tflite.summary import operator_name
from yolo_edge.ondevice.files import read_bytes
from yolo_edge.ondevice.flatbuffer import decode
from yolo_edge.ondevice.runtimes.base import check_one_input
from yolo_edge.ondevice.runtimes.tflite import MAX_MODEL_BYTES, load_plain_interpreter
from yolo_edge.ondevice.runtimes.tflite_file import TYPE_NAMES

_MOVES = {"CAST", "DEQUANTIZE", "EXPAND_DIMS", "PAD", "PADV2", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
_KINDS = {
    CONVOLUTION: ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"),
    JOIN: ("ADD", "CONCATENATION"),
    ACTIVATION: (
        "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1",
        "SOFTMAX", "TANH",
    ),
}  # fmt: skip
_COMPUTED = ("float32", "int8", "uint8", "int16")


class TfliteTrace(Trace):
    """A TFLite file, run by the plain kernels of the runtime, without XNNPACK."""

    def __init__(self, path: Path):
        """Load a file.

        Raises:
            InputError: It cannot be read or run, or has not a single input.
        """
        self._interpreter = load_plain_interpreter(path)
        reader = _Reader(read_bytes(path, MAX_MODEL_BYTES))
        check_one_input(len(reader.inputs), str(path))
        reader.read()
        self.layers = tuple(reader.builder.layers)
        self.outputs = reader.builder.inputs([str(number) for number in reader.outputs])
        self._input = reader.inputs[0]
        self.input_shape, self.input_dtype = reader.shape(self._input), reader.dtype(self._input)
        self.input_storage = reader.storage(self._input)
        self.moves = reader.count("TRANSPOSE")

    def compute(self, tensor: np.ndarray, names: Sequence[str]) -> Sequence[np.ndarray]:
        """As of `Trace`."""
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(int(name)) for name in names]


class _Reader:
    def __init__(self, data: bytes):
        model = decode(SCHEMA, "Model", data)
        graph = model["subgraphs"][0]
        self._data, self._buffers = data, model["buffers"]
        self._codes = [operator_name(code) for code in model["operator_codes"]]
        self._tensors: list[dict[str, Any]] = graph["tensors"] or []
        self._operators: list[dict[str, Any]] = graph["operators"] or []
        self.inputs: list[int] = graph["inputs"] or []
        self.outputs: list[int] = graph["outputs"] or []
        self._readers = Counter(tensor for op in self._operators for tensor in op["inputs"] or [])
        self._readers.update(self.outputs)
        self._weights: dict[int, int] = {}  # constant in float32 → the constant that it is made of
        self.builder = Builder(_KINDS)

    def read(self) -> None:
        source = self.inputs[0]
        storage = self.storage(source)
        self.builder.add(Layer(self._name(source), "input", INPUT, self.shape(source), (), str(source), storage))
        for operator in self._operators:
            inputs, outputs = operator["inputs"] or [], operator["outputs"] or []
            op = self._codes[operator["opcode_index"]]
            if not inputs or not outputs:
                continue
            if op in ("DEQUANTIZE", "CAST") and self._constant(inputs[0]) is not None:
                self._weights[outputs[0]] = inputs[0]
                continue
            computed = [str(number) for number in inputs if str(number) in self.builder.of]
            storage = self.storage(outputs[0])
            if op == "QUANTIZE" and computed and storage is not None:
                name, readers = self._name(outputs[0]), self._readers[inputs[0]]
                self.builder.store(str(outputs[0]), computed[0], storage, readers, name)
            elif op in _MOVES:
                self.builder.alias(str(outputs[0]), computed[0] if computed else "")
            else:
                for output in outputs:
                    self._add(op, inputs, computed, output)

    def _add(self, op: str, inputs: list[int], computed: list[str], output: int) -> None:
        dtype, storage = self.dtype(output), self.storage(output)
        if not computed:
            return
        if dtype not in _COMPUTED or (dtype != "float32" and storage is None) or 0 in self.shape(output):
            self.builder.alias(str(output), computed[0])
            return
        kind = self.builder.kind(op)
        weights = self._weights_of(op, inputs) if kind == CONVOLUTION else None
        name, shape, sources = self._name(output), self.shape(output), self.builder.inputs(computed)
        self.builder.add(Layer(name, op, kind, shape, sources, str(output), storage, weights))

    def count(self, op: str) -> int:
        return sum(self._codes[operator["opcode_index"]] == op for operator in self._operators)

    def shape(self, number: int) -> tuple[int, ...]:
        return tuple(self._tensors[number]["shape"] or ())

    def dtype(self, number: int) -> str:
        return TYPE_NAMES.get(self._tensors[number]["type"], "")

    def storage(self, number: int) -> Storage | None:
        quantization = self._tensors[number]["quantization"]
        scales = (quantization or {}).get("scale") or []
        zeros = (quantization or {}).get("zero_point") or [0]
        if self.dtype(number) not in ("int8", "uint8", "int16") or len(scales) != 1:
            return None
        return Storage(self.dtype(number), float(scales[0]), int(zeros[0]))

    def _name(self, number: int) -> str:
        return self._tensors[number]["name"] or f"tensor {number}"

    def _constant(self, number: int) -> np.ndarray | None:
        if number < 0 or self.dtype(number) == "":
            return None
        place = self._buffers[self._tensors[number]["buffer"]]["data"]
        if not place:
            return None
        array = np.frombuffer(self._data[place.start : place.stop], self.dtype(number))
        return array.reshape(self.shape(number))

    def _weights_of(self, op: str, inputs: list[int]) -> Weights | None:
        number = inputs[1] if len(inputs) > 1 else -1
        number = self._weights.get(number, number)
        array = self._constant(number)
        if array is None or array.ndim != 4:
            return None
        quantization = self._tensors[number]["quantization"] or {}
        scales = np.array(quantization.get("scale") or [], np.float32)
        real = array.astype(np.float32)
        if array.dtype.kind in "iu" and scales.size:
            zeros = np.array(quantization.get("zero_point") or [0] * scales.size, np.float32)
            axis = quantization.get("quantized_dimension") or 0
            real = dequantized(array, scales, zeros, axis)
        order = (3, 0, 1, 2) if op == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
        return Weights(real.transpose(order), array.dtype.name, int(scales.size) if array.dtype.kind in "iu" else 0)
