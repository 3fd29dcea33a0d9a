"""What a TFLite file consists of, for people who look into one; also into files that others wrote."""

import math
from pathlib import Path
from typing import Any

from yolo_edge.export.summary import Layer, Summary
from yolo_edge.export.tflite.operators import BUILTIN_OPERATORS
from yolo_edge.export.tflite.schema import ACTIVATION, SCHEMA
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import check_readable, mapped
from yolo_edge.ondevice.flatbuffer import decode
from yolo_edge.ondevice.runtimes.tflite_file import check_model, is_tflite

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_ACTIVATIONS = {"HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "TANH"}
_FUSED = {number: name for name, number in ACTIVATION.items() if number}


def summarize_tflite(path: Path) -> Summary:
    """List the operators of a TFLite file; an activation right behind one counts as part of it.

    Raises:
        InputError: It is not a TFLite file, or a damaged one.
    """
    check_readable(path)
    with mapped(path) as data:
        if not is_tflite(bytes(data[:8])):
            raise InputError(f"{path}: not a TFLite file that can be read")
        check_model(data, str(path))
        model = decode(SCHEMA, "Model", data)
    file = _File(model)
    layers = tuple(file.layer(operator) for operator in file.operators if file.computes(operator))
    return Summary(layers, sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers))


class _File:
    def __init__(self, model: dict[str, Any]):
        graph = model["subgraphs"][0]
        self._codes: list[str] = [operator_name(code) for code in model["operator_codes"]]
        self._buffers = model["buffers"]
        self._tensors = graph["tensors"] or []
        self.operators = graph["operators"] or []
        self._producers = {tensor: op for op in self.operators for tensor in op["outputs"] or []}
        self._users: dict[int, list[dict[str, Any]]] = {tensor: [] for tensor in graph["outputs"] or []}
        for op in self.operators:
            for tensor in op["inputs"] or []:
                self._users.setdefault(tensor, []).append(op)
        self._outputs = set(graph["outputs"] or [])

    def computes(self, operator: dict[str, Any]) -> bool:
        """Whether an operator is a layer of its own: neither a conversion of weights nor part of the one before."""
        inputs = operator["inputs"] or []
        if self._constant(inputs[0] if inputs else -1):
            return False
        before = self._producers.get(inputs[0]) if inputs else None
        return before is None or self._activation_behind(before) is not operator

    def layer(self, operator: dict[str, Any]) -> Layer:
        """The operator with the activation behind it."""
        name = self._code(operator)
        options: dict[str, Any] = (operator["builtin_options"] or ("", {}))[1]
        behind = self._activation_behind(operator)
        last = operator if behind is None else behind
        output = self._tensor(next(iter(last["outputs"] or []), -1))
        activation = self._code(behind) if behind else _FUSED.get(options.get("fused_activation_function", 0), "")
        weight = self._shape(operator, 1) if name in _WEIGHTED else ()
        parameters = macs = 0
        if weight:
            parameters = sum(math.prod(self._shape(operator, i)) for i in (1, 2) if self._shape(operator, i))
            results = math.prod(output["shape"] or [])
            macs = results * math.prod(weight[1:3] if name == "DEPTHWISE_CONV_2D" else weight[1:])
        shape = tuple(output["shape"] or ())
        return Layer(output["name"] or "", _kind(name, options, weight), activation, shape, parameters, macs)

    def _activation_behind(self, operator: dict[str, Any]) -> dict[str, Any] | None:
        outputs = operator["outputs"] or []
        if len(outputs) != 1 or outputs[0] in self._outputs or self._code(operator) in _ACTIVATIONS:
            return None
        users = self._users.get(outputs[0], [])
        return users[0] if len(users) == 1 and self._code(users[0]) in _ACTIVATIONS else None

    def _code(self, operator: dict[str, Any]) -> str:
        index: int = operator["opcode_index"]
        return self._codes[index]

    def _tensor(self, number: int) -> dict[str, Any]:
        return self._tensors[number] if number >= 0 else {"shape": None, "name": None, "buffer": 0}

    def _constant(self, number: int) -> bool:
        return bool(self._buffers[self._tensor(number)["buffer"]]["data"])

    def _shape(self, operator: dict[str, Any], place: int) -> tuple[int, ...]:
        inputs = operator["inputs"] or []
        return tuple(self._tensor(inputs[place])["shape"] or ()) if place < len(inputs) else ()


def operator_name(code: dict[str, Any]) -> str:
    """The name of an operator code, as `flatbuffer.decode` gives it."""
    if code["custom_code"]:
        return str(code["custom_code"])
    # files from before 2.4 have only the old field
    number = max(code["builtin_code"], code["deprecated_builtin_code"])
    return BUILTIN_OPERATORS[number] if 0 <= number < len(BUILTIN_OPERATORS) else f"operator {number}"


def _kind(name: str, options: dict[str, Any], weight: tuple[int, ...]) -> str:
    kernel = weight[1:3] if len(weight) == 4 else (options.get("filter_height", 0), options.get("filter_width", 0))
    strides = dict.fromkeys([options.get("stride_h", 1), options.get("stride_w", 1)])
    text = f"{name} {kernel[0]}x{kernel[1]}" if kernel[0] else name
    return text if set(strides) == {1} else f"{text}/{'x'.join(map(str, strides))}"
