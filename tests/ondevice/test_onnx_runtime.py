"""Whether onnxruntime is told to keep int8 sums from saturating."""

import platform
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cpus import Machine, is_precise
from tests.int8_support import qdq_bytes, quantize
from yolo_edge import Detector
from yolo_edge.export import canonicalize
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.runtimes import open_runtime
from yolo_edge.ondevice.runtimes.onnx import OnnxRuntime, int8_saturates, new_session


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def int8_bytes(cfg: Path) -> bytes:
    source = load_model(cfg)
    shape = (1, 3, source.spec.input.height, source.spec.input.width)
    tensor = np.random.default_rng(0).random(shape, np.float32)
    return qdq_bytes(quantize(canonicalize(source.graph), [tensor]))


@pytest.mark.parametrize(
    ("name", "features", "saturates"),
    [
        ("x86_64", "", True),
        ("x86_64", "avx512f avx512bw", True),
        ("x86_64", "avx_vnni_int8", True),  # other instructions
        ("x86_64", "avx_vnni", False),
        ("x86_64", "avx512f avx512_vnni", False),
        ("x86_64", None, True),
        ("AMD64", None, True),  # Windows
        ("aarch64", "", False),
        ("aarch64", None, False),
        ("arm64", None, False),
        ("armv7l", "", False),
    ],
)
def test_where_int8_saturates(machine: Machine, name: str, features: str | None, saturates: bool) -> None:
    machine.becomes(name, features)
    assert int8_saturates() is saturates


def test_a_cpuinfo_that_says_nothing(machine: Machine) -> None:
    machine.cpuinfo.write_bytes(b"")
    assert int8_saturates()
    machine.cpuinfo.write_bytes(b"\xff\xfe flags: avx_vnni\n")
    assert int8_saturates()


def test_sessions_go_by_the_cpu_unless_told(machine: Machine, onnx_bytes: bytes) -> None:
    for features, expected in (("", True), ("avx_vnni", False)):
        machine.becomes("x86_64", features)
        assert is_precise(new_session(onnx_bytes).get_session_options()) is expected
        for precise in (True, False):
            assert is_precise(new_session(onnx_bytes, precise=precise).get_session_options()) is precise


def test_detectors_and_runtimes_say_what_they_do(machine: Machine, onnx_bytes: bytes) -> None:
    assert Detector(onnx_bytes).runtime.precise is True
    assert Detector(onnx_bytes, fast=True).runtime.precise is False
    assert open_runtime(onnx_bytes, fast=True).precise is False
    machine.becomes("x86_64", "avx512_vnni")
    assert Detector(onnx_bytes).runtime.precise is False
    runtime = OnnxRuntime(onnx_bytes, precise=True)
    assert runtime.precise is True
    assert is_precise(runtime._session.get_session_options())


def test_tflite_has_no_such_choice(machine: Machine, tflite_bytes: bytes) -> None:
    for fast in (True, False):
        assert Detector(tflite_bytes, fast=fast).runtime.precise is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is nothing to choose on other machines")
def test_precise_kernels_compute_the_same_where_nothing_saturates(int8_bytes: bytes, tmp_path: Path) -> None:
    kinds, outputs = [], []
    for precise in (False, True):
        path = tmp_path / f"{precise}.onnx"
        session = new_session(int8_bytes, precise=precise, optimized_model_filepath=str(path))
        graph = onnx.load(path).graph
        weights = {node.input[3] for node in graph.node if node.op_type == "QLinearConv"}
        kinds.append({value.data_type for value in graph.initializer if value.name in weights})
        shape = session.get_inputs()[0].shape
        tensor = np.random.default_rng(1).random(shape, np.float32)
        outputs.append(session.run(None, {"images": tensor}))
    # without AVX2 onnxruntime has one kind of kernels only, and leaves the weights
    assert kinds[0] == {onnx.TensorProto.INT8}
    if "avx2" in Path("/proc/cpuinfo").read_text():
        assert kinds[1] == {onnx.TensorProto.UINT8}
    if not int8_saturates():
        for expected, found in zip(*outputs, strict=True):
            np.testing.assert_array_equal(found, expected)
