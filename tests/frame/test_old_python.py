"""What travels to a device runs on Python 3.8, out of a zip file, and finds what the host finds."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.frame.tools import (
    assert_same_detections,
    find_python,
    install,
    new_environment,
    run,
    zip_device_part,
)
from tests.support import random_darknet
from yolo_edge import Detector
from yolo_edge.devices.agents import AgentProcess
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model

# the oldest OpenCV that is supported; of numpy and onnxruntime the last for Python 3.8 come along
REQUIREMENTS = ("numpy", "opencv-python-headless==4.6.0.66", "onnxruntime", "tflite-runtime")

# runs on both sides: LINEAR_EXACT gives the same pixels in every version of OpenCV
SCRIPT = """
import importlib, json, pkgutil, sys
import cv2, numpy, onnxruntime
import yolo_edge, yolo_edge.ondevice
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.spec import replace_input

for module in pkgutil.walk_packages(yolo_edge.ondevice.__path__, "yolo_edge.ondevice."):
    importlib.import_module(module.name)
model, picture, resize = sys.argv[1:]
spec = replace_input(yolo_edge.Detector(model).spec, interpolation="LINEAR_EXACT", resize=resize)
found = yolo_edge.Detector(model, spec, confidence=0.01)(read_image(picture))
print(json.dumps({
    "python": list(sys.version_info[:2]),
    "from": yolo_edge.__file__,
    "versions": [module.__version__ for module in (numpy, cv2, onnxruntime)],
    "detections": found.to_dicts(spec.names),
}))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment such as a device has."""
    python = find_python("3.8")
    if python is None:
        pytest.skip("no Python 3.8 that runs, with venv: neither python3.8 on PATH nor one of pyenv's")
    with new_environment(tmp_path_factory.mktemp("device") / "environment", python) as programs:
        install(programs, *REQUIREMENTS)
        yield programs


def test_a_device_finds_what_the_host_finds(programs: Path, tmp_path: Path) -> None:
    package = zip_device_part(tmp_path)
    # heads of both families, both ways into the input; no overlap is so near the limit that rounding decides
    for seed, resize, suffix in (
        (7, "letterbox", ".onnx"),
        (35, "stretch", ".onnx"),
        (7, "letterbox", ".tflite"),
        (35, "stretch", ".tflite"),
    ):
        model = _export(tmp_path, seed, suffix)
        picture = tmp_path / f"picture-{seed}.png"
        cv2.imwrite(str(picture), np.random.default_rng(seed).integers(0, 256, (150, 200, 3), np.uint8))
        arguments = [SCRIPT, model, picture, resize]
        device = _answer([programs / "python", "-c", *arguments], tmp_path, PYTHONPATH=str(package))
        host = _answer([sys.executable, "-c", *arguments], tmp_path)
        assert device["python"] == [3, 8]
        assert device["from"].startswith(str(package))
        assert device["versions"][1] == "4.6.0"
        assert not host["from"].startswith(str(package))
        assert_same_detections(device["detections"], host["detections"])


def test_a_device_measures(programs: Path, tmp_path: Path) -> None:
    model = _export(tmp_path, 7, ".onnx")
    command = [str(programs / "python"), "-m", "yolo_edge.ondevice.agent"]
    environment = {"PYTHONPATH": str(zip_device_part(tmp_path)), "PATH": os.environ["PATH"]}
    with AgentProcess(command, "a device", environment=environment) as agent:
        assert agent.host["python"].startswith("3.8.")
        options = {"runtime": "auto", "threads": 2, "image": None, "pin": True, "fast": False}
        loaded = agent.ask("load", 60, model=str(model), spec=Detector(model).spec.to_json(), **options)
        assert loaded["runtime"] == "onnxruntime"
        assert agent.ask("warm_up", 60, window_s=0.01, within=0.1, cap_s=0.1)["median_ms"] > 0
        assert len(agent.ask("turn", 60, seconds=0.01, count=5, settle_s=0.001)["stages_ns"]) >= 5
        assert agent.ask("profile", 60, count=3)["nodes"]
        assert agent.ask("conditions", 60)["load"] is not None
    with AgentProcess(command, "a device", environment=environment) as agent:
        assert agent.ask("peak", 60, threads=1, seconds=0.05, pin=True)["gflops"] > 0.1


def _export(folder: Path, seed: int, suffix: str) -> Path:
    source = load_model(random_darknet(folder, seed))
    model = folder / f"model-{seed}{suffix}"
    write = write_onnx if suffix == ".onnx" else write_tflite
    model.write_bytes(write(canonicalize(source.graph), source.spec))
    return model


def _answer(command: list[str | Path], folder: Path, **variables: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(command, cwd=folder, **variables).stdout)
    return answer
