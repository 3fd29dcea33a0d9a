"""Verify: run the very bytes that will be written, and compare with the source.

The source is the network as it was imported, before any pass of ours, run by onnxruntime without its own
optimisations. Inputs are pictures, taken through the model's own preprocessing; without any, seeded noise and scenes of
the sample model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import onnx_ir as ir

from yolo_edge.evaluation import LABEL_CONFIDENCE, MAX_DETECTIONS, Found, average_precision_50
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.fusion import count_fused
from yolo_edge.export.graph import Graph
from yolo_edge.ondevice.decode import decode_cells
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.preprocess import Placement, Preprocessor
from yolo_edge.ondevice.quantized import to_floats
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import InputSpec, ModelSpec, NmsOptions
from yolo_edge.sample.scenes import scene
from yolo_edge.timing import interleave

MAX_RELATIVE_ERROR = 1e-4
# None: the relative error counts
MIN_SNR_DB = {"fp32": None, "fp16": 50.0, "int8": 15.0, "int8-weights": 20.0, "int8x16": 20.0}
CANDIDATE_CONFIDENCE = 0.001

_TIMING_SECONDS = 1.0
_SAME_CONFIDENCE, _SAME_PIXELS, _SAME_BOX = 1e-3, 0.1, 1e-4
_ON_THE_EDGE = 0.02
_SCENES = 2


class VerificationError(YoloEdgeError):
    """A file does not compute what its source computes."""


@dataclass(frozen=True)
class Verification:
    """What was seen when a file ran.

    Attributes:
        snr_db: Signal-to-noise ratio of each head over all inputs, in dB, at most `snr.MAX_SNR_DB`.
        relative_error: Of each head: largest difference / largest value.
        agreement: AP50 with the source's detections above `LABEL_CONFIDENCE` as labels; None where the source found
            nothing.
        convolutions: In the file.
        fused: Those that the runtime runs together with their activation, as one kernel.
    """

    snr_db: tuple[float, ...]
    relative_error: tuple[float, ...]
    agreement: float | None
    convolutions: int
    fused: int


class Reference:
    """The source of an export, run on inputs once; each file is then compared with what it gave."""

    def __init__(self, source: Graph, spec: ModelSpec, pictures: Sequence[np.ndarray] = ()):
        """Run the source.

        Args:
            source: The imported graph, before passes.
            spec: Of the source.
            pictures: BGR, uint8 [height, width, 3]; none: `own_pictures`.

        Raises:
            VerificationError: The source gives NaN or infinity.
        """
        self.pictures = list(pictures) or own_pictures(spec.input)
        preprocessor = Preprocessor(spec.input)
        tensors = [preprocessor(picture)[0].copy() for picture in self.pictures]
        session = new_session(ir.to_proto(source).SerializeToString(), optimize=False)
        names = [output.name for output in session.get_outputs()]
        self.outputs = [
            dict(zip(names, session.run(names, {spec.input.tensor: tensor}), strict=True)) for tensor in tensors
        ]
        for outputs in self.outputs:
            for name, array in outputs.items():
                if not np.isfinite(array).all():
                    raise VerificationError(f"the source model gives NaN or infinity at {name}: are these its weights?")

    def verify(self, data: bytes, precision: str) -> Verification:
        """Run a file with raw heads, on the pictures, and compare.

        Args:
            data: The bytes of the file.
            precision: Its precision, which sets the limit: `MIN_SNR_DB`, or of fp32 `MAX_RELATIVE_ERROR`.

        Raises:
            VerificationError: It misses the limit; the message has both numbers.
        """
        detector = Detector(data, max_detections=MAX_DETECTIONS)
        results, placements = [], []
        for picture in self.pictures:
            tensor, placement = detector.preprocess(picture)
            results.append(to_floats(detector.spec, detector.runtime.run(tensor)))
            placements.append(placement)
        reference = [_laid_out(detector.spec, outputs) for outputs in self.outputs]
        # a head is one map of boxes and scores in darknet: the tensors of others count together too
        heads = list(dict.fromkeys(tuple(head.tensors.values()) for head in detector.spec.heads))
        snr, error = [], []
        for names in heads:
            expected, found = (
                np.concatenate([outputs[name].reshape(-1) for outputs in every for name in names])
                for every in (reference, results)
            )
            snr.append(snr_db(expected, found))
            error.append(relative_error(expected, found))
        _check_limits(precision, [", ".join(names) for names in heads], snr, error)
        convolutions, fused = count_fused(data)
        agreement = _agreement(detector, reference, results, placements)
        return Verification(tuple(snr), tuple(error), agreement, convolutions, fused)


def _laid_out(spec: ModelSpec, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the source gave, [1, channels, rows, columns], in the layouts of a file's heads."""
    layouts = {name: head.layout for head in spec.heads for name in head.tensors.values()}
    return {
        name: array.transpose(0, 2, 3, 1) if layouts.get(name) == "NHWC" else array for name, array in outputs.items()
    }


def _agreement(
    detector: Detector,
    reference: Sequence[Mapping[str, np.ndarray]],
    results: Sequence[Mapping[str, np.ndarray]],
    placements: Sequence[Placement],
) -> float | None:
    detector.confidence = LABEL_CONFIDENCE
    labels = [detector.postprocess(outputs, place) for outputs, place in zip(reference, placements, strict=True)]
    detector.confidence = CANDIDATE_CONFIDENCE
    candidates = [detector.postprocess(outputs, place) for outputs, place in zip(results, placements, strict=True)]
    return average_precision_50(Found.of_detections(labels), Found.of_detections(candidates))


