"""What the Python reference promises of the packages' public names, as their users call them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import yolo_edge
from tests.support import random_picture
from yolo_edge.anchors import assign, cluster, region_fragment, score, yolo_fragment
from yolo_edge.datasets import has_labels, load_images, read_dataset
from yolo_edge.export import FileOptions, canonicalize, load_model, write_onnx, write_tflite
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.sample import CFG
from yolo_edge.sample.scenes import Part, scene, write_dataset

SIDES = [[10, 20], [30, 30], [60, 40], [100, 120]]


def test_completion_shows_what_is_not_loaded_yet() -> None:
    code = "import yolo_edge; print(set(yolo_edge.__all__) <= set(dir(yolo_edge)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
    assert yolo_edge.Detector is Detector


def test_files_may_be_named_by_text(tmp_path: Path) -> None:
    (picture,) = write_dataset(str(tmp_path), {"val": [Part(seed=3, count=1)]})
    dataset = read_dataset(str(tmp_path / "data.yaml"))
    assert dataset.paths == (picture,)
    assert has_labels(str(tmp_path / "images/val"))
    (loaded,) = load_images([str(picture)], lambda image: image.shape)
    assert loaded.path == picture
    assert loaded.size == tuple(dataset.sizes[0])


@pytest.mark.parametrize("name", ["", ".", "..", "../out", "a/b", "/out"])
def test_splits_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a name for a folder"):
        list(write_dataset(tmp_path, {name: [Part(seed=3, count=1)]}))
    assert not list(tmp_path.iterdir())


def test_scenes_have_numbers() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        scene(seed=-1, index=0)


def test_anchors_may_be_lists() -> None:
    found = cluster(SIDES, 4)
    np.testing.assert_array_equal(found.anchors, SIDES)
    assert score(SIDES, SIDES).avg_iou == 1
    heads = assign(SIDES, (32, 16))
    assert [head.mask for head in heads] == [(2, 3), (0, 1)]
    assert yolo_fragment(SIDES, heads, 1) == yolo_fragment(found.anchors, heads, 1)
    assert region_fragment(SIDES, 32, 1) == region_fragment(found.anchors, 32, 1)


def test_bad_anchors() -> None:
    with pytest.raises(InputError, match="width and height each"):
        score(SIDES, [[1, 2], [3]])
    with pytest.raises(InputError, match="seed: expected 0 or more"):
        cluster(SIDES, 2, seed=-1)
    with pytest.raises(InputError, match="one a head"):
        assign(SIDES, ())


def test_files_without_the_command_line() -> None:
    source = load_model(str(CFG), weights=str(CFG.with_suffix(".weights")))
    graph = canonicalize(source.graph)
    picture = random_picture(128, 96)
    for data in (write_onnx(graph, source.spec), write_tflite(graph, source.spec, FileOptions("fp16", head="decoded"))):
        detector = Detector(data)
        tensor, placement = detector.preprocess(picture)
        assert tensor.shape == detector.spec.input.shape
        assert tensor.dtype == detector.spec.input.dtype
        found = detector.postprocess(detector.runtime.run(tensor), placement)
        np.testing.assert_array_equal(found.xyxy, detector(picture).xyxy)


def test_a_precision_that_a_format_lacks_is_refused() -> None:
    source = load_model(CFG)
    with pytest.raises(InputError, match="no operators of 16 bits"):
        write_onnx(canonicalize(source.graph), source.spec, "int8x16")
