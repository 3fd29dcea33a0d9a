"""Ways from a picture to boxes, ours and other programs', as their users write them; `peers.py` measures them."""

import importlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_edge import Detections, Detector, ModelSpec, YoloEdgeError
from yolo_edge.benchmarks.scripts.against_opencv import CONFIDENCE, IOU, OpenCVDetector, unmatched
from yolo_edge.benchmarks.scripts.pre_and_post import dense_postprocess
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.options import FileOptions
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.preprocess import place
from yolo_edge.ondevice.runtimes import BY_SUFFIX
from yolo_edge.ondevice.runtimes.onnx import new_session


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
