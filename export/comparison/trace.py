"""A model file with its inner tensors in reach, whatever its format."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo_edge.export.channels import Layout
from yolo_edge.ondevice.runtimes.base import Runtime

CONVOLUTION, ACTIVATION, JOIN, OTHER, STORED, INPUT = "convolution", "activation", "join", "other", "stored", "input"


@dataclass(frozen=True)
class Storage:
    """How a tensor is held as integers: real = scale · (q − zero_point).

    Attributes:
        dtype: A numpy type name.
        scale: Of one step.
        zero_point: The q of 0.
    """

    dtype: str
    scale: float
    zero_point: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that it can hold."""
        info = np.iinfo(self.dtype)
        return self.scale * (int(info.min) - self.zero_point), self.scale * (int(info.max) - self.zero_point)

    def floats(self, array: np.ndarray) -> np.ndarray:
        """What integers stand for, float32."""
        result: np.ndarray = (array.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return result

    def held(self, array: np.ndarray) -> np.ndarray:
        """What is left of floats that are stored."""
        low, high = self.bounds
        result: np.ndarray = np.clip(np.rint(array / self.scale) * self.scale, low, high)
        return result


@dataclass(frozen=True)
class Weights:
    """What a convolution multiplies with.

    Attributes:
        array: float32 [out, in / groups, rows, columns], as they count.
        dtype: As the file stores them.
        scales: How many scales integers have: one, or one an output channel; 0 of floats.
    """

    array: np.ndarray
    dtype: str
    scales: int = 0


@dataclass(frozen=True)
class Layer:
    """One operator that computes, with its result.

    Attributes:
        name: Of the result.
        op: Of the operator, as the format calls it.
        kind: One of `CONVOLUTION` and the like.
        shape: Of the result, as the file has it.
        inputs: The layers that it reads, through operators that only move numbers.
        tensor: The tensor that holds the result as others see it.
        storage: How that is stored; None: as floats.
        weights: Of a convolution.
    """

    name: str
    op: str
    kind: str
    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    tensor: str
    storage: Storage | None = None
    weights: Weights | None = None


class Trace:
    """A loaded file that shows what each of its layers gives.

    It computes what the file says, operator by operator: kernels that a runtime makes of several may round otherwise.

    Attributes:
        layers: In the order of the file.
        outputs: The layers that its outputs come from.
        input_shape: Of its one input.
        input_dtype: A numpy type name.
        input_storage: What the integers of the input stand for.
        moves: How many operators only transpose.
        layouts: Tensors that have more channels than the network → where its channels are; layers show these alone.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    input_shape: tuple[int, ...]
    input_dtype: str
    input_storage: Storage | None = None
    moves: int
    layouts: Mapping[str, Layout] = {}

    def run(self, tensor: np.ndarray) -> Mapping[int, np.ndarray]:
        """Layer → what it gives as floats, of the shape that it has in the file."""
        numbers = [i for i, layer in enumerate(self.layers) if layer.kind != INPUT]
        arrays = self.compute(tensor, [self.layers[i].tensor for i in numbers])
        found = {}
        for number, array in zip(numbers, arrays, strict=True):
            storage, layout = self.layers[number].storage, self.layouts.get(self.layers[number].tensor)
            real = array if layout is None else array[:, layout.places]
            found[number] = real if storage is None else storage.floats(real)
        return found

    def compute(self, tensor: np.ndarray, names: Sequence[str]) -> Sequence[np.ndarray]:
        """Some tensors as the file has them."""
        raise NotImplementedError

    @property
    def convolutions(self) -> list[Layer]:
        """All of them."""
        return [layer for layer in self.layers if layer.kind == CONVOLUTION]

    def computes_integers(self, layer: Layer) -> bool:
        """Whether a convolution multiplies integers with integers."""
        reads = [self.layers[i] for i in layer.inputs]
        stored = layer.weights is not None and layer.weights.scales > 0
        return stored and bool(reads) and all(item.storage is not None for item in reads)


def dequantized(array: np.ndarray, scales: np.ndarray, zeros: np.ndarray, axis: int = 0) -> np.ndarray:
    """What integers stand for, float32; one scale, or one for each place along an axis."""
    sides = [-1 if i == axis else 1 for i in range(array.ndim)] if scales.size > 1 else ()
    result: np.ndarray = (array.astype(np.float32) - zeros.astype(np.float32).reshape(sides)) * scales.reshape(sides)
    return result


class Builder:
    """Collects layers while a file is read from its input to its outputs."""

    def __init__(self, kinds: Mapping[str, Collection[str]]):
        """Start; `kinds`: a kind → the operators that are of it, all others being `OTHER`."""
        self._kinds = {op: kind for kind, ops in kinds.items() for op in ops}
        self.layers: list[Layer] = []
        self.of: dict[str, int] = {}  # tensor → the layer whose result it is

    def add(self, layer: Layer) -> None:
        """A new layer."""
        self.of[layer.tensor] = len(self.layers)
        self.layers.append(layer)

    def kind(self, op: str) -> str:
        """Of an operator."""
        return self._kinds.get(op, OTHER)

    def alias(self, tensor: str, source: str) -> None:
        """A tensor that holds the same numbers as another."""
        if source in self.of:
            self.of[tensor] = self.of[source]

    def store(self, tensor: str, source: str, storage: Storage, readers: int, name: str) -> None:
        """A tensor that is rounded to integers; where nothing else reads the floats, that is what the layer gives."""
        number = self.of.get(source)
        if number is None:
            return
        layer = self.layers[number]
        if readers == 1 and layer.storage is None and layer.tensor == source:
            self.layers[number] = replace(layer, tensor=tensor, storage=storage)
            self.of[tensor] = number
            return
        self.add(Layer(name, "Quantize", STORED, layer.shape, (number,), tensor, storage))

    def inputs(self, tensors: list[str]) -> tuple[int, ...]:
        """The layers behind some tensors."""
        return tuple(dict.fromkeys(self.of[name] for name in tensors if name in self.of))


def kernel_snr(trace: Trace, runtime: Runtime, tensor: np.ndarray) -> float | None:
    """How far a runtime's own kernels are from the file's arithmetic, dB; None where outputs cannot be compared."""
    from yolo_edge.evaluation.snr import snr_db  # noqa: PLC0415

    found = list(runtime.run(tensor).values())
    values = trace.run(tensor)
    worst = None
    for number, array in zip(trace.outputs, found, strict=False):
        own = values.get(number)
        storage = trace.layers[number].storage
        real = storage.floats(array) if storage is not None and array.dtype.kind in "iu" else array
        if own is None or own.size != real.size or own.shape != real.shape:
            continue
        ratio = snr_db(own, real)
        worst = ratio if worst is None else min(worst, ratio)
    return worst
