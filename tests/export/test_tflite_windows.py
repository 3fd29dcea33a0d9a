"""TFLite files of random geometries and random networks, against onnxruntime."""

from pathlib import Path

import numpy as np
import pytest

from tests.support import random_darknet
from tests.tflite_support import assert_same_maps, nhwc, operators, random_windows, run_onnx, run_tflite
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec


@pytest.mark.parametrize("block", range(10))
def test_windows_of_every_geometry(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        graph, label = random_windows(seed)
        _, _, height, width = graph.graph.inputs[0].shape
        spec = ModelSpec(InputSpec(width, height), (Head("yolo", 1, {"map": "head_0"}),), ("a",))
        tensor = np.random.default_rng(seed).normal(0, 1, (1, 3, height, width)).astype(np.float32)
        expected = run_onnx(write_onnx(graph, spec), tensor)
        data = write_tflite(graph, spec)
        for delegates in (True, False):
            try:
                assert_same_maps(run_tflite(data, nhwc(tensor), delegates=delegates), expected)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, delegates {delegates}: {label}: {error}") from error


@pytest.mark.parametrize("seed", range(80))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    cfg = random_darknet(tmp_path, seed)
    source = load_model(cfg)
    graph = canonicalize(source.graph)
    tensor = np.random.default_rng(seed).random(source.spec.input.shape, dtype=np.float32)
    expected = run_onnx(write_onnx(graph, source.spec), tensor)
    data = write_tflite(graph, source.spec)
    assert_same_maps(run_tflite(data, nhwc(tensor)), expected)
    if seed % 4 == 0:
        assert_same_maps(run_tflite(data, nhwc(tensor), delegates=False), expected)
    assert "TRANSPOSE" not in operators(data) or "[reorg]" in cfg.read_text()
