"""Trained detectors as TFLite: the maps of the ONNX files, and what is found in pictures."""

from pathlib import Path

import numpy as np
import pytest

from tests.export.test_trained_models import PATHS
from tests.tflite_support import assert_same_maps, nhwc, operators, run_onnx, run_tflite
from yolo_edge import Detector
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.options import FileOptions
from yolo_edge.export.tflite.delegation import Delegation
from yolo_edge.ondevice.images import read_image

PICTURES = ["dog.jpg", "person.jpg", "zidane.jpg"]


@pytest.mark.parametrize("size", [None, (224, 160)])
@pytest.mark.parametrize("name", PATHS)
def test_raw_maps(assets: Path, name: str, size: tuple[int, int] | None) -> None:
    source = load_model(assets / "darknet" / f"{name}.cfg", size=size)
    graph = canonicalize(source.graph)
    tensor = np.random.default_rng(0).random(source.spec.input.shape, dtype=np.float32)
    expected = run_onnx(write_onnx(graph, source.spec), tensor)
    full, half = (write_tflite(graph, source.spec, precision) for precision in ("fp32", "fp16"))
    for delegates in (True, False):
        assert_same_maps(run_tflite(full, nhwc(tensor), delegates=delegates), expected)
        found = run_tflite(half, nhwc(tensor), delegates=delegates)
        assert min(snr_db(nhwc(array), found[key]) for key, array in expected.items()) >= 50
    assert "TRANSPOSE" not in operators(full)
    for data in (full, half):
        delegation = Delegation.of(data)
        assert (delegation.partitions, sum(delegation.left_out.values())) == (1, 0)


@pytest.mark.parametrize("name", PATHS)
def test_pictures(assets: Path, name: str) -> None:
    source = load_model(assets / "darknet" / f"{name}.cfg")
    graph = canonicalize(source.graph)
    expected = Detector(write_onnx(graph, source.spec))
    for options in (FileOptions(), FileOptions(head="nms", input="uint8")):
        detector = Detector(write_tflite(graph, source.spec, options), threads=2)
        for picture in PICTURES:
            image = read_image(assets / "images" / picture)
            found, wanted = detector(image), expected(image)
            np.testing.assert_array_equal(found.class_id, wanted.class_id)
            np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-4)
            np.testing.assert_allclose(found.xyxy, wanted.xyxy, atol=0.1)
