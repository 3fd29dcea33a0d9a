"""From a picture to the input tensor, in few passes over the pixels and into buffers that are kept."""

from dataclasses import dataclass
from typing import Optional, Tuple

import cv2
import numpy as np

from yolo_edge.ondevice.quantized import pixel_table
from yolo_edge.ondevice.spec import InputSpec

_SIGN = np.uint8(0x80)  # a byte of pixel − 128 is that of the pixel with this bit turned over
_INTERPOLATION = {"LINEAR": cv2.INTER_LINEAR, "LINEAR_EXACT": cv2.INTER_LINEAR_EXACT}


@dataclass(frozen=True)
class Placement:
    """Where the picture lies in the network's input: input pixel = source pixel · scale + offset.

    Attributes:
        scale: Along x and y.
        offset: In input pixels, along x and y.
        source: Width and height of the picture.
    """

    scale: Tuple[float, float]
    offset: Tuple[int, int]
    source: Tuple[int, int]

    def to_source(self, xyxy: np.ndarray) -> np.ndarray:
        """Boxes in input pixels [n, 4] → boxes in source pixels, clipped to the picture, float32."""
        boxes = (xyxy - np.array(self.offset * 2, np.float32)) / np.array(self.scale * 2, np.float32)
        return np.clip(boxes, 0, np.array(self.source * 2, np.float32)).astype(np.float32)


def place(spec: InputSpec, width: int, height: int) -> Tuple[Placement, Tuple[int, int]]:
    """Where a picture of `width` x `height` goes, and the (width, height) it is resized to."""
    if spec.resize == "stretch":
        scale = (spec.width / width, spec.height / height)
        return Placement(scale, (0, 0), (width, height)), (spec.width, spec.height)
    ratio = min(spec.width / width, spec.height / height)
    new_width = min(max(round(width * ratio), 1), spec.width)
    new_height = min(max(round(height * ratio), 1), spec.height)
    offset = (0, 0)
    if spec.pad_position == "center":
        offset = ((spec.width - new_width) // 2, (spec.height - new_height) // 2)
    return Placement((new_width / width, new_height / height), offset, (width, height)), (
        new_width,
        new_height,
    )


def check_image(image: np.ndarray) -> None:
    """Check that `image` is what OpenCV reads: uint8 [height, width, 3].

    Raises:
        ValueError: The message says what it is instead.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image is a BGR array, uint8 [height, width, 3], got {found}")
    if 0 in image.shape:
        raise ValueError(f"an image has at least one pixel, got {list(image.shape)}")


def _lookup_table(spec: InputSpec) -> Optional[np.ndarray]:
    """The bytes of `pixel_table` as OpenCV looks them up; None where they are those of the pixels − 128."""
    table = pixel_table(spec)
    if np.array_equal(table, np.arange(-128, 128)[:, None].repeat(3, axis=1)):
        return None
    return table.view(np.uint8)[None]


class Preprocessor:
    """Turns BGR pictures (as OpenCV reads them) into the input tensor of one model.

    The tensor and the padded canvas are allocated once and written again at each call: one instance a thread.
    """

    def __init__(self, spec: InputSpec, channels_last: bool = False):
        """Make the buffers.

        Args:
            spec: Of the input.
            channels_last: Tensors have their channels last in memory, also where the axes are NCHW.
        """
        self.spec = spec
        self._interleaved = channels_last or spec.layout == "NHWC"
        channels, rows = len(spec.scale), (spec.height, spec.width)
        shape = (*rows, channels) if self._interleaved else (channels, *rows)
        self._values = np.empty(shape, np.dtype(spec.dtype))
        ordered = self._values.transpose(2, 0, 1) if self._interleaved and spec.layout == "NCHW" else self._values
        self._tensor = ordered[None]
        self._canvas = np.empty((spec.height, spec.width, 3), np.uint8)
        self._filled = (-1, -1)  # the size of the picture in the canvas, around which the padding is in place
        # where pixels are put in order: bytes right in the tensor
        self._pixels = np.empty(shape, np.uint8) if spec.dtype == "float32" else self._values.view(np.uint8)
        scale = np.array(spec.scale, np.float32)
        shift = np.array(spec.mean, np.float32) * scale
        # as they meet planes, or rows: numpy takes ten times as long where the last axis is of three
        self._scale, self._shift = (
            np.tile(one, spec.width) if self._interleaved else one[:, None, None] for one in (scale, shift)
        )
        self._table = _lookup_table(spec) if spec.dtype == "int8" else None

    def __call__(self, image: np.ndarray) -> Tuple[np.ndarray, Placement]:
        """Resize, order and scale one picture.

        Args:
            image: BGR, uint8 [height, width, 3].

        Returns:
            The input tensor (valid until the next call) and where the picture lies in it.

        Raises:
            ValueError: Not such a picture.
        """
        check_image(image)
        placement, size = place(self.spec, image.shape[1], image.shape[0])
        self._fill(self._resize(image, placement, size))
        return self._tensor, placement

    def _resize(self, image: np.ndarray, placement: Placement, size: Tuple[int, int]) -> np.ndarray:
        whole = size == (self.spec.width, self.spec.height)
        if whole and size == placement.source:
            return image
        if not whole and self._filled != size:
            self._canvas[:] = self.spec.pad_value
        self._filled = size
        left, top = placement.offset
        window = self._canvas[top : top + size[1], left : left + size[0]]
        cv2.resize(image, size, dst=window, interpolation=_INTERPOLATION[self.spec.interpolation])
        return self._canvas

    def _fill(self, canvas: np.ndarray) -> None:
        self._order(canvas, self._pixels)
        if self.spec.dtype == "float32":
            self._scale_pixels()
        elif self.spec.dtype == "int8":
            self._look_up(self._pixels)

    def _order(self, canvas: np.ndarray, pixels: np.ndarray) -> None:
        """The pixels of the canvas as they are ordered in the input, written to `pixels`."""
        if not self._interleaved:
            cv2.split(canvas, list(pixels[::-1] if self.spec.color == "RGB" else pixels))
        elif self.spec.color == "RGB":
            cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB, dst=pixels)
        else:
            pixels[...] = canvas

    def _scale_pixels(self) -> None:
        self._values[...] = self._pixels
        numbers = self._values.reshape(self.spec.height, -1) if self._interleaved else self._values
        numbers *= self._scale
        if self._shift.any():
            numbers -= self._shift

    def _look_up(self, pixels: np.ndarray) -> None:
        """Pixels → the bytes of their integers, in place."""
        if self._table is None:
            np.bitwise_xor(pixels, _SIGN, out=pixels)
        elif self._interleaved:
            cv2.LUT(pixels, self._table, dst=pixels)
        else:
            for i in range(len(pixels)):
                cv2.LUT(pixels[i], self._table[..., i].copy(), dst=pixels[i])
