"""From picture to boxes: `Detector` on each runtime against other programs, in one interleaved run.

    pip install openvino ncnn; pip install --no-deps pnnx; pip install "opencv-python-headless<5"
    python benchmarks/scripts/peers.py yolo-fastest-1.1.cfg --image dog.jpg --threads 1,2
    python benchmarks/scripts/peers.py yolov8n.onnx --image dog.jpg --threads 1

MODEL is a darknet .cfg (its .weights beside it) or another trainer's .onnx of the yolov8 kind ([1, 4 + classes, N]).
Ours are fp32 files made in memory, with float32 and with uint8 input; on OpenVINO also with `fast` (16-bit floats).
The others, each as its users write it:

- OpenCV DNN: `readNetFromDarknet` (or `readNetFromONNX` of the trainer's file), `blobFromImage`, rows, NMS
- plain onnxruntime: `blobFromImage`, all cells decoded, NMS
- ncnn: the model as pnnx converts it, with its defaults; OpenCV resizes, and our code decodes: both in its favour
- Ultralytics: `YOLO(MODEL)` on the trainer's .onnx

What is not installed is left out, and named. That all find the same is checked first: the same classes, IoU of 0.9 and
more, confidence within 0.02, for all that either finds above 0.3.

--also takes other files of ours of the same model, such as int8 ones; they may find something else, and say how many.

Prints a Markdown table: medians in ms, and the whole path as a multiple of the fastest other program's, from paired
rounds, with the 95 % interval. Each is called once before, uncounted: the others had the caches. Rounds in which the
kernel took the processor from one of both are left out, where enough others are there. Where they are not, and one
thread computes, its CPU time stands for the time, and the table says so. With several threads there are pauses between
the calls: threads of some runtimes spin.
"""

import argparse
import importlib
import importlib.util
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_edge import Detections, Detector, ModelSpec, YoloEdgeError
from yolo_edge.benchmarks.scripts.against_opencv import CONFIDENCE, IOU, OpenCVDetector, unmatched, with_pauses
from yolo_edge.benchmarks.scripts.pre_and_post import dense_postprocess
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import place
from yolo_edge.ondevice.runtimes import BY_SUFFIX
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.timing import Seconds, interleave, paired_ratio

LEAST_ROUNDS = 30  # undisturbed


class Side:
    """One way from a picture to boxes, and its inference alone.

    Attributes:
        ours: Whether it is `Detector`.
        same: Whether it has to find what the others find.
        find: Picture → detections.
        infer: The inference alone, of a tensor that is ready.
    """

    def __init__(
        self,
        find: Callable[[np.ndarray], Detections],
        infer: Callable[[], object],
        ours: bool = False,
        same: bool = True,
    ):
        self.find, self.infer, self.ours, self.same = find, infer, ours, same


Sides = dict[str, Side]


class Watched:
    """A call, how often the kernel took the processor away meanwhile, and the CPU time of the process."""

    def __init__(self, call: Callable[[], object]):
        self.call = call
        self.switches: list[int] = []
        self.cpu_s: list[float] = []

    def __call__(self) -> None:
        """Make the call."""
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.process_time()
        self.call()
        self.cpu_s.append(time.process_time() - begun)
        self.switches.append(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before)


def resized(spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    """The picture at the size of the input, stretched or letterboxed as the model wants it."""
    width, height = spec.input.width, spec.input.height
    placement, size = place(spec.input, image.shape[1], image.shape[0])
    if size == (width, height):
        return np.asarray(cv2.resize(image, size))
    left, top = placement.offset
    edges = (top, height - size[1] - top, left, width - size[0] - left)
    pad = (spec.input.pad_value,) * 3
    return np.asarray(cv2.copyMakeBorder(cv2.resize(image, size), *edges, cv2.BORDER_CONSTANT, value=pad))


def blob_of(spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    """The input as programs around OpenCV make it: letterboxed where the model wants it, then `blobFromImage`."""
    if spec.input.resize == "letterbox":
        image = resized(spec, image)
    return np.asarray(cv2.dnn.blobFromImage(image, 1 / 255, (spec.input.width, spec.input.height), swapRB=True))


def rows_of_yolov8(spec: ModelSpec, output: np.ndarray, image: np.ndarray) -> Detections:
    """[1, 4 + classes, N] → detections: every row, then NMS class by class."""
    rows = output[0].T
    scores = rows[:, 4:]
    class_id, best = scores.argmax(axis=1), scores.max(axis=1)
    keep = best > CONFIDENCE
    boxes, class_id, best = rows[keep, :4], class_id[keep], best[keep]
    boxes[:, :2] -= boxes[:, 2:] / 2
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), best.tolist(), class_id.tolist(), CONFIDENCE, IOU)
    order = np.asarray(kept, np.int64).reshape(-1)
    corners = np.concatenate([boxes[order, :2], boxes[order, :2] + boxes[order, 2:]], axis=1)
    placement, _ = place(spec.input, image.shape[1], image.shape[0])
    return Detections(placement.to_source(corners), best[order], class_id[order])


