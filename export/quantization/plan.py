"""`QuantizationPlan`: every decision that makes an int8 file out of a float network, as one table.

A plan and the float network give the integers (`apply`), with no pictures: both writers obey the same plan, and a plan
can be kept, edited and given back. real = scale · (q − zero_point), q in −128..127; ONNX files hold q + 128.
"""

import base64
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable, read_text

LOWEST, HIGHEST = -128, 127
MAX_WEIGHT = 127  # symmetric: -128 is not used
_MAX_BYTES = 1 << 28

Precision = Literal["int8", "float"]
# the product of two of them is a float32
Positive = Annotated[float, msgspec.Meta(ge=1e-15, le=1e15)]


class TensorPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a computed tensor is stored.

    Attributes:
        scale: Of one step.
        zero_point: The q of 0.
    """

    scale: Positive
    zero_point: Annotated[int, msgspec.Meta(ge=LOWEST, le=HIGHEST)]

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that it can hold."""
        return self.scale * (LOWEST - self.zero_point), self.scale * (HIGHEST - self.zero_point)

    @classmethod
    def of_range(cls, low: float, high: float) -> "TensorPlan":
        """The finest steps that reach from `low` to `high`, which is widened to hold 0 exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max((high - low) / (HIGHEST - LOWEST), 1e-12)))
        return cls(scale, min(max(round(LOWEST - low / scale), LOWEST), HIGHEST))

    @classmethod
    def of_constant(cls, array: np.ndarray) -> "TensorPlan":
        """How a constant operand is stored."""
        return cls.of_range(float(array.min()), float(array.max()))

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """The integers of an array, int8; halves to even, as runtimes do."""
        return (self._steps(x) + self.zero_point).astype(np.int8)

    def stored(self, x: np.ndarray) -> np.ndarray:
        """What is left of an array that is stored as integers, of its type."""
        result = self._steps(x)
        result *= np.float32(self.scale)
        return result

    def _steps(self, x: np.ndarray) -> np.ndarray:
        """How many steps an array is away from 0."""
        result: np.ndarray = np.asarray(x * (1 / x.dtype.type(self.scale)))
        np.rint(result, out=result)
        # not np.clip: a search for a range comes here some 100 000 times with small arrays, which it is slow for
        np.maximum(result, LOWEST - self.zero_point, out=result)
        np.minimum(result, HIGHEST - self.zero_point, out=result)
        return result


class NodePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a node computes.

    Attributes:
        precision: "int8" or "float".
        reason: Why float.
    """

    precision: Precision
    reason: str = ""


class ConvolutionPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of the weights [out, in / groups, rows, columns] and the bias of a convolution.

    W' = W · output_factor[o] · input_factor[i], b' = b · output_factor + bias_shift; q = round(W' / weight_scale).

    Attributes:
        weight_scale: Of each output channel.
        output_factor: Of each output channel; none: 1.
        input_factor: Of each input channel, over all groups; none: 1.
        bias_shift: Of each output channel; none: 0.
        weights: The integers themselves where they are not the nearest: base64 of zlib of int8, in the order of W.
    """

    weight_scale: tuple[Positive, ...]
    output_factor: tuple[float, ...] = ()
    input_factor: tuple[float, ...] = ()
    bias_shift: tuple[float, ...] = ()
    weights: str = ""


class HeadPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a raw head is had from its integers: channel c is factor[c] · real + offset[c].

    Attributes:
        factor: Of each channel.
        offset: Of each channel.
    """

    factor: tuple[float, ...]
    offset: tuple[float, ...]


class QuantizationPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an int8 file is, whatever its format.

    Attributes:
        version: Of this form: 1.
        recipe: The passes that made it, for people.
        tensors: Computed tensor → its scale and zero-point. Tensors that only float nodes touch have none.
        nodes: Node → int8 or float. Activations that convolutions apply along are not among them.
        convolutions: Node → its weights; those that compute in float too, as far as their weights change.
        heads: Raw head → how it is had, where its channels have ranges of their own.
    """

    version: Literal[1] = 1
    recipe: str = ""
    tensors: dict[str, TensorPlan] = {}
    nodes: dict[str, NodePlan] = {}
    convolutions: dict[str, ConvolutionPlan] = {}
    heads: dict[str, HeadPlan] = {}

    def to_json(self) -> bytes:
        """Indented JSON; equal plans give equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str, where: str = "plan") -> "QuantizationPlan":
        """Parse a plan.

        Args:
            text: The JSON document.
            where: What it was read from, for error messages.

        Raises:
            InputError: Not a plan of version 1.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{where}: not a quantization plan ({printable(str(error))})") from error


def read_plan(path: Path) -> QuantizationPlan:
    """Read a plan that was kept.

    Raises:
        InputError: It cannot be read, or is no plan.
    """
    return QuantizationPlan.from_json(read_text(path, _MAX_BYTES, "a plan is JSON"), str(path))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a plan."""
    return msgspec.json.schema(QuantizationPlan)


def encode_weights(integers: np.ndarray) -> str:
    """For `ConvolutionPlan.weights`."""
    return base64.b64encode(zlib.compress(integers.astype(np.int8).tobytes(), 9)).decode()


def decode_weights(text: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The integers of `ConvolutionPlan.weights`, int8 of `shape`.

    Raises:
        InputError: They are not of that shape, or damaged.
    """
    size = int(np.prod(shape))
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error) as error:
        raise InputError(f"{where}: damaged weights ({error})") from error
    if len(data) != size:
        raise InputError(f"{where}: expected {size} weights, got {'more' if len(data) > size else len(data)}")
    integers = np.frombuffer(data, np.int8).reshape(shape)
    if integers.min(initial=0) < -MAX_WEIGHT:
        raise InputError(f"{where}: expected weights of -{MAX_WEIGHT}..{MAX_WEIGHT}, got {integers.min()}")
    return integers
