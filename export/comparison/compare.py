"""`compare`: a float network and another file of it, layer by layer and picture by picture."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.datasets import Dataset, Preparer, load_images, match_classes
from yolo_edge.evaluation import (
    LABEL_CONFIDENCE,
    METRICS,
    Found,
    Truth,
    average_precision_50,
    evaluate,
    shared_overlaps,
)
from yolo_edge.export.comparison.explain import explain
from yolo_edge.export.comparison.match import Pair, Values, match
from yolo_edge.export.comparison.measure import Measurement
from yolo_edge.export.comparison.result import Comparison, FileResult, PictureResult
from yolo_edge.export.comparison.sides import (
    FloatSide,
    LayerDetector,
    OtherSide,
    open_float,
    open_other,
    open_trace,
    picture_size,
)
from yolo_edge.export.comparison.trace import CONVOLUTION, INPUT, Trace, kernel_snr
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Placement

MATCH_IMAGES = 2
WORST_IMAGES = 8
_LEAST_MATCHED = 0.25  # of the convolutions


@dataclass(frozen=True)
class Compared:
    """A comparison, with what a page shows beside it.

    Attributes:
        result: The comparison.
        names: Class names.
        order: The layers as the float file has them: their places in `result.layers`.
        worst: The files of `result.pictures`, and what both show there.
    """

    result: Comparison
    names: tuple[str, ...]
    order: tuple[int, ...]
    worst: tuple[tuple[Path, Detections, Detections], ...]


def compare(
    first: Path,
    second: Path,
    paths: Sequence[Path],
    *,
    dataset: Dataset | None = None,
    layer_images: int = 8,
    weights: Path | None = None,
    names: str | None = None,
    resize: str | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Compared:
    """Compare two files of one network.

    Args:
        first: The float network: .cfg, .onnx, or a .tflite of ours.
        second: Any .onnx or .tflite of it.
        paths: Pictures; the first ones are for the layers, too.
        dataset: Their labels: the pictures of `paths`, in that order; None: without.
        layer_images: How many pictures the layers are compared on.
        weights: Of a .cfg.
        names: As of `load_model`.
        resize: As of `load_model`.
        progress: Told what is done next.

    Raises:
        InputError: A file or a picture cannot be used, or no layer of one is in the other.
    """
    if not paths:
        raise InputError("a comparison needs pictures, got none")
    progress("loading both files")
    trace = open_trace(second)
    size = picture_size(trace, second)
    one = open_float(first, size, weights, names, resize)
    other = open_other(second, trace, one, [read_image(path) for path in paths[:1]])
    progress("matching layers")
    prepare = Preparer([one.spec.input, other.image])
    sample = [_values(one, other, item.get()) for item in load_images(paths[:MATCH_IMAGES], prepare)]
    pairs = match(one.trace, trace, sample)
    matched = {pair.first for pair in pairs}
    convolutions = [i for i, layer in enumerate(one.trace.layers) if layer.kind == CONVOLUTION]
    known = [i for i in convolutions if i in matched]
    if len(known) < _LEAST_MATCHED * len(convolutions):
        raise InputError(
            f"{second}: only {len(known)} of {len(convolutions)} convolutions of {first} are in it: are these files of "
            "one network?"
        )
    roles = {name: role for head in one.spec.heads for role, name in head.tensors.items()}
    measurement = Measurement(one.trace, trace, pairs, sample, roles, other.detector is not None)
    for number, item in enumerate(load_images(paths[:layer_images], prepare), 1):
        progress(f"comparing layers, picture {number}")
        measurement.add(*_values(one, other, item.get()))
    layers = measurement.results()
    kernels = None
    if other.detector is not None:
        _, (tensor, _) = next(iter(load_images(paths[:1], prepare))).get()
        kernels = kernel_snr(trace, other.detector.runtime, tensor)
    shown = _Detections(one, other, pairs)
    progress(f"detecting in {len(paths)} pictures")
    shown.run(paths, prepare)
    agreement = shown.agreement()
    file = _describe(second, trace)
    pictures, worst = shown.worst(paths)
    result = Comparison(
        float_file=_describe(first, one.trace),
        quantized_file=file,
        images=len(paths),
        layer_images=measurement.pictures,
        size=size,
        findings=explain(layers, trace, file, agreement, kernels),
        layers=tuple(layers),
        unmatched=tuple(
            layer.name for i, layer in enumerate(one.trace.layers) if i not in matched and layer.kind != INPUT
        ),
        agreement=agreement,
        accuracy=shown.accuracy(dataset),
        detections_by=shown.by,
        kernels_sqnr_db=None if kernels is None else round(kernels, 2),
        pictures=pictures,
        notes=(*one.notes, *other.notes, *shown.notes),
    )
    place = {layer.name: i for i, layer in enumerate(layers)}
    order = tuple(place[layer.name] for layer in one.trace.layers if layer.name in place)
    return Compared(result, one.spec.names, order, worst)


def _values(one: FloatSide, other: OtherSide, tensors: Sequence[tuple[np.ndarray, Placement]]) -> tuple[Values, Values]:
    (a, _), (b, _) = tensors
    return one.trace.run(a), other.trace.run(b)


def _describe(path: Path, trace: Trace) -> FileResult:
    convolutions = trace.convolutions
    kinds = Counter(layer.weights.dtype for layer in convolutions if layer.weights is not None)
    return FileResult(
        path=printable(str(path)),
        format=path.suffix.lower().lstrip("."),
        bytes=path.stat().st_size,
        convolutions=len(convolutions),
        int8=sum(trace.computes_integers(layer) for layer in convolutions),
        weights=dict(sorted(kinds.items())),
        moves=trace.moves,
    )


class _Detections:
    """What both files find in all pictures."""

    def __init__(self, one: FloatSide, other: OtherSide, pairs: Sequence[Pair]):
        self._one, self._other = one, other
        self._layers: LayerDetector | None = None
        self.notes: list[str] = []
        self.by: str | None = "file"
        if other.detector is None:
            self.by, self._layers = "layers", LayerDetector(one, pairs)
            missing = self._layers.missing
            if missing:
                self.by = None
                self.notes.append(f"no detections of the second file: it has no layer like {', '.join(missing)}")
            else:
                self.notes.append(
                    "the second file's detections: its layers that are the raw heads, decoded as the first's"
                )
        self._found: tuple[list[Detections], list[Detections]] = ([], [])

    def run(self, paths: Sequence[Path], prepare: Preparer) -> None:
        for item in load_images(paths, prepare):
            (tensor, place), (second, placement) = item.get()
            detector, other = self._one.detector, self._other.detector
            if self.by is None:
                continue
            self._found[0].append(detector.postprocess(detector.runtime.run(tensor), place))
            if other is not None:
                self._found[1].append(other.postprocess(other.runtime.run(second), placement))
            elif self._layers is not None:
                self._found[1].append(self._layers.detect(self._other.trace.run(second), placement))

    def agreement(self) -> float | None:
        """AP50 with the first file's as labels."""
        if self.by is None:
            return None
        labels, candidates = (Found.of_detections(found) for found in self._found)
        return average_precision_50(labels.select(labels.confidence > LABEL_CONFIDENCE), candidates)

    def accuracy(self, dataset: Dataset | None) -> dict[str, dict[str, float | None]] | None:
        """COCO's mAP of both."""
        if dataset is None or self.by is None:
            return None
        try:
            to_dataset = match_classes(self._one.spec.names, dataset.names, named=dataset.names_known).to_dataset
        except InputError as error:
            self.notes.append(f"no mAP: {error}")
            return None
        truth = Truth.of_dataset(dataset)
        classes = np.unique(to_dataset[to_dataset >= 0])
        result = {}
        for name, found in zip(("float", "quantized"), self._found, strict=True):
            accuracy = evaluate(truth, Found.of_detections(found).in_classes(to_dataset), classes=classes)
            result[name] = {metric: accuracy.value(metric) for metric in METRICS}
        return result

    def worst(
        self, paths: Sequence[Path]
    ) -> tuple[tuple[PictureResult, ...], tuple[tuple[Path, Detections, Detections], ...]]:
        """The pictures on which they agree least, and what both show there."""
        if self.by is None:
            return (), ()
        shown = [[_shown(found) for found in side] for side in self._found]
        alike = shared_overlaps(*(Found.of_detections(side) for side in shown))
        results = [
            PictureResult(
                image=printable(str(path)),
                agreement=round(float(agreement), 4),
                float_detections=len(a),
                quantized_detections=len(b),
            )
            for path, agreement, a, b in zip(paths, alike, *shown, strict=True)
        ]
        most = [result.float_detections + result.quantized_detections for result in results]
        order = sorted(range(len(results)), key=lambda i: (results[i].agreement, -most[i]))
        picked = [i for i in order if results[i].agreement < 1][:WORST_IMAGES]
        return tuple(results[i] for i in picked), tuple((paths[i], shown[0][i], shown[1][i]) for i in picked)


def _shown(found: Detections) -> Detections:
    kept = found.confidence > LABEL_CONFIDENCE
    return Detections(found.xyxy[kept], found.confidence[kept], found.class_id[kept])
