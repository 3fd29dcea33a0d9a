import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support import random_picture
from yolo_edge import Detector, InputError, ModelSpec, SpecError
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.spec import METADATA_KEY


def test_path_and_bytes_find_the_same(onnx_file: Path, onnx_bytes: bytes) -> None:
    image = random_picture(120, 90)
    found = [Detector(model, confidence=0.05)(image) for model in (onnx_file, str(onnx_file), onnx_bytes)]
    assert len(found[0]) > 0
    for other in found[1:]:
        np.testing.assert_array_equal(other.xyxy, found[0].xyxy)


def test_what_detections_promise(onnx_file: Path) -> None:
    image = random_picture(120, 90)
    found = Detector(onnx_file, confidence=0.02, iou=0.5, max_detections=7)(image)
    assert len(found) == 7
    assert found.xyxy.shape == (7, 4)
    assert found.xyxy.dtype == found.confidence.dtype == np.float32
    assert (np.diff(found.confidence) <= 0).all()
    assert found.confidence.min() > 0.02
    assert found.xyxy.min() >= 0
    assert (found.xyxy[:, [0, 2]] <= 120).all()
    assert (found.xyxy[:, [1, 3]] <= 90).all()


def test_nothing_found_is_empty_arrays(onnx_file: Path) -> None:
    found = Detector(onnx_file, confidence=1)(random_picture(50, 50))
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)
    assert found.to_dicts(["a"]) == []


def test_agnostic_keeps_fewer(onnx_file: Path) -> None:
    image = random_picture(120, 90)
    counts = [
        len(Detector(onnx_file, confidence=0.01, max_detections=10**6, agnostic=agnostic)(image))
        for agnostic in (False, True)
    ]
    assert counts[1] < counts[0]


def test_to_dicts_is_plain_json(onnx_file: Path) -> None:
    detector = Detector(onnx_file, confidence=0.05)
    first = detector(random_picture(120, 90)).to_dicts(detector.spec.names)[0]
    assert list(first) == ["class", "class_id", "confidence", "box"]
    assert first["class"] == detector.spec.names[first["class_id"]]
    assert [type(value) for value in first.values()] == [str, int, float, list]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, "confidence: expected 0..1, got 1.5"),
        ({"confidence": float("nan")}, "confidence: expected 0..1, got nan"),
        ({"iou": -1}, "iou: expected 0..1, got -1"),
        ({"max_detections": 0}, "max_detections: expected 1 or more, got 0"),
        ({"threads": 0}, "threads: expected 1..1024, got 0"),
        ({"runtime": "ncnn"}, "runtime 'ncnn' is not known; there are auto, onnxruntime"),
    ],
)
def test_options_out_of_range(onnx_file: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Detector(onnx_file, **options)


def foreign(outputs: int = 1, inputs: int = 1) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, [1, 3, 8, 8]) for i in range(inputs)]
    results = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 3, 8, 8]) for i in range(outputs)]
    nodes = [helper.make_node("Relu", [f"x{i % inputs}"], [f"y{i}"]) for i in range(outputs)]
    graph = helper.make_graph(nodes, "foreign", values, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_without_a_spec() -> None:
    with pytest.raises(SpecError, match=f"carries no {METADATA_KEY}"):
        Detector(foreign().SerializeToString())


def test_a_model_with_two_inputs() -> None:
    with pytest.raises(InputError, match="a detector has one input, this model has 2"):
        Detector(foreign(inputs=2, outputs=2).SerializeToString())


def test_a_spec_of_another_model(onnx_bytes: bytes) -> None:
    spec = Detector(onnx_bytes).spec
    with pytest.raises(SpecError, match=r"spec.input: expected images float32 .*, the model has x0 float32"):
        Detector(foreign().SerializeToString(), spec)
    names = (*spec.names, "one more")
    with pytest.raises(SpecError, match="should be"):
        Detector(onnx_bytes, dataclasses.replace(spec, names=names))


def test_a_spec_that_is_no_spec(onnx_bytes: bytes) -> None:
    model = onnx.load_from_string(onnx_bytes)
    model.metadata_props[0].value = '{"version": 1}'
    with pytest.raises(SpecError, match="model: spec: key 'input' is missing"):
        Detector(model.SerializeToString())


def test_a_given_spec_wins(onnx_bytes: bytes) -> None:
    spec = Detector(onnx_bytes).spec
    named = dataclasses.replace(spec, names=tuple(f"renamed {i}" for i in range(len(spec.names))))
    assert Detector(onnx_bytes, named).spec.names[0] == "renamed 0"


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a model", b"\x08\x07" * 50])
def test_files_that_are_no_models(tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.onnx: "):
        Detector(path)
    assert capfd.readouterr() == ("", "")


def test_truncated_models(tmp_path: Path, onnx_bytes: bytes) -> None:
    path = tmp_path / "a.onnx"
    for part in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(onnx_bytes[: int(len(onnx_bytes) * part)])
        with pytest.raises(InputError):
            Detector(path)


def test_suffixes_that_no_runtime_takes(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"expected an \.onnx or \.tflite file, got \.pt"):
        open_runtime(tmp_path / "a.pt")


def test_the_spec_inside_is_what_was_exported(onnx_file: Path) -> None:
    text = open_runtime(onnx_file).metadata[METADATA_KEY]
    assert ModelSpec.from_json(text) == Detector(onnx_file).spec
