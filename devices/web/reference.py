"""What this machine computes of a model, for a page to be compared with: a browser can be wrong, and fast at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_edge.devices.device import DeviceError
from yolo_edge.evaluation.boxes import Found
from yolo_edge.evaluation.overlap import shared_overlaps
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.ondevice.agent.worker import made_up_input, synthetic_picture
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Placement
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.base import Runtime
from yolo_edge.ondevice.spec import ModelSpec

_DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")


@dataclass(frozen=True)
class Compared:
    """Outputs of a page beside those of this machine.

    Attributes:
        detections: That the page's outputs hold; None: the model has no spec.
        agreement: See `yolo_edge.benchmarks.results.Cell`.
        snr_db: The same.
    """

    detections: int | None
    agreement: float | None
    snr_db: float | None


class Reference:
    """A model on this machine, with one input and what came out.

    Attributes:
        path: Of the file.
        tensor: The input.
        input_name: Of the input.
        outputs: Name → array.
        picture: (width, height) of the picture; None: the model has no spec, the input is made up.
    """

    def __init__(self, path: Path, spec: str | None, image: str | None):
        """Run it once.

        Args:
            path: Of the file.
            spec: The JSON of its spec; None: it has none.
            image: A picture; None: the synthetic one.

        Raises:
            InputError: The model or the picture cannot be used.
        """
        self.path = path
        self._detector: Detector | None = None
        self._placement: Placement | None = None
        self.picture: tuple[int, int] | None = None
        runtime: Runtime
        if spec is None:
            runtime = open_runtime(str(path), "onnxruntime")
            self.tensor = made_up_input(runtime, str(path))
        else:
            pixels = synthetic_picture() if image is None else read_image(Path(image))
            self._detector = Detector(path, ModelSpec.from_json(spec, f"{path}: spec"), runtime="onnxruntime")
            runtime = self._detector.runtime
            tensor, self._placement = self._detector.preprocess(pixels)
            self.tensor, self.picture = tensor.copy(), (pixels.shape[1], pixels.shape[0])
        self._fixed = {name: shape for name, shape in runtime.output_shapes.items() if min(shape, default=1) >= 1}
        self.input_name = runtime.input_name
        self.outputs = runtime.run(self.tensor)
        self._expected = self._detect(self.outputs)

    @property
    def output_bytes(self) -> int:
        """Of all outputs together."""
        return sum(array.nbytes for array in self.outputs.values())

    def compare(self, outputs: Mapping[str, np.ndarray]) -> Compared:
        """Compare outputs of the same input.

        Raises:
            DeviceError: They are not those of the model.
        """
        expected = {name: array.dtype for name, array in self.outputs.items()}
        if {name: array.dtype for name, array in outputs.items()} != expected:
            raise DeviceError(f"{self.path}: the page gives other outputs than the model has: {sorted(outputs)[:5]}")
        for name, shape in self._fixed.items():
            given = outputs[name].shape
            if given != shape:
                raise DeviceError(f"{self.path}: the page gives {name} as {list(given)}, not {list(shape)}")
        snr = None
        if all(outputs[name].shape == array.shape for name, array in self.outputs.items()):
            both = [
                np.concatenate([one[name].reshape(-1).astype(np.float64) for name in expected])
                for one in (self.outputs, outputs)
            ]
            snr = snr_db(both[0], both[1])
        found = self._detect(outputs)
        if found is None or self._expected is None:
            return Compared(None, None, snr)
        pair = [Found.of_detections([one]) for one in (self._expected, found)]
        return Compared(len(found), float(shared_overlaps(pair[0], pair[1])[0]), snr)

    def _detect(self, outputs: Mapping[str, np.ndarray]) -> Detections | None:
        if self._detector is None or self._placement is None:
            return None
        return self._detector.postprocess(outputs, self._placement)


def read_outputs(described: Any, payload: bytes) -> dict[str, np.ndarray]:
    """Outputs as a page sends them.

    Args:
        described: A list of `name`, `type` and `dims`, in the order of their bytes.
        payload: Their bytes, one after the other, little-endian.

    Raises:
        ValueError: They are none.
    """
    found: dict[str, np.ndarray] = {}
    position = 0
    if not isinstance(described, list):
        raise ValueError("no list of outputs")
    for item in described:
        name, kind, dims = item["name"], item["type"], item["dims"]
        if kind not in _DTYPES or not _are_sides(dims) or not isinstance(name, str):
            raise ValueError(f"an output that is none: {str(item)[:100]}")
        dtype = np.dtype(kind).newbyteorder("<")
        size = int(np.prod(dims, dtype=object)) * dtype.itemsize
        part = payload[position : position + size]
        if len(part) != size:
            raise ValueError("outputs that are cut")
        found[name] = np.frombuffer(part, dtype).reshape(dims)
        position += size
    if position != len(payload):
        raise ValueError("more bytes than outputs")
    return found


def _are_sides(dims: Any) -> bool:
    return (
        isinstance(dims, Sequence)
        and len(dims) <= 8
        and all(type(side) is int and 0 <= side < 1 << 31 for side in dims)
    )
