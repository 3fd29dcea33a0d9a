"""Reading pictures. OpenCV decodes them; what it would pass over in silence is checked first."""

import zlib

import cv2
import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import PathLike, first_line, read_bytes

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_BYTES = 256 * 1024 * 1024

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (_JPEG, _PNG, b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: PathLike) -> np.ndarray:
    """Read a picture, turned upright as its EXIF data say.

    Args:
        path: A JPEG, PNG, WebP, BMP or TIFF file.

    Returns:
        BGR, uint8 [height, width, 3]. Grey becomes three equal channels; transparency is dropped; 16 bits become 8.

    Raises:
        InputError: No picture, or a truncated or damaged one.
    """
    return decode_image(read_picture(path), path)


def decode_image(data: bytes, name: PathLike) -> np.ndarray:
    """The same of the bytes of a file; `name` is for messages.

    Raises:
        InputError: No picture, or a truncated or damaged one.
    """
    _check(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{name}: OpenCV does not decode it ({first_line(error)})") from error
    if image is None:
        raise InputError(f"{name}: OpenCV does not decode it")
    return np.asarray(image, np.uint8)


def check_image(path: PathLike) -> None:
    """Check, without decoding, that a file looks like a whole picture.

    Raises:
        InputError: It does not.
    """
    _check(read_picture(path), path)


def read_picture(path: PathLike) -> bytes:
    """The bytes of a file that may be a picture, neither checked nor decoded.

    Raises:
        InputError: It cannot be read, is empty, or is too large for a picture.
    """
    return read_bytes(path, MAX_BYTES)


def _check(data: bytes, name: PathLike) -> None:
    if not data.startswith(_SIGNATURES) and not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        raise InputError(f"{name}: not a picture (JPEG, PNG, WebP, BMP or TIFF)")
    # some versions of OpenCV fill the missing part of a cut picture with grey, and libpng writes to the terminal
    if (data.startswith(_JPEG) and not _jpeg_ends(data)) or (data.startswith(_PNG) and not _png_ends(data)):
        raise InputError(f"{name}: the picture is truncated or damaged")


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG has an end marker after its (first) scan: thumbnails in headers have one of their own."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return False
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:  # start of scan: within it 0xFF is followed by 0 or a restart marker
            return data.find(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _png_ends(data: bytes) -> bool:
    """Whether the chunks of a PNG are whole, with the right checksums, up to the one that ends it."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
