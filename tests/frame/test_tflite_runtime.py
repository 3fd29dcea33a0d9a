"""TFLite files in tflite-runtime 2.14, the last of its name, which many devices still have."""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.export.test_trained_models import PATHS
from tests.frame.tools import assert_same_detections, find_python, install, new_environment, run, zip_device_part
from tests.int8_operations import KINDS, random_operation
from tests.int8_support import quantize
from tests.support import random_darknet, random_picture
from tests.tflite_support import assert_same_maps, nhwc, random_windows, run_onnx, run_tflite
from yolo_edge import Detector
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import Graph, canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.options import HEADS, FileOptions
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec, NmsOptions

# opencv 4.6: what the device part asks for at least
REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless==4.6.0.66")

# job.tflite and job.npy → job-on.npz with delegates, job-off.npz without
RUN_ALL = """
import sys, pathlib, numpy
from tflite_runtime.interpreter import Interpreter, OpResolverType

for model in sorted(pathlib.Path(sys.argv[1]).glob("*.tflite")):
    for name, kind in (("on", OpResolverType.AUTO), ("off", OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)):
        interpreter = Interpreter(str(model), experimental_op_resolver_type=kind, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], numpy.load(model.with_suffix(".npy")))
        interpreter.invoke()
        found = {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}
        numpy.savez(model.with_name(f"{model.stem}-{name}.npz"), **found)
"""

DETECT = """
import json, sys, yolo_edge
from yolo_edge.ondevice.images import read_image

detector = yolo_edge.Detector(sys.argv[1], confidence=0.01)
print(json.dumps(detector(read_image(sys.argv[2])).to_dicts(detector.spec.names)))
"""


class Jobs:
    """Files to run in the environment, with what should come out."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.expected: dict[str, tuple[dict[str, np.ndarray], str]] = {}
        self.steps: dict[str, tuple[np.ndarray, str]] = {}

    def add_wide(self, kind: str, seed: int) -> None:
        """One operator of 16 bits, against LiteRT."""
        operation, name = random_operation(kind, seed), f"wide-{kind}-{seed}".replace(" ", "-")
        data = write_tflite(operation.quantized, operation.spec, "int8x16")
        (self.folder / f"{name}.tflite").write_bytes(data)
        before = operation.quantized.plan.tensors["images"]
        floats = (operation.integers.astype(np.float32) - before.zero_point) * np.float32(before.scale)
        np.save(self.folder / f"{name}.npy", nhwc(floats))
        here = run_tflite(data, nhwc(floats), delegates=False)
        self.expected[name] = {key: array.transpose(0, 3, 1, 2) for key, array in here.items()}, "int8x16"

    def add(self, name: str, graph: Graph, spec: ModelSpec, precision: str = "fp32") -> None:
        shape = (1, 3, spec.input.height, spec.input.width)
        tensor = np.random.default_rng(0).random(shape, dtype=np.float32)
        (self.folder / f"{name}.tflite").write_bytes(write_tflite(graph, spec, precision))
        np.save(self.folder / f"{name}.npy", nhwc(tensor))
        self.expected[name] = run_onnx(write_onnx(graph, spec), tensor), precision

    def add_operation(self, kind: str, seed: int) -> None:
        """One int8 operator, against onnxruntime."""
        operation, name = random_operation(kind, seed), f"{kind}-{seed}".replace(" ", "-")
        (self.folder / f"{name}.tflite").write_bytes(write_tflite(operation.quantized, operation.spec, "int8"))
        np.save(self.folder / f"{name}.npy", nhwc(operation.integers))
        self.steps[name] = operation.expected(), operation.label

    def check(self, programs: Path) -> None:
        run([programs / "python", "-c", RUN_ALL, self.folder], cwd=self.folder, timeout=300)
        for name, (steps, label) in self.steps.items():
            for kind in ("on", "off"):
                found = np.load(self.folder / f"{name}-{kind}.npz")["head_0"]
                assert (found.dtype, found.shape) == (np.int8, steps.shape), label
                assert np.abs(found - steps).max() <= 1, f"{label}, delegates {kind}"
        for name, (expected, precision) in self.expected.items():
            for kind in ("on", "off"):
                found = dict(np.load(self.folder / f"{name}-{kind}.npz"))
                if precision == "fp32":
                    assert_same_maps({key: found[key] for key in expected}, expected)
                else:
                    least = {"fp16": 50, "int8-weights": 20, "int8x16": 60}[precision]
                    assert min(snr_db(nhwc(array), found[key]) for key, array in expected.items()) >= least


TASK = """
import json, sys
from tflite_support import metadata
from tflite_support.task import core, processor, vision

