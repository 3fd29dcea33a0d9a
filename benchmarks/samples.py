"""Samples kept compact: times as texts that a JSON document can hold."""

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TICK_NS = 100  # the resolution; a uint32 of them reaches to 429 s
ENCODING = "base64 of zlib of the first bytes, then the second … of little-endian uint32"

_MAX_BYTES = 1 << 28


def encode(nanoseconds: Sequence[int] | NDArray[np.float64]) -> str:
    """Times as a text of about three bytes a sample."""
    ticks = np.clip(np.round(np.asarray(nanoseconds, np.float64) / TICK_NS), 0, 2**32 - 1).astype("<u4")
    # the high bytes of neighbours are alike: together they compress
    planes = np.ascontiguousarray(ticks.view(np.uint8).reshape(-1, 4).T)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def encode_bytes(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Numbers from 0 to 255 as a text."""
    return base64.b64encode(zlib.compress(np.clip(np.round(values), 0, 255).astype(np.uint8).tobytes(), 6)).decode()


def decode_bytes(text: str, count: int) -> NDArray[np.float64]:
    """The numbers of `encode_bytes`.

    Raises:
        ValueError: The text holds something else.
    """
    return np.frombuffer(_unpack(text, count), np.uint8).astype(np.float64)


def encode_floats(values: NDArray[np.float64]) -> str:
    """Numbers as a text, to the last bit."""
    planes = np.ascontiguousarray(values.astype("<f8").reshape(-1).view(np.uint8).reshape(-1, 8).T)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def decode_floats(text: str, count: int) -> NDArray[np.float64]:
    """The numbers of `encode_floats`.

    Raises:
        ValueError: The text holds something else.
    """
    planes = np.frombuffer(_unpack(text, 8 * count), np.uint8).reshape(8, count)
    return np.ascontiguousarray(planes.T).view("<f8")[:, 0].astype(np.float64)


def decode(text: str, count: int) -> NDArray[np.float64]:
    """Milliseconds of `count` samples.

    Raises:
        ValueError: The text holds something else.
    """
    planes = np.frombuffer(_unpack(text, 4 * count), np.uint8).reshape(4, count)
    return np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.float64) * (TICK_NS / 1e6)


def _unpack(text: str, size: int) -> bytes:
    if not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"damaged samples: {size} bytes of them")
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(text, validate=True), size + 1)
    except (ValueError, zlib.error) as error:  # binascii's is a ValueError
        raise ValueError(f"damaged samples ({error})") from error
    if len(data) != size:
        raise ValueError(f"damaged samples: expected {size} bytes")
    return data