def our_sides(source: SourceModel, also: Sequence[Path], image: np.ndarray, threads: int) -> tuple[Sides, list[str]]:
    """`Detector` on each runtime, with float32 and with uint8 input, and with other files; and what is left out."""
    found: Sides = {}
    left_out: list[str] = []
    graph = canonicalize(source.graph)
    files: list[tuple[str, bytes | Path]] = [
        ("", write_onnx(graph, source.spec)),
        (", uint8", write_onnx(graph, source.spec, FileOptions(input="uint8"))),
        *((f", {path.name}", path) for path in also),
    ]
    for kind, file in files:
        for runtime in BY_SUFFIX[".onnx"]:
            try:
                detector = Detector(file, runtime=runtime, threads=threads, confidence=CONFIDENCE, iou=IOU)
            except YoloEdgeError as error:
                left_out.append(f"Detector, {runtime}{kind}: {error}")
                continue
            tensor = detector.preprocess(image)[0].copy("K")
            name = f"Detector, {runtime} {detector.runtime.version}{kind}"
            infer = partial(detector.runtime.run, tensor)
            found[name] = Side(detector, infer, ours=True, same=isinstance(file, bytes))
            if runtime == "openvino" and not kind:
                fast = Detector(file, runtime=runtime, threads=threads, confidence=CONFIDENCE, iou=IOU, fast=True)
                run = partial(fast.runtime.run, tensor)
                found[f"{name}, fast"] = Side(fast, run, ours=True, same=False)
    return found, left_out


def plain_onnxruntime(model: Path, source: SourceModel, image: np.ndarray, threads: int) -> Side:
    """What most example programs do."""
    spec, ready = source.spec, blob_of(source.spec, image)
    darknet = model.suffix == ".cfg"
    file = write_onnx(canonicalize(source.graph), spec) if darknet else str(model)
    session = new_session(file, threads)
    feed, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def find(picture: np.ndarray) -> Detections:
        outputs = session.run(names, {feed: blob_of(spec, picture)})
        if not darknet:
            return rows_of_yolov8(spec, outputs[0], picture)
        maps = dict(zip(names, outputs, strict=True))
        return Detections(*dense_postprocess(spec, maps, picture.shape[1], picture.shape[0], CONFIDENCE, IOU))

    return Side(find, partial(session.run, names, {feed: ready}))


def opencv_dnn(model: Path, source: SourceModel, image: np.ndarray, threads: int) -> Side:
    """OpenCV alone, from darknet's files or from the trainer's .onnx; its threads are set by the caller."""
    spec = source.spec
    if model.suffix == ".cfg":
        net = OpenCVDetector(model, model.with_suffix(".weights"), (spec.input.width, spec.input.height))
        return Side(net, partial(net.infer, net.preprocess(image)))
    onnx = cv2.dnn.readNetFromONNX(str(model))

    def infer(blob: np.ndarray) -> np.ndarray:
        onnx.setInput(blob)
        return np.asarray(onnx.forward())

    return Side(
        lambda picture: rows_of_yolov8(spec, infer(blob_of(spec, picture)), picture),
        partial(infer, blob_of(spec, image)),
    )