shown = metadata.MetadataDisplayer.with_model_file(sys.argv[1])
options = vision.ObjectDetectorOptions(core.BaseOptions(file_name=sys.argv[1]), processor.DetectionOptions())
found = vision.ObjectDetector.create_from_options(options).detect(vision.TensorImage.create_from_file(sys.argv[2]))
print(json.dumps({
    "files": shown.get_packed_associated_file_list(),
    "metadata": json.loads(shown.get_metadata_json()),
    "detections": [
        {
            "class": item.categories[0].category_name,
            "confidence": item.categories[0].score,
            "box": [item.bounding_box.origin_x, item.bounding_box.origin_y],
        }
        for item in found.detections
    ],
}))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment with tflite-runtime and without onnxruntime."""
    with _environment(tmp_path_factory) as programs:
        install(programs, *REQUIREMENTS)
        yield programs


@pytest.fixture(scope="module")
def task_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment with tflite-support."""
    with _environment(tmp_path_factory) as programs:
        install(programs, "tflite-support==0.4.4", "numpy<2")
        yield programs


def _environment(tmp_path_factory: pytest.TempPathFactory) -> AbstractContextManager[Path]:
    python = find_python("3.11", "3.10", "3.9")
    if python is None:
        pytest.skip("no Python 3.9 to 3.11 that runs: there are no wheels for later ones")
    return new_environment(tmp_path_factory.mktemp("tflite") / "environment", python)


