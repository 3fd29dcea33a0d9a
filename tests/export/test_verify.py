from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support import RandomWeights, random_picture
from yolo_edge import Detector
from yolo_edge.evaluation.snr import MAX_SNR_DB, snr_db
from yolo_edge.export import canonicalize, verify, write_onnx, write_tflite
from yolo_edge.export.fusion import count_fused
from yolo_edge.export.importers.darknet import import_darknet
from yolo_edge.export.load import load_model
from yolo_edge.export.verify import (
    Reference,
    VerificationError,
    _agreement,
    noise,
    own_pictures,
    relative_error,
    speed_ratio,
)
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import InputSpec
from yolo_edge.sample.scenes import scene


@pytest.fixture(scope="module")
def reference(cfg: Path) -> Reference:
    source = load_model(cfg)
    return Reference(source.graph, source.spec, [random_picture(80, 60, seed) for seed in range(3)])


def with_weights(data: bytes, factor: float) -> bytes:
    """The file with one of its weights changed."""
    model = onnx.load_from_string(data)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    array = numpy_helper.to_array(weight).copy()
    array.reshape(-1)[0] += np.abs(array).max() * factor
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    return model.SerializeToString()


def test_a_good_file_passes(reference: Reference, cfg: Path) -> None:
    source = load_model(cfg)
    graph = canonicalize(source.graph)
    for write, precision, least in (
        (write_onnx, "fp32", 100),
        (write_onnx, "fp16", 50),
        (write_tflite, "fp32", 100),
        (write_tflite, "fp16", 50),
    ):
        seen = reference.verify(write(graph, source.spec, precision), precision)
        assert len(seen.snr_db) == len(source.spec.heads)
        assert least < min(seen.snr_db) <= MAX_SNR_DB
        assert 0 < seen.fused <= seen.convolutions
        assert seen.agreement is None or seen.agreement > 0.98


def test_a_planted_error_is_found(reference: Reference, onnx_bytes: bytes) -> None:
    with pytest.raises(VerificationError, match=r"fp32 differs from the source by .* at head_\d, the limit is 0.0001"):
        reference.verify(with_weights(onnx_bytes, 0.02), "fp32")
    with pytest.raises(VerificationError, match=r"fp16 has an SNR of .* dB at head_\d, the limit is 50 dB"):
        reference.verify(with_weights(onnx_bytes, 0.5), "fp16")


def test_a_file_that_gives_nan_is_refused(reference: Reference, onnx_bytes: bytes) -> None:
    broken = with_weights(onnx_bytes, float("nan"))
    for precision in ("fp32", "fp16"):
        with pytest.raises(VerificationError):
            reference.verify(broken, precision)


def test_agreement_needs_objects(cfg: Path, onnx_bytes: bytes) -> None:
    source = load_model(cfg)
    reference = Reference(source.graph, source.spec, [random_picture(80, 60)])
    for outputs in reference.outputs:
        for array in outputs.values():
            np.subtract(array, 30, out=array)  # nothing reaches the threshold
    detector = Detector(onnx_bytes)
    placements = [detector.preprocess(picture)[1] for picture in reference.pictures]
    assert _agreement(detector, reference.outputs, reference.outputs, placements) is None


def test_a_source_that_gives_nan_is_said(tmp_path: Path) -> None:
    # weights that are all finite, and overflow
    (tmp_path / "a.cfg").write_text(
        "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4\nactivation=linear\n"
        "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"
    )
    values = np.full(4 + 12 + 6 + 24, 1e30, "<f4")
    (tmp_path / "a.weights").write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + values.tobytes())
    source = load_model(tmp_path / "a.cfg")
    with pytest.raises(VerificationError, match="the source model gives NaN or infinity at head_0"):
        Reference(source.graph, source.spec)


def test_snr_and_relative_error() -> None:
    signal = np.array([1, -1, 1, -1], np.float32)
    assert snr_db(signal, signal) == MAX_SNR_DB
    assert snr_db(signal, signal * 1.1) == pytest.approx(20, abs=1e-3)
    assert snr_db(np.zeros(2), np.ones(2)) == -MAX_SNR_DB
    assert relative_error(signal, signal + 0.5) == 0.5
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(np.zeros(2), np.ones(2)) == float("inf")


@pytest.mark.parametrize("size", [(320, 320), (32, 96), (8, 8)])
def test_noise_is_seeded_and_fits(size: tuple[int, int]) -> None:
    spec = InputSpec(*size)
    pictures = noise(spec)
    assert len(pictures) == 4
    for picture, again in zip(pictures, noise(spec), strict=True):
        assert picture.shape == (size[1], size[0], 3)
        np.testing.assert_array_equal(picture, again)
    assert not np.array_equal(noise(spec, seed=1)[3], pictures[3])


def test_without_pictures_scenes_go_with_the_noise() -> None:
    spec = InputSpec(64, 64)
    found = own_pictures(spec)
    for picture, expected in zip(found, [*noise(spec), scene(0, 0).image, scene(0, 1).image], strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_without_scenes_noise_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seed: int, index: int) -> None:
        raise InputError("this OpenCV cannot draw them")

    monkeypatch.setattr(verify, "scene", refuse)
    monkeypatch.setattr(verify, "_scenes", verify._scenes.__wrapped__)
    assert len(verify.own_pictures(InputSpec(64, 64))) == 4


def test_fused_counts_what_the_runtime_does(tmp_path: Path) -> None:
    # onnxruntime fuses LeakyRelu into the convolution before it, and neither SiLU nor Mish
    for activation, fused in (("leaky", 2), ("swish", 1), ("mish", 1)):
        (tmp_path / "a.cfg").write_text(
            f"[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4\nactivation={activation}\n"
            "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"
        )
        values = np.full(4 + 12 + 6 + 24, 0.1, "<f4")
        (tmp_path / "a.weights").write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + values.tobytes())
        source = load_model(tmp_path / "a.cfg")
        assert count_fused(write_onnx(canonicalize(source.graph), source.spec)) == (2, fused)


@pytest.mark.parametrize(
    ("activation", "fused"), [("relu", 2), ("relu6", 2), ("linear", 2), ("leaky", 1), ("swish", 1), ("mish", 1)]
)
def test_fused_counts_what_is_one_operator_in_tflite(tmp_path: Path, activation: str, fused: int) -> None:
    (tmp_path / "a.cfg").write_text(
        f"[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=4\nactivation={activation}\n"
        "[convolutional]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"
    )
    source = import_darknet(tmp_path / "a.cfg", RandomWeights(0))
    for precision in ("fp32", "fp16"):
        assert count_fused(write_tflite(canonicalize(source.graph), source.spec, precision)) == (2, fused)


def test_speed_ratio_of_a_file_with_itself(
    reference: Reference, onnx_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_TIMING_SECONDS", 1.0)
    # a wide margin: this is about the sense of the ratio, not about time
    assert 0.2 < speed_ratio(onnx_bytes, onnx_bytes, reference.pictures[0]) < 5