def ncnn_side(source: SourceModel, image: np.ndarray, threads: int, folder: Path) -> Side:
    """Ncnn's wheel, with the model as pnnx converts it from our file."""
    ncnn: Any = importlib.import_module("ncnn")
    spec = source.spec
    detector = Detector(write_onnx(canonicalize(source.graph), spec), confidence=CONFIDENCE, iou=IOU, threads=1)
    path = folder / "model.onnx"
    if not path.exists():
        path.write_bytes(write_onnx(canonicalize(source.graph), spec))
        pnnx = shutil.which("pnnx", path=f"{Path(sys.executable).parent}:{Path.home() / '.local/bin'}") or "pnnx"
        subprocess.run([pnnx, path.name], cwd=folder, check=True, capture_output=True)  # noqa: S603 - the user's own program
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))
    names = dict(zip(detector.runtime.output_shapes, net.output_names(), strict=True))
    shapes = detector.runtime.output_shapes
    scale = [1 / 255] * 3

    def prepare(picture: np.ndarray) -> Any:
        # its own from_pixels_resize and copy_make_border take ten times as long as OpenCV
        canvas = resized(spec, picture)
        mat = ncnn.Mat.from_pixels(canvas, ncnn.Mat.PixelType.PIXEL_BGR2RGB, canvas.shape[1], canvas.shape[0])
        mat.substract_mean_normalize([], scale)
        return mat

    def infer(mat: Any) -> dict[str, np.ndarray]:
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        return {name: np.array(extractor.extract(blob)[1]).reshape(shapes[name]) for name, blob in names.items()}

    ready = prepare(image)

    def find(picture: np.ndarray) -> Detections:
        placement, _ = place(spec.input, picture.shape[1], picture.shape[0])
        return detector.postprocess(infer(prepare(picture)), placement)

    return Side(find, lambda: infer(ready))


def ultralytics_side(model: Path, source: SourceModel, image: np.ndarray, threads: int) -> Side:
    """Ultralytics on the trainer's .onnx."""
    module: Any = importlib.import_module("ultralytics")
    importlib.import_module("torch").set_num_threads(threads)
    yolo = module.YOLO(str(model), task="detect")
    size = (source.spec.input.height, source.spec.input.width)

    def find(picture: np.ndarray) -> Detections:
        boxes = yolo.predict(picture, imgsz=size, conf=CONFIDENCE, iou=IOU, device="cpu", verbose=False)[0].boxes
        return Detections(boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64))

    find(image)
    tensor = importlib.import_module("torch").from_numpy(blob_of(source.spec, image))
    return Side(find, lambda: yolo.predictor.model(tensor))


def sides_of(
    model: Path, source: SourceModel, also: Sequence[Path], image: np.ndarray, threads: int, folder: Path
) -> tuple[Sides, list[str]]:
    """All that can be measured, and what is left out with the reason."""
    found, left_out = our_sides(source, also, image, threads)
    darknet = model.suffix == ".cfg"
    others: dict[str, tuple[str | None, Callable[[], Side]]] = {
        f"OpenCV DNN {cv2.__version__}, {'darknet' if darknet else 'ONNX'}": (
            None,
            lambda: opencv_dnn(model, source, image, threads),
        ),
        "plain onnxruntime": (None, lambda: plain_onnxruntime(model, source, image, threads)),
        "ncnn": ("ncnn", lambda: ncnn_side(source, image, threads, folder)),
        "Ultralytics": ("ultralytics", lambda: ultralytics_side(model, source, image, threads)),
    }
    for name, (package, make) in others.items():
        if package == "ultralytics" and darknet:
            left_out.append(f"{name}: reads no darknet files")
        elif package is not None and importlib.util.find_spec(package) is None:
            left_out.append(f"{name}: not installed")
        else:
            try:
                found[name] = make()
            except (OSError, subprocess.CalledProcessError, cv2.error, AttributeError) as error:
                left_out.append(f"{name}: {str(error).splitlines()[0]}")
    return found, left_out


def check_same(sides: Mapping[str, Side], image: np.ndarray) -> dict[str, int]:
    """Check that all find the same, as far as they have to; how many each finds."""
    expected = next(iter(sides.values())).find(image)
    counts = {}
    for name, side in sides.items():
        found = side.find(image)
        counts[name] = len(found)
        problems = unmatched(found, expected) + unmatched(expected, found)
        if side.same and problems:
            raise SystemExit(f"{name} does not find the same: {'; '.join(problems)}")
    return counts


