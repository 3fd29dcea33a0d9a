"""A TFLite model in the making: tensors, operators and buffers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_edge.export.tflite.operators import BUILTIN_OPERATORS, OPERATORS
from yolo_edge.ondevice.runtimes.tflite_file import TENSOR_TYPES, TYPE_NAMES

CUSTOM = "CUSTOM"
SIGNATURE = "serving_default"

_FIRST_RUNTIME = _CUSTOM_RUNTIME = "1.5.0"
_SMALL_BYTES = 4096
_VERSION_BYTES = 16  # of the buffer that holds `min_runtime_version`


def identity(array: np.ndarray) -> tuple[object, ...]:
    """A key that is equal for small arrays that are equal, and for views of the same large one."""
    small = array.nbytes <= _SMALL_BYTES
    memory = (array.tobytes(),) if small else (array.__array_interface__["data"][0], array.strides)
    return (array.dtype.str, array.shape, *memory)


@dataclass(frozen=True)
class Quantization:
    """What the integers of a tensor stand for.

    Attributes:
        scale: Of the whole tensor, or of each of its channels.
        zero_point: As many.
        axis: Of the channels.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0

    @property
    def table(self) -> dict[str, Any]:
        """The fields of `QuantizationParameters`."""
        return {"scale": self.scale, "zero_point": self.zero_point, "quantized_dimension": self.axis}


class Assembly:
    """Collects a model of one subgraph; `tables` gives what `flatbuffer.encode` takes.

    Constants that are equal are stored once (`identity`).
    """

    def __init__(self) -> None:
        self._tensors: list[dict[str, Any]] = []
        self._quantizations: list[Quantization | None] = []
        self._operators: list[dict[str, Any]] = []
        self._buffers: list[dict[str, Any]] = [{}]  # the first is empty by definition
        self._codes: dict[tuple[str, int], int] = {}
        self._constants: dict[tuple[object, ...], int] = {}
        self._runtimes: set[str] = set()

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str = "float32", quantization: Quantization | None = None
    ) -> int:
        """Add a tensor that is computed.

        Args:
            name: Of the tensor.
            shape: As it is stored.
            dtype: A numpy type name.
            quantization: What integers stand for.

        Returns:
            Its number.
        """
        tensor: dict[str, Any] = {"shape": list(shape), "type": TENSOR_TYPES[dtype], "name": name}
        if quantization is not None:
            tensor["quantization"] = quantization.table
        self._quantizations.append(quantization)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, array: np.ndarray, quantization: Quantization | None = None) -> int:
        """Add a tensor that holds `array`, or find one that does; the array may be a view of any strides."""
        key = (*identity(array), quantization)
        if key not in self._constants:
            number = self.tensor(name, array.shape, array.dtype.name, quantization)
            self._tensors[number]["buffer"] = self._buffer(array)
            self._constants[key] = number
        return self._constants[key]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor, as it is stored."""
        return tuple(self._tensors[tensor]["shape"])

    def dtype(self, tensor: int) -> str:
        """The numpy type name of a tensor."""
        return TYPE_NAMES[self._tensors[tensor]["type"]]

    def quantization(self, tensor: int) -> Quantization | None:
        """What the integers of a tensor stand for; None: they are no such, or floats."""
        return self._quantizations[tensor]

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor another name."""
        self._tensors[tensor]["name"] = name

    def operator(
        self, op: str, inputs: Sequence[int], outputs: Sequence[int], version: int = 1, **options: object
    ) -> None:
        """Add a builtin operator.

        Args:
            op: Of `OPERATORS`.
            inputs: Numbers of tensors.
            outputs: Numbers of tensors.
            version: Of the operator.
            **options: Fields of its options.
        """
        table, runtimes = OPERATORS[op]
        self._runtimes.add(runtimes[version])
        operator: dict[str, Any] = {"opcode_index": self._code(op, version), "inputs": inputs, "outputs": outputs}
        if table is not None:
            operator["builtin_options"] = (table, options)
        self._operators.append(operator)

    def custom_operator(self, op: str, inputs: Sequence[int], outputs: Sequence[int], options: bytes) -> None:
        """Add an operator that runtimes know by its name; `options` is a FlexBuffer."""
        self._runtimes.add(_CUSTOM_RUNTIME)
        operator = {"opcode_index": self._code(op, 1), "inputs": inputs, "outputs": outputs}
        self._operators.append({**operator, "custom_options": np.frombuffer(options, np.uint8)})

    def tables(
        self, inputs: Sequence[int], outputs: Sequence[int], description: str, metadata: Mapping[str, bytes]
    ) -> dict[str, Any]:
        """The table `Model` of the whole.

        Args:
            inputs: Numbers of tensors; their names are those of the signature.
            outputs: As `inputs`.
            description: Of the model.
            metadata: Name → contents; `min_runtime_version` comes along.
        """
        oldest = max(self._runtimes, key=lambda text: [int(part) for part in text.split(".")], default=_FIRST_RUNTIME)
        versions = {"min_runtime_version": oldest.encode().ljust(_VERSION_BYTES, b"\0")}
        entries = [
            {"name": name, "buffer": self._buffer(np.frombuffer(data, np.uint8))}
            for name, data in {**versions, **metadata}.items()
        ]
        named = [[{"name": self._tensors[i]["name"], "tensor_index": i} for i in side] for side in (inputs, outputs)]
        graph = {"tensors": self._tensors, "inputs": inputs, "outputs": outputs, "operators": self._operators}
        return {
            "version": 3,
            "operator_codes": [self._code_table(*key) for key in self._codes],
            "subgraphs": [{**graph, "name": "main"}],
            "description": description,
            "buffers": self._buffers,
            "metadata": entries,
            "signature_defs": [{"inputs": named[0], "outputs": named[1], "signature_key": SIGNATURE}],
        }

    def _buffer(self, array: np.ndarray) -> int:
        self._buffers.append({"data": array})
        return len(self._buffers) - 1

    def _code(self, op: str, version: int) -> int:
        return self._codes.setdefault((op, version), len(self._codes))

    @staticmethod
    def _code_table(op: str, version: int) -> dict[str, Any]:
        builtin = op in OPERATORS
        number = BUILTIN_OPERATORS.index(op if builtin else CUSTOM)
        # readers of before 2.4 know only the old field, which holds 127 at most
        code = {"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": version}
        return code if builtin else {**code, "custom_code": op}