def _check_limits(precision: str, names: Sequence[str], snr: Sequence[float], error: Sequence[float]) -> None:
    for name, decibels, relative in zip(names, snr, error, strict=True):
        least = MIN_SNR_DB[precision]
        if least is None and not relative <= MAX_RELATIVE_ERROR:
            raise VerificationError(
                f"{precision} differs from the source by {relative:.2g} at {name}, "
                f"the limit is {MAX_RELATIVE_ERROR:g}; nothing was written"
            )
        if least is not None and not decibels >= least:
            raise VerificationError(
                f"{precision} has an SNR of {decibels:.1f} dB at {name}, "
                f"the limit is {least:g} dB; nothing was written: use fp32"
            )


def check_decoded(raw: bytes, data: bytes, pictures: Sequence[np.ndarray]) -> None:
    """Check the decoder in a file, box by box, against ours behind the same file with raw heads.

    Args:
        raw: The file that ends at the raw heads.
        data: The file with `decoded` behind them.
        pictures: BGR, uint8 [height, width, 3].

    Raises:
        VerificationError: A box or a confidence differs.
    """
    detectors = [Detector(file) for file in (raw, data)]
    for picture in pictures:
        expected, found = (_all_boxes(detector, picture) for detector in detectors)
        if len(expected[0]) == 0 or len(expected[0]) != len(found[0]):
            raise VerificationError(f"the decoder in the file gives {len(found[0])} boxes, not {len(expected[0])}")
        side = np.abs(expected[0]).max()
        boxes, scores = (np.abs(expected[i] - found[i]).max() for i in (0, 1))
        if not (boxes <= _SAME_BOX * side and scores <= _SAME_CONFIDENCE):
            raise VerificationError(
                f"the decoder in the file differs: boxes by {boxes:.2g} of {side:.3g} pixels, scores by {scores:.2g}"
            )


def _all_boxes(detector: Detector, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tensor, _ = detector.preprocess(picture)
    return decode_cells(detector.spec, detector.runtime.run(tensor), -1.0)


def check_nms(decoded: bytes, data: bytes, pictures: Sequence[np.ndarray], options: NmsOptions) -> None:
    """Check the NMS in a file against ours behind the same file without it.

    Args:
        decoded: The file with `decoded`.
        data: The file with `nms`.
        pictures: BGR, uint8 [height, width, 3].
        options: Of the NMS, in the file or behind it.

    Raises:
        VerificationError: More than one box in fifty differs (some sit on a threshold).
    """
    expected, found = (Detector(file, **vars(options)) for file in (decoded, data))
    missing = total = 0
    for picture in pictures:
        theirs, ours = expected(picture), found(picture)
        total += max(len(theirs), len(ours))
        missing += max(len(theirs), len(ours)) - _common(theirs, ours)
    if missing > _ON_THE_EDGE * total:
        raise VerificationError(f"the NMS in the file misses or invents {missing} of {total} boxes")


def _common(a: Detections, b: Detections) -> int:
    """How many boxes are in both."""
    left = list(range(len(b)))
    for box, confidence, class_id in zip(a.xyxy, a.confidence, a.class_id, strict=True):
        for i in left:
            same = class_id == b.class_id[i] and abs(confidence - b.confidence[i]) <= _SAME_CONFIDENCE
            if same and np.abs(box - b.xyxy[i]).max() <= _SAME_PIXELS:
                left.remove(i)
                break
    return len(b) - len(left)


def relative_error(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference, as a fraction of the largest value."""
    largest = float(np.abs(expected).max())
    difference = float(np.abs(expected.astype(np.float64) - found).max())
    return difference / largest if largest else (0.0 if difference == 0 else float("inf"))


def own_pictures(spec: InputSpec) -> list[np.ndarray]:
    """What files are verified on where nobody gives pictures: noise, and scenes of the sample model."""
    return [*noise(spec), *_scenes()]


@lru_cache(maxsize=1)
def _scenes() -> tuple[np.ndarray, ...]:
    """A few scenes; none where this OpenCV cannot draw them."""
    try:
        return tuple(scene(0, index).image for index in range(_SCENES))
    except InputError:
        return ()


def noise(spec: InputSpec, count: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Seeded pictures of the input's size: noise of coarse to fine grain, BGR, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    pictures = []
    for i in range(count):
        grain = 4 ** (count - 1 - i)
        cells = (-(-spec.height // grain), -(-spec.width // grain), 3)
        coarse = rng.integers(0, 256, cells, dtype=np.uint8)
        size = (spec.width, spec.height)
        pictures.append(np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR), np.uint8))
    return pictures


def speed_ratio(baseline: bytes, candidate: bytes, picture: np.ndarray) -> float:
    """How many times faster `candidate` runs than `baseline`, by medians of interleaved runs on one thread."""
    detectors = {"baseline": Detector(baseline, threads=1), "candidate": Detector(candidate, threads=1)}
    calls = {}
    for name, detector in detectors.items():
        tensor, _ = detector.preprocess(picture)
        calls[name] = lambda runtime=detector.runtime, tensor=tensor: runtime.run(tensor)
    # in three parts: other programs may disturb one of them
    ratios = []
    for _ in range(3):
        samples = interleave(calls, seconds=_TIMING_SECONDS / 3)
        ratios.append(float(np.median(samples["baseline"]) / np.median(samples["candidate"])))
    return sorted(ratios)[1]
