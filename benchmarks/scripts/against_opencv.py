"""From picture to boxes: `Detector` against OpenCV DNN, both with the same darknet weights.

    python benchmarks/scripts/against_opencv.py yolo-fastest-1.1.cfg --image dog.jpg --threads 1,2
    python benchmarks/scripts/against_opencv.py yolov4-tiny.cfg --random-weights --image dog.jpg

Our side is `Detector` on the fp32 ONNX file, made in memory; the other a program as users of OpenCV write it:
`readNetFromDarknet`, `blobFromImage`, `forward`, the rows above the threshold, NMS class by class. Both sides and both
inferences alone are in one interleaved run for each number of threads; with more than one thread there are pauses
between the calls, for onnxruntime's threads spin after a run. OpenCV's inference includes its [yolo] or [region]
layers, which decode all cells.

That both find the same is checked first: the same classes, IoU of 0.9 and more, confidence within 0.02, for all that
either finds above 0.3 (OpenCV sets scores below `thresh` of the cfg, 0.2 unless it says otherwise, to zero). Random
weights find nothing that means anything: with them the raw maps are compared.

Prints medians, in brackets half the interquartile range as a fraction of the median (how noisy it was), and ratios of
medians with their 95 % intervals. Above some 10 % other programs had the processor in between, which hits long calls
more than short ones: run it again.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from yolo_edge import Detections, Detector
from yolo_edge.evaluation.boxes import iou
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.images import read_image
from yolo_edge.timing import Seconds, interleave, median_ratio

CONFIDENCE, IOU = 0.25, 0.45
COMPARED_CONFIDENCE = 0.3
MAX_RELATIVE_ERROR = 1e-4
HEAD_BIAS = -2  # few cells of a random head pass the threshold, as in a trained one
PAUSE = 0.03  # seconds; there is at least one pause before each call


class OpenCVDetector:
    """Picture → detections with OpenCV alone."""

    def __init__(self, cfg: Path, weights: Path, size: tuple[int, int]):
        self.size = size
        self.net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
        self.net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self.net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
        self.outputs = self.net.getUnconnectedOutLayersNames()

    def __call__(self, image: np.ndarray) -> Detections:
        """Find objects."""
        return self.postprocess(self.infer(self.preprocess(image)), image.shape[1], image.shape[0])

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """The input tensor."""
        return np.asarray(cv2.dnn.blobFromImage(image, 1 / 255, self.size, swapRB=True, crop=False))

    def infer(self, blob: np.ndarray) -> Sequence[np.ndarray]:
        """Rows of each head: center x, center y, width, height (fractions of the picture), objectness, scores."""
        self.net.setInput(blob)
        return self.net.forward(self.outputs)

    @staticmethod
    def postprocess(outputs: Sequence[np.ndarray], width: int, height: int) -> Detections:
        """The rows above the threshold, then NMS class by class."""
        # no score is above the objectness
        rows = np.concatenate([output[output[:, 4] > CONFIDENCE] for output in outputs])
        class_id = rows[:, 5:].argmax(axis=1)
        confidence = rows[np.arange(len(rows)), 5 + class_id]
        keep = confidence > CONFIDENCE
        rows, class_id, confidence = rows[keep], class_id[keep], confidence[keep]
        boxes = rows[:, :4] * np.array([width, height, width, height], np.float32)
        boxes[:, :2] -= boxes[:, 2:] / 2
        picked = [np.empty(0, np.int64)]
        for number in np.unique(class_id):
            members = np.flatnonzero(class_id == number)
            kept = cv2.dnn.NMSBoxes(boxes[members], confidence[members], CONFIDENCE, IOU)
            picked.append(members[np.asarray(kept, np.int64).reshape(-1)])
        chosen = np.concatenate(picked)
        chosen = chosen[np.argsort(-confidence[chosen])]
        corners = np.concatenate([boxes[chosen, :2], boxes[chosen, :2] + boxes[chosen, 2:]], axis=1)
        limits = np.array([width, height, width, height], np.float32)
        return Detections(np.clip(corners, 0, limits), confidence[chosen], class_id[chosen])


class RandomWeights:
    """Gives He-initialised parameters (He et al. 2015) in place of a weights file, and keeps them for one."""

    def __init__(self, seed: int = 0):
        self._rng = np.random.default_rng(seed)
        self._normalized: set[str] = set()
        self._arrays: list[np.ndarray] = []

    def take(self, shape: Sequence[int], where: str) -> np.ndarray:
        """The next parameters, made up by what `where` ends with. Biases are 0, or `HEAD_BIAS` without a batch norm."""
        layer, _, kind = where.rpartition(" ")
        array = np.full(tuple(shape), 1 if kind in ("scale", "variance", "weights") else 0, np.float32)
        if kind == "scale":
            self._normalized.add(layer)
        if kind == "weight":
            array = self._rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), tuple(shape)).astype(np.float32)
            if layer not in self._normalized:
                self._arrays[-1][:] = HEAD_BIAS
        self._arrays.append(array)
        return array

    def write(self, path: Path) -> None:
        """Write the parameters that were taken as a darknet weights file of version 0.2."""
        header = np.array([0, 2, 0, 0, 0], "<i4")
        path.write_bytes(header.tobytes() + b"".join(array.astype("<f4").tobytes() for array in self._arrays))


def write_random_weights(cfg: Path, path: Path) -> None:
    """Write seeded random weights of the size that `cfg` needs."""
    source = RandomWeights()
    import_darknet(cfg, source)
    source.write(path)


def relative_error_of_maps(cfg: Path, weights: Path, detector: Detector, tensor: np.ndarray) -> float:
    """The largest difference between the raw maps of both, relative to the largest value of the map."""
    # a net of its own: asking for these layers keeps OpenCV from fusing them
    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    kinds = [line.strip() for line in cfg.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("[")]
    net.setInput(tensor)
    expected = net.forward([f"conv_{i - 1}" for i, kind in enumerate(kinds[1:]) if kind in ("[yolo]", "[region]")])
    found = detector.runtime.run(tensor)
    maps = [found[head.tensors["map"]] for head in detector.spec.heads]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(maps, expected, strict=True))


def unmatched(found: Detections, expected: Detections) -> list[str]:
    """What is expected above `COMPARED_CONFIDENCE` and not found."""
    missing = []
    for box, confidence, class_id in zip(expected.xyxy, expected.confidence, expected.class_id, strict=True):
        same = (found.class_id == class_id) & (np.abs(found.confidence - confidence) <= 0.02)
        if confidence > COMPARED_CONFIDENCE and not (iou(found.xyxy[same], box[None]) >= 0.9).any():
            missing.append(f"class {class_id}, {confidence:.3f}, {np.round(box, 1).tolist()}")
    return missing


def cell(samples: Seconds) -> str:
    """The median in milliseconds and half the interquartile range."""
    low, median, high = np.percentile(samples, [25, 50, 75])
    return f"{median * 1e3:9.3f} ms (±{(high - low) / 2 / median * 100:2.0f} %)"


def with_pauses(calls: Mapping[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """The same calls with two pauses before each, so that one stays where `interleave` begins a round between them.

    onnxruntime's threads spin for some 30 ms after each run, and would take that from the other side.
    """
    result: dict[str, Callable[[], object]] = {}
    for name, call in calls.items():
        pause = partial(time.sleep, PAUSE)
        result |= {f"{name}: pause": pause, f"{name}: another": pause, name: call}
    return result


def measure(cfg: Path, weights: Path, image: np.ndarray, options: argparse.Namespace) -> None:
    """Check that both sides do the same, measure, print."""
    source = load_model(cfg, weights=weights)
    size = (source.spec.input.width, source.spec.input.height)
    if source.spec.input.resize != "stretch":
        raise SystemExit(f"{cfg}: it letterboxes, and blobFromImage does not")
    data = write_onnx(canonicalize(source.graph), source.spec)
    theirs = OpenCVDetector(cfg, weights, size)

    print(f"{cfg.name}, {options.image.name} {image.shape[1]}x{image.shape[0]} to {size[0]}x{size[1]}")
    print(f"OpenCV {cv2.__version__}, onnxruntime {ort.__version__}")
    for threads in options.threads:
        cv2.setNumThreads(threads)
        ours = Detector(data, confidence=CONFIDENCE, iou=IOU, threads=threads)
        found, expected = ours(image), theirs(image)
        tensor, blob = ours.preprocess(image)[0].copy(), theirs.preprocess(image)
        if options.random_weights:
            error = relative_error_of_maps(cfg, weights, ours, tensor)
            if not error <= MAX_RELATIVE_ERROR:
                raise SystemExit(f"raw maps differ by {error:.2g}, the limit is {MAX_RELATIVE_ERROR:g}")
            checked = f"raw maps within {error:.1e}; {len(found)} and {len(expected)} detections"
        else:
            problems = unmatched(found, expected) + unmatched(expected, found)
            if problems:
                raise SystemExit(f"they do not find the same: {'; '.join(problems)}")
            checked = f"the same {np.sum(found.confidence > COMPARED_CONFIDENCE)} detections"
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(ours, image),
            "theirs": partial(theirs, image),
            "our inference": partial(ours.runtime.run, tensor),
            "their inference": partial(theirs.infer, blob),
        }
        samples = interleave(
            with_pauses(calls) if threads > 1 else calls,
            seconds=options.seconds,
        )
        print(f"threads {threads}: {checked}, {len(samples['ours'])} rounds")
        print(f"  {'':<14} {'Detector':>21} {'OpenCV DNN':>21}   ratio")
        for name, a, b in (
            ("whole path", samples["ours"], samples["theirs"]),
            ("inference", samples["our inference"], samples["their inference"]),
        ):
            print(f"  {name:<14} {cell(a):>21} {cell(b):>21}   {median_ratio(a, b)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.cfg")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--weights", type=Path, help="beside the cfg unless given")
    either.add_argument("--random-weights", action="store_true", help="made up, for a cfg without trained weights")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], metavar="N,M")
    parser.add_argument("--seconds", type=float, default=10, help="for each number of threads")
    options = parser.parse_args()
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        parser.error(f"OpenCV {cv2.__version__} has no darknet importer: run it with .venv-dev/bin/python")

    image = read_image(options.image)
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or options.model.with_suffix(".weights")
        if options.random_weights:
            weights = Path(folder) / "random.weights"
            write_random_weights(options.model, weights)
        measure(options.model, weights, image, options)


if __name__ == "__main__":
    main()