def warmed(calls: Mapping[str, Watched]) -> dict[str, Callable[[], object]]:
    """The same calls, each after one that is not looked at: the others had the caches meanwhile."""
    result: dict[str, Callable[[], object]] = {}
    for name, call in calls.items():
        result |= {f"{name}: warm": call.call, name: call}
    return result


class Times:
    """What was measured of one call: wall time of undisturbed rounds, or the CPU time of all."""

    def __init__(self, call: Watched, wall: Seconds, threads: int):
        # the first call is not timed
        quiet = np.array(call.switches[1:]) == 0
        self.by_cpu = quiet.sum() < LEAST_ROUNDS and threads == 1
        self.cpu = np.array(call.cpu_s[1:])
        self.wall = np.where(quiet, wall, np.nan) if quiet.sum() >= LEAST_ROUNDS else wall
        self.median = float(np.median(self.cpu) if self.by_cpu else np.nanmedian(self.wall))

    def ratio(self, other: "Times", threads: int) -> str:
        """This as a multiple of the other, in words."""
        both = int(np.isfinite(self.wall * other.wall).sum())
        if (self.by_cpu or other.by_cpu or both < LEAST_ROUNDS) and threads == 1:
            return f"{paired_ratio(self.cpu[None], other.cpu[None])} of CPU time, {len(self.cpu)} rounds"
        return f"{paired_ratio(self.wall[None], other.wall[None])}, {both} rounds"


def measure(
    model: Path,
    source: SourceModel,
    also: Sequence[Path],
    image: np.ndarray,
    threads: int,
    seconds: float,
    folder: Path,
) -> None:
    """Print the table for one number of threads."""
    cv2.setNumThreads(threads)
    sides, left_out = sides_of(model, source, also, image, threads, folder)
    counts = check_same(sides, image)
    calls = {f"{name}: whole": Watched(partial(side.find, image)) for name, side in sides.items()}
    calls |= {f"{name}: inference": Watched(side.infer) for name, side in sides.items()}
    samples = interleave(with_pauses(warmed(calls)) if threads > 1 else warmed(calls), seconds=seconds)
    times = {name: Times(call, samples[name], threads) for name, call in calls.items()}
    whole = {name: times[f"{name}: whole"] for name in sides}
    best = min((name for name in sides if not sides[name].ours), key=lambda name: whole[name].median)
    size = f"{source.spec.input.width}x{source.spec.input.height}"
    print(f"\n{model.name}, {size}, threads {threads}, {len(samples[next(iter(calls))])} rounds")
    print(
        f"\n| | found | whole path, ms | inference, ms | whole path, as a multiple of {best} |\n|---|--:|--:|--:|---|"
    )
    for name in sorted(sides, key=lambda name: whole[name].median):
        alone = times[f"{name}: inference"]
        compared = "1" if name == best else whole[name].ratio(whole[best], threads)
        cells = [f"{one.median * 1e3:.2f}{' (CPU)' if one.by_cpu else ''}" for one in (whole[name], alone)]
        print(f"| {name} | {counts[name]} | {cells[0]} | {cells[1]} | {compared} |")
    for text in left_out:
        print(f"\nNot measured: {text}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help=".cfg or .onnx")
    parser.add_argument("--also", type=Path, nargs="*", default=[], metavar="FILE", help="other files of ours of it")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], metavar="N,M")
    parser.add_argument("--seconds", type=float, default=60, help="for each number of threads")
    options = parser.parse_args()
    if options.model.suffix == ".cfg" and not hasattr(cv2.dnn, "readNetFromDarknet"):
        parser.error(f"OpenCV {cv2.__version__} has no darknet importer: pip install 'opencv-python-headless<5'")
    source = load_model(options.model) if options.model.suffix == ".cfg" else import_onnx(options.model)
    image = read_image(options.image)
    with tempfile.TemporaryDirectory() as folder:
        for threads in options.threads:
            measure(options.model, source, options.also, image, threads, options.seconds, Path(folder))


if __name__ == "__main__":
    main()
