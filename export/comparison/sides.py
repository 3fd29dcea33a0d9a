"""The two sides of a comparison: how each is loaded, fed, and what it detects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yolo_edge.export.comparison.match import Pair, Values, arranged, match
from yolo_edge.export.comparison.trace import Trace
from yolo_edge.export.comparison.trace_onnx import trace_graph, trace_onnx
from yolo_edge.export.comparison.trace_tflite import TfliteTrace
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.source import canonicalize
from yolo_edge.export.summary import read_spec_text
from yolo_edge.ondevice.decode import decode
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector, select
from yolo_edge.ondevice.errors import InputError, MissingSpecError
from yolo_edge.ondevice.preprocess import Placement, Preprocessor
from yolo_edge.ondevice.spec import InputSpec, ModelSpec, TensorQuantization

CONFIDENCE, IOU, MAX_DETECTIONS = 0.001, 0.6, 300  # as `validate`: the same files have the same figures
_TRIED_LAYERS = 40
_IMAGENET_MEAN, _IMAGENET_SCALE = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)


@dataclass(frozen=True)
class FloatSide:
    """The float network.

    Attributes:
        trace: Its layers.
        spec: Of its raw heads, and of its input.
        detector: What detects with it.
        notes: What a person should know.
    """

    trace: Trace
    spec: ModelSpec
    detector: Detector
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherSide:
    """The other file.

    Attributes:
        trace: Its layers.
        image: How pictures get into it.
        detector: What detects with it, where the file says how.
        notes: What a person should know.
    """

    trace: Trace
    image: InputSpec
    detector: Detector | None
    notes: tuple[str, ...] = ()


def open_trace(path: Path) -> Trace:
    """The layers of an .onnx or .tflite file.

    Raises:
        InputError: It cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix == ".tflite":
        return TfliteTrace(path)
    if suffix == ".onnx":
        return trace_onnx(path)
    raise InputError(f"{path}: expected an .onnx or .tflite file, got {path.suffix or 'no suffix'}")


def picture_size(trace: Trace, path: Path) -> tuple[int, int]:
    """Input (width, height).

    Raises:
        InputError: The input is no picture.
    """
    shape = trace.input_shape
    if len(shape) == 4 and shape[1] == 3:
        return shape[3], shape[2]
    if len(shape) == 4 and shape[3] == 3:
        return shape[2], shape[1]
    raise InputError(f"{path}: expected an input of one picture of 3 channels, got {list(shape)}")


def open_float(
    path: Path, size: tuple[int, int], weights: Path | None, names: str | None, resize: str | None
) -> FloatSide:
    """Load the float network: a .cfg, or an .onnx of ours or of another trainer, at a size; or a .tflite of ours.

    Raises:
        InputError: It cannot be used, or not at that size.
    """
    if path.suffix.lower() == ".tflite":
        detector = Detector(path, confidence=CONFIDENCE, iou=IOU, max_detections=MAX_DETECTIONS)
        image = detector.spec.input
        if (image.width, image.height) != size:
            raise InputError(f"{path}: its input is {image.width}x{image.height}, the other's {size[0]}x{size[1]}")
        return FloatSide(TfliteTrace(path), detector.spec, detector)
    source = load_model(path, weights=weights, names=names, resize=resize)
    if (source.spec.input.width, source.spec.input.height) != size:
        source = load_model(path, weights=weights, names=names, resize=resize, size=size)
    graph = canonicalize(source.graph)
    data = write_onnx(graph, source.spec)
    detector = Detector(data, confidence=CONFIDENCE, iou=IOU, max_detections=MAX_DETECTIONS)
    return FloatSide(trace_graph(expand_activations(graph)), source.spec, detector, source.notes)


