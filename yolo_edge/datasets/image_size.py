"""Width and height of a picture from its header, upright as its EXIF data say: nothing is decoded."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import reason

_HEAD = 32
_MAX_SEGMENTS = 1000  # of a JPEG, chunks of a PNG or WebP, or entries of a TIFF's directory
_MAX_EXIF = 1 << 16  # bytes: what a segment of a JPEG can hold
_TIFF_WIDTH, _TIFF_HEIGHT, _ORIENTATION = 256, 257, 274
# JPEG: start of frame, of all kinds; 0xC4, 0xC8 and 0xCC are others
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SHORT, _LONG = 3, 4
_EXIF = b"Exif\0\0"  # before the TIFF of a JPEG's segment
_WEBP_EXIF = 0x08  # the flag of VP8X that announces a chunk of it

Size = tuple[int, int]


def image_size(path: Path) -> Size:
    """Width and height in pixels of a JPEG, PNG, WebP, BMP or TIFF file, as OpenCV 4.14 turns it.

    Raises:
        InputError: It cannot be read, is no such file, or its header is damaged.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            size = _read(file)
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error
    except (struct.error, ValueError) as error:
        raise InputError(f"{path}: the picture's header is truncated or damaged") from error
    if size is None:
        raise InputError(f"{path}: not a picture (JPEG, PNG, WebP, BMP or TIFF)")
    if min(size) < 1:
        raise InputError(f"{path}: the picture's header says {size[0]}x{size[1]} pixels")
    return size


def _read(file: BinaryIO) -> Size | None:
    head = file.read(_HEAD)
    for start, read in _FORMATS:
        if head.startswith(start):
            return read(file, head)
    return None


def _jpeg(file: BinaryIO, _: bytes) -> Size:
    turned = False
    at = 2
    for _segment in range(_MAX_SEGMENTS):
        file.seek(at)
        mark, marker, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF:
            break
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            return (height, width) if turned else (width, height)
        else:
            if marker == 0xE1:
                segment = file.read(length - 2) if length > 2 else b""
                turned = turned or (segment.startswith(_EXIF) and _is_turned(segment[len(_EXIF) :]))
            at += 2 + length
    raise ValueError("no frame")


def _is_turned(exif: bytes) -> bool:
    """Whether EXIF data, in the form of a TIFF, say that the picture lies on its side."""
    try:
        return _directory(io.BytesIO(exif), exif[:8]).get(_ORIENTATION, 1) >= 5
    except (struct.error, ValueError):  # damaged EXIF data do not turn a picture
        return False


def _find_chunk(file: BinaryIO, at: int, wanted: bytes, describe: Callable[[bytes], tuple[bytes, int]]) -> bytes:
    """What follows the head of a chunk; nothing where there is no such chunk.

    Args:
        file: Of chunks whose heads have 8 bytes.
        at: The first of them.
        wanted: Its name.
        describe: A head → the chunk's name, and the bytes from its first to that of the next.
    """
    for _ in range(_MAX_SEGMENTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = describe(head)
        if name == wanted:
            return file.read(_MAX_EXIF)
        at += length
    return b""


def _png_chunk(head: bytes) -> tuple[bytes, int]:
    length, name = struct.unpack(">I4s", head)
    return name, 12 + length  # with a checksum


def _webp_chunk(head: bytes) -> tuple[bytes, int]:
    name, length = struct.unpack("<4sI", head)
    return name, 8 + length + length % 2


def _directory(file: BinaryIO, head: bytes) -> dict[int, int]:
    """The whole numbers in a TIFF's first directory: tag → value."""
    order = {b"II": "<", b"MM": ">"}[head[:2]] if head[:2] in (b"II", b"MM") else ""
    if not order or struct.unpack(order + "H", head[2:4])[0] != 42:
        raise ValueError("no TIFF")
    file.seek(struct.unpack(order + "I", head[4:8])[0])
    (count,) = struct.unpack(order + "H", file.read(2))
    found = {}
    for _ in range(min(count, _MAX_SEGMENTS)):
        tag, kind, values, raw = struct.unpack(order + "HHI4s", file.read(12))
        if values == 1 and kind in (_SHORT, _LONG):
            found[tag] = struct.unpack(order + ("H" if kind == _SHORT else "I"), raw[: 2 if kind == _SHORT else 4])[0]
    return found


def _tiff(file: BinaryIO, head: bytes) -> Size:
    tags = _directory(file, head)
    if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
        raise ValueError("no size")
    size = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
    return size[::-1] if tags.get(_ORIENTATION, 1) >= 5 else size


def _png(file: BinaryIO, head: bytes) -> Size:
    if head[12:16] != b"IHDR":
        raise ValueError("no header")
    width, height = struct.unpack(">II", head[16:24])
    turned = _is_turned(_find_chunk(file, 8, b"eXIf", _png_chunk))
    return (height, width) if turned else (width, height)


def _bmp(_: BinaryIO, head: bytes) -> Size:
    if struct.unpack("<I", head[14:18])[0] == 12:  # OS/2
        width, height = struct.unpack("<HH", head[18:22])
    else:
        width, height = struct.unpack("<ii", head[18:26])
    return width, abs(height)  # negative: from top to bottom


def _webp(file: BinaryIO, head: bytes) -> Size | None:
    if head[8:12] != b"WEBP":
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        turned = head[20] & _WEBP_EXIF and _is_turned(_find_chunk(file, 12, b"EXIF", _webp_chunk))
        return (height, width) if turned else (width, height)
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no frame")


_FORMATS: tuple[tuple[bytes, Callable[[BinaryIO, bytes], Size | None]], ...] = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II", _tiff),
    (b"MM", _tiff),
)
