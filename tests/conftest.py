"""Fixtures of all rooms."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import random_darknet, shared_dir

# a job in the background, or under nohup, starts with these ignored, and so would all programs that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# how long an example takes says nothing on a machine that does other things, too
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared() -> Path:
    return shared_dir()


@pytest.fixture(scope="session")
def assets(shared: Path) -> Path:
    return shared / "assets"


@pytest.fixture(scope="session")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random detector of our own, with weights beside it."""
    return random_darknet(tmp_path_factory.mktemp("darknet"), seed=3)


@pytest.fixture(scope="session")
def onnx_bytes(cfg: Path) -> bytes:
    from yolo_edge.export import canonicalize, write_onnx
    from yolo_edge.export.load import load_model

    source = load_model(cfg)
    return write_onnx(canonicalize(source.graph), source.spec)


@pytest.fixture(scope="session")
def tflite_bytes(cfg: Path) -> bytes:
    from yolo_edge.export import canonicalize, write_tflite
    from yolo_edge.export.load import load_model

    source = load_model(cfg)
    return write_tflite(canonicalize(source.graph), source.spec)


@pytest.fixture(scope="session")
def tflite_file(tflite_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "random.tflite"
    path.write_bytes(tflite_bytes)
    return path


@pytest.fixture(scope="session")
def onnx_file(onnx_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "random.onnx"
    path.write_bytes(onnx_bytes)
    return path