def open_other(path: Path, trace: Trace, first: FloatSide, pictures: Sequence[np.ndarray]) -> OtherSide:
    """Find out how pictures get into the other file: its spec says so, or what fits the float network best.

    Args:
        path: The file.
        trace: Of it.
        first: The float network.
        pictures: BGR, uint8 [height, width, 3]; to try with.

    Raises:
        InputError: It carries a spec that does not fit it.
    """
    try:
        if path.suffix.lower() == ".tflite" or read_spec_text(path) is not None:
            detector = Detector(path, confidence=CONFIDENCE, iou=IOU, max_detections=MAX_DETECTIONS)
            return OtherSide(trace, detector.spec.input, detector)
    except MissingSpecError:
        pass
    values = [(first.trace.run(_tensor(first.spec.input, picture)), picture) for picture in pictures[:1]]
    best: tuple[float, InputSpec] | None = None
    for image in _candidates(trace, first.spec.input):
        found = [(_first(a), _first(trace.run(_tensor(image, picture)))) for a, picture in values]
        pairs = match(first.trace, trace, found)
        likeness = sum(pair.similarity for pair in pairs) / max(len(first.trace.layers), 1)
        if best is None or likeness > best[0]:
            best = (likeness, image)
    if best is None:
        raise InputError(f"{path}: an input of {trace.input_dtype} is not understood")
    image = best[1]
    scaled = "0..255" if image.scale[0] == 1 else "0..1" if not any(image.mean) else "normalised as for ImageNet"
    return OtherSide(trace, image, None, (f"{path.name} says nothing of its input: {image.color} {scaled} fits best",))


def _candidates(trace: Trace, like: InputSpec) -> list[InputSpec]:
    layout = "NCHW" if trace.input_shape[1] == 3 else "NHWC"
    plain = replace(like, layout=layout, dtype=trace.input_dtype, quantization=None)
    found = []
    for color in ("RGB", "BGR"):
        for mean, scale in (
            ((0.0,) * 3, (1 / 255,) * 3),
            ((0.0,) * 3, (1.0,) * 3),
            (_IMAGENET_MEAN, _IMAGENET_SCALE),
        ):
            image = replace(plain, color=color, mean=mean, scale=scale)
            storage = trace.input_storage
            if trace.input_dtype == "int8" and storage is not None:
                image = replace(image, quantization=TensorQuantization(storage.scale, storage.zero_point))
            found.append(image)
        if trace.input_dtype == "uint8":  # pixels are pixels
            found = [image for image in found if image.scale == (1 / 255,) * 3]
    return found if trace.input_dtype in ("float32", "uint8", "int8") else []


def _first(values: Values) -> Values:
    """Those of the first layers: colours and scales show there."""
    return dict(list(values.items())[:_TRIED_LAYERS])


def _tensor(image: InputSpec, picture: np.ndarray) -> np.ndarray:
    tensor: np.ndarray = Preprocessor(image)(picture)[0].copy()
    return tensor


class LayerDetector:
    """Detections of a file that says nothing of its outputs: its layers that are the raw heads, decoded as the float's.

    Attributes:
        missing: Raw heads without a counterpart; with any, nothing can be detected.
    """

    def __init__(self, first: FloatSide, pairs: Sequence[Pair]):
        self._spec = first.spec
        wanted = {name for head in first.spec.heads for name in head.tensors.values()}
        numbers = {layer.name: i for i, layer in enumerate(first.trace.layers) if layer.name in wanted}
        of = {pair.first: pair for pair in pairs}
        self._pairs = {name: of[i] for name, i in numbers.items() if i in of}
        self._shapes = {name: first.trace.layers[i].shape for name, i in numbers.items()}
        self.missing = sorted(wanted - set(self._pairs))

    def detect(self, values: Values, placement: Placement) -> Detections:
        """From what the layers of the other file gave."""
        outputs: Mapping[str, np.ndarray] = {
            name: np.ascontiguousarray(arranged(values[pair.second], self._shapes[name], pair.order))
            for name, pair in self._pairs.items()
        }
        boxes, scores, class_id = decode(self._spec, outputs, CONFIDENCE)
        kept = select(self._spec, boxes, scores, class_id, IOU, MAX_DETECTIONS)
        return Detections(placement.to_source(boxes[kept]), scores[kept], class_id[kept])
