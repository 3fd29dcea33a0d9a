import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import random_picture
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.images import check_image, read_image


def encode(suffix: str) -> bytes:
    return cv2.imencode(suffix, random_picture(40, 30))[1].tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_reads_what_opencv_reads(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a picture{suffix}"
    path.write_bytes(encode(suffix))
    check_image(path)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_alpha_and_16_bits_become_bgr(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full(shape, np.iinfo(dtype).max // 2, dtype))
    image = read_image(path)
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert (image == 127).all()


def test_turned_upright_as_exif_says(tmp_path: Path) -> None:
    jpeg = encode(".jpg")
    # an APP1 segment with one tag: orientation 6, turn by a quarter
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:])
    assert read_image(path).shape == (40, 30, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.9, 0.995])
def test_truncated(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, part: float) -> None:
    data = encode(suffix)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(len(data) * part)])
    for look in (check_image, read_image):
        with pytest.raises(InputError, match=r"a\.(jpg|png): "):
            look(path)
    assert capfd.readouterr() == ("", "")


def test_damaged_png(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode(".png"))
    data[len(data) // 2] ^= 0x55
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_a_thumbnail_does_not_hide_a_cut(tmp_path: Path) -> None:
    jpeg = encode(".jpg")
    thumbnail = b"\xff\xe1" + struct.pack(">H", 6) + b"\xff\xd8\xff\xd9"
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + thumbnail + jpeg[2:-20])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_trailing_bytes_do_no_harm(tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encode(suffix) + b"\0" * 100)
        assert read_image(path).shape == (30, 40, 3)


def test_a_picture_of_absurd_size_is_refused(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in chunks:
        data += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_image(path)


@given(
    data=st.binary(max_size=200),
    magic=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\0"]),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_in_order(tmp_path: Path, data: bytes, magic: bytes) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(magic + data)
    with pytest.raises(InputError):
        read_image(path)
