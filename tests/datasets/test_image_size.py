import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import random_picture
from yolo_edge.datasets.image_size import image_size
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.images import SUFFIXES, read_image


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@pytest.mark.parametrize("size", [(1, 1), (17, 300), (640, 33)])
def test_as_opencv_decodes(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), random_picture(*size))
    assert image_size(path) == size == read_image(path).shape[1::-1]


def test_other_kinds_of_webp_and_jpeg(tmp_path: Path) -> None:
    picture = random_picture(70, 41)
    files = {
        "lossless.webp": cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        "alpha.webp": cv2.imencode(".webp", np.dstack([picture, picture[..., 0]])),
        "progressive.jpg": cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    }
    for name, (_, data) in files.items():
        (tmp_path / name).write_bytes(data.tobytes())
        assert image_size(tmp_path / name) == (70, 41)


def exif(orientation: int, order: str = "<") -> bytes:
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", 1) + entry + b"\0" * 4


def with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    segment = b"Exif\0\0" + exif(orientation, order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def png_with_exif(png: bytes, orientation: int, before: bytes) -> bytes:
    data = b"eXIf" + exif(orientation)
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    at = png.index(before) - 4
    return png[:at] + chunk + png[at:]


def webp_with_exif(webp: bytes, orientation: int, size: tuple[int, int], flags: int = 8) -> bytes:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    extended = b"VP8X" + struct.pack("<II", 10, flags) + sides
    body = b"WEBP" + extended + webp[12:] + b"EXIF" + struct.pack("<I", len(exif(1))) + exif(orientation)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_opencv_turns_it(orientation: int, order: str, tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", random_picture(64, 48))[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(with_exif(jpeg, orientation, order))
    height, width = read_image(path).shape[:2]
    assert image_size(path) == (width, height)
    assert (width == 48) == (orientation >= 5)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_of_png_and_webp_as_opencv_turns_it(orientation: int, tmp_path: Path) -> None:
    png, webp = (cv2.imencode(suffix, random_picture(64, 48))[1].tobytes() for suffix in (".png", ".webp"))
    files = {
        "a.png": png_with_exif(png, orientation, b"IDAT"),
        "b.png": png_with_exif(png, orientation, b"IEND"),
        "c.webp": webp_with_exif(webp, orientation, (64, 48)),
        "d.webp": webp_with_exif(webp, orientation, (64, 48), flags=0),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert image_size(tmp_path / name) == read_image(tmp_path / name).shape[1::-1], name
    assert (image_size(tmp_path / "b.png") == (48, 64)) == (orientation >= 5)


def test_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", random_picture(64, 48))[1].tobytes()
    path = tmp_path / "a.jpg"
    segment = b"Exif\0\0II*\0\xff\xff\xff\xff"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:])
    assert image_size(path) == (64, 48)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"GIF89a" + bytes(40), "not a picture"),
        (b"RIFF\0\0\0\0WAVE" + bytes(40), "not a picture"),
        (b"\xff\xd8", "truncated or damaged"),
        (b"\xff\xd8\xff\xe0\0\x10" + bytes(5), "truncated or damaged"),
        (b"\xff\xd8" + b"\xff\xfe\0\x02" * 5000, "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8), "truncated or damaged"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(16), "says 0x0 pixels"),
        (b"BM" + bytes(8), "truncated or damaged"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(20), "truncated or damaged"),
        (b"II*\0\xff\xff\xff\xff", "truncated or damaged"),
        (b"MM\0*\0\0\0\x08\0\0" + bytes(40), "truncated or damaged"),
    ],
)
def test_hostile_headers(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        image_size(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b"II*\0", b"MM\0*"]),
    rest=st.binary(max_size=64),
)
def test_any_header(start: bytes, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(start + rest)
    try:
        width, height = image_size(path)
    except InputError:
        return
    assert width > 0
    assert height > 0


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        image_size(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        image_size(tmp_path / "a.jpg")