def test_random_files(programs: Path, tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    for seed in range(200):
        graph, _ = random_windows(seed)
        _, _, height, width = graph.graph.inputs[0].shape
        spec = ModelSpec(InputSpec(width, height), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
        jobs.add(f"windows-{seed}", graph, spec)
    for seed in range(40):
        source = load_model(random_darknet(tmp_path, seed))
        jobs.add(f"random-{seed}", canonicalize(source.graph), source.spec)
    jobs.check(programs)


def test_int8_operators(programs: Path, tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    for kind in KINDS:
        for seed in range(6):
            jobs.add_operation(kind, seed)
    jobs.check(programs)


def test_16_bits_and_weights_of_8(programs: Path, tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)
    for kind in KINDS:
        jobs.add_wide(kind, 0)
    for seed in range(3):
        source = load_model(random_darknet(tmp_path, seed))
        jobs.add(f"weights-{seed}", canonicalize(source.graph), source.spec, "int8-weights")
    jobs.check(programs)


def test_int8_detectors(programs: Path, tmp_path: Path, assets: Path) -> None:
    """A device with the old runtime finds in integers what the host finds."""
    source = load_model(assets / "darknet/yolo-fastest/yolo-fastest-1.1.cfg")
    image, picture = source.spec.input, tmp_path / "dog.png"
    size = (image.width, image.height)
    cv2.imwrite(str(picture), cv2.resize(cv2.imread(str(assets / "images" / "dog.jpg")), size))
    preprocessor = Preprocessor(image)
    examples = [cv2.imread(str(path)) for path in sorted((assets / "images").glob("*.jpg"))]
    graph = canonicalize(source.graph)
    quantized = quantize(graph, [preprocessor(example)[0].copy() for example in examples])
    variables = {"PYTHONPATH": str(zip_device_part(tmp_path))}
    for options in (FileOptions("int8"), FileOptions("int8", "nms", "uint8")):
        model = tmp_path / f"{options.head}.tflite"
        model.write_bytes(write_tflite(quantized, source.spec, options))
        done = run([programs / "python", "-c", DETECT, model, picture], cwd=tmp_path, **variables)
        found = {item["class"] for item in json.loads(done.stdout) if item["confidence"] > 0.3}
        assert found >= {"dog", "car", "bicycle"}
        assert done.stderr == ""


def test_trained_models(programs: Path, tmp_path: Path, assets: Path) -> None:
    jobs = Jobs(tmp_path)
    for path in PATHS:
        for size in (None, (224, 160)):
            source = load_model(assets / "darknet" / f"{path}.cfg", size=size)
            graph = canonicalize(source.graph)
            for precision in ("fp32",) if size else ("fp32", "fp16"):
                jobs.add(f"{Path(path).name}-{size}-{precision}", graph, source.spec, precision)
    assert len(jobs.expected) == 3 * len(PATHS)
    jobs.check(programs)


@pytest.mark.parametrize("head", HEADS)
def test_a_device_finds_what_the_host_finds(programs: Path, tmp_path: Path, head: str) -> None:
    source = load_model(random_darknet(tmp_path, 7))
    graph, picture = canonicalize(source.graph), tmp_path / "picture.png"
    # as large as the input: how a version of OpenCV resizes does not matter
    cv2.imwrite(str(picture), random_picture(source.spec.input.width, source.spec.input.height))
    for kind in ("float32", "uint8"):
        options = FileOptions(head=head, input=kind, nms=NmsOptions(0.01, 0.45, 299))
        model = tmp_path / f"{kind}.tflite"
        model.write_bytes(write_tflite(graph, source.spec, options))
        variables = {"PYTHONPATH": str(zip_device_part(tmp_path))}
        done = run([programs / "python", "-c", DETECT, model, picture], cwd=tmp_path, **variables)
        detector = Detector(write_onnx(graph, source.spec), confidence=0.01)
        expected = detector(cv2.imread(str(picture))).to_dicts(source.spec.names)
        assert_same_detections(json.loads(done.stdout), expected)
        assert done.stderr == ""


def test_numpy_2_is_noticed(programs: Path, tmp_path: Path, cfg: Path) -> None:
    newer = tmp_path / "newer"
    install(programs, "--target", str(newer), "numpy>=2", "opencv-python-headless>=4.10")
    source = load_model(cfg)
    model, picture = tmp_path / "a.tflite", tmp_path / "a.png"
    model.write_bytes(write_tflite(canonicalize(source.graph), source.spec))
    cv2.imwrite(str(picture), random_picture(20, 20))
    path = f"{newer}{os.pathsep}{zip_device_part(tmp_path)}"
    done = run([programs / "python", "-c", DETECT, model, picture], cwd=tmp_path, status=1, PYTHONPATH=path)
    assert "MissingRuntimeError: tflite-runtime does not work with numpy 2." in done.stderr
    assert "run: pip install 'numpy<2', or: pip install ai-edge-litert" in done.stderr


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_the_task_library_finds_the_same(task_library: Path, tmp_path: Path, kind: str) -> None:
    """Google's own object detector, which knows nothing of yolo-edge, goes by the metadata alone."""
    source = load_model(random_darknet(tmp_path, 1))
    picture, model = tmp_path / "picture.png", tmp_path / "a.tflite"
    cv2.imwrite(str(picture), random_picture(source.spec.input.width, source.spec.input.height))
    limits = NmsOptions(0.2, 0.45, 25)
    graph = canonicalize(source.graph)
    model.write_bytes(write_tflite(graph, source.spec, FileOptions(head="nms", input=kind, nms=limits)))
    done = json.loads(run([task_library / "python", "-c", TASK, model, picture], cwd=tmp_path).stdout)
    assert done["files"] == ["labels.txt", "yolo_edge.spec.json"]
    assert done["metadata"]["subgraph_metadata"][0]["input_tensor_metadata"][0]["name"] == "images"
    expected = Detector(write_onnx(graph, source.spec), **vars(limits))(cv2.imread(str(picture)))
    assert len(done["detections"]) == len(expected) > 5
    for item, wanted in zip(done["detections"], expected.to_dicts(source.spec.names), strict=True):
        assert item["class"] == wanted["class"]
        assert abs(item["confidence"] - wanted["confidence"]) <= 1e-3
        # whole pixels
        np.testing.assert_allclose(np.clip(item["box"], 0, None), wanted["box"][:2], atol=1.1)
