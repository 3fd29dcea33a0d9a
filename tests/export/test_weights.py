from pathlib import Path

import numpy as np
import pytest

from tests.support import random_darknet
from yolo_edge.export.importers.darknet.weights import WeightsFile
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.errors import InputError


def weights(folder: Path, header: tuple[int, int], values: np.ndarray) -> Path:
    path = folder / "a.weights"
    seen = np.zeros(1, "<i8" if header[0] * 10 + header[1] >= 2 else "<i4")
    path.write_bytes(np.array([*header, 0], "<i4").tobytes() + seen.tobytes() + values.astype("<f4").tobytes())
    return path


@pytest.mark.parametrize("version", [(0, 1), (0, 2), (0, 3), (1, 0)])
def test_both_headers(tmp_path: Path, version: tuple[int, int]) -> None:
    values = np.arange(10, dtype=np.float32)
    file = WeightsFile(weights(tmp_path, version, values))
    np.testing.assert_array_equal(file.take((2, 3), "first"), values[:6].reshape(2, 3))
    np.testing.assert_array_equal(file.take((4,), "second"), values[6:])
    file.finish(Path("net.cfg"))


@pytest.mark.parametrize(("extra", "word"), [(-4, "short"), (-1, "short"), (1, "long"), (4, "long"), (4000, "long")])
def test_short_and_long_files_state_both_numbers(tmp_path: Path, extra: int, word: str) -> None:
    cfg = random_darknet(tmp_path, 5)
    path = cfg.with_suffix(".weights")
    data = path.read_bytes()
    path.write_bytes(data[:extra] if extra < 0 else data + b"\0" * extra)
    with pytest.raises(InputError) as error:
        load_model(cfg)
    assert f"too {word} for {cfg.name}: the network has {(len(data) - 20) // 4} parameters" in str(error.value)
    assert f"({len(data)} bytes with the header), the file has {len(data) + extra} bytes" in str(error.value)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "a PyTorch checkpoint"),
        (b"\x89HDF\r\n", "a Keras model"),
        (b"\x80\x02}", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"[net]\nwidth", "a cfg text"),
        (b"\xff" * 16, "the header says version -1.-1"),
    ],
)
def test_foreign_files(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "a.weights"
    path.write_bytes(start + b"\0" * 100)
    with pytest.raises(InputError, match="not darknet weights") as error:
        WeightsFile(path)
    assert message in str(error.value)


@pytest.mark.parametrize("size", [1, 15, 16, 19])
def test_files_that_end_in_their_header(tmp_path: Path, size: int) -> None:
    cfg = random_darknet(tmp_path, 5)
    path = cfg.with_suffix(".weights")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"{size} bytes"):
        load_model(cfg)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    cfg = random_darknet(tmp_path, 5)
    path = cfg.with_suffix(".weights")
    data = path.read_bytes()
    path.write_bytes(data[:-4] + np.array([value], "<f4").tobytes())
    with pytest.raises(InputError, match=r"layer \d+ \[convolutional\] weight: NaN or infinity"):
        load_model(cfg)


def test_a_variance_below_zero(tmp_path: Path) -> None:
    # bias, scale, mean, variance of two filters, then the weights; real files have −1e−43
    header = "[net]\nwidth=8\nheight=8\n[convolutional]\nbatch_normalize=1\nfilters=6\n"
    (tmp_path / "a.cfg").write_text(header + "[yolo]\nclasses=1\nanchors=1,2\nnum=1\n")
    values = np.full(6 * 4 + 18, 0.5, np.float32)
    values[20] = -1e-43
    weights(tmp_path, (0, 2), values)
    load_model(tmp_path / "a.cfg")
    values[20] = -0.1
    weights(tmp_path, (0, 2), values)
    with pytest.raises(InputError, match=r"layer 0 \[convolutional\] variance: -0.1 is below zero"):
        load_model(tmp_path / "a.cfg")


def test_a_real_upload_that_was_damaged(assets: Path) -> None:
    damaged = assets / "darknet" / "corrupt" / "yolov4-tiny-utf8-mangled.weights"
    with pytest.raises(InputError) as error:
        load_model(assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg", weights=damaged)
    assert "363334" in str(error.value) or "header" in str(error.value)


def test_parameters_are_not_copied(tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 5)
    file = WeightsFile(cfg.with_suffix(".weights"))
    assert isinstance(file.take((3,), "a").base, np.memmap)
