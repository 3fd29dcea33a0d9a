"""A flat, printed thing before the camera sees it, and random choices that several files make."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Code:
    """Where a code is on its patch: points [n,2] of its outline in pixels, its four corners while it is flat."""

    class_id: int
    outline: Points

    def moved(self, x: float, y: float) -> "Code":
        """The same code so many pixels to the right and down."""
        return Code(self.class_id, self.outline + np.array([x, y], np.float32))


@dataclass(frozen=True)
class Patch:
    """`image` BGR [h,w,3]; `alpha` [h,w], 255 where it covers what is behind; the codes printed on it."""

    image: Picture
    alpha: Mask
    codes: tuple[Code, ...] = field(default=())

    @property
    def size(self) -> tuple[int, int]:
        """Width, height in pixels."""
        return self.image.shape[1], self.image.shape[0]


def opaque(image: Picture, codes: tuple[Code, ...] = ()) -> Patch:
    """A patch that covers all behind its rectangle."""
    return Patch(image, np.full(image.shape[:2], 255, np.uint8), codes)


def rectangle(x: float, y: float, w: float, h: float) -> Points:
    """The corners [4,2] of a rectangle, clockwise from the top left."""
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Evenly from low to high."""
    return float(rng.uniform(low, high))


def spread(rng: np.random.Generator, low: float, high: float) -> float:
    """From low to high, each ratio as likely as another: sizes."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < probability)


def one_of(rng: np.random.Generator, choices: tuple[Any, ...]) -> Any:
    """Any of them, evenly."""
    return choices[int(rng.integers(len(choices)))]


def colour(rng: np.random.Generator, low: float = 0, high: float = 255, saturation: float = 0.5) -> Colour:
    """BGR whose brightest channel is from low to high; `saturation` is the most that it may have, 0..1."""
    value = between(rng, low, high)
    hue = np.array([rng.random(), rng.random(), rng.random()])
    mixed = value * (1 - between(rng, 0, saturation) * (1 - hue / hue.max()))
    return int(mixed[0]), int(mixed[1]), int(mixed[2])


def brightness(bgr: Colour) -> float:
    """Luma of ITU-R BT.601, 0..255."""
    return 0.114 * bgr[0] + 0.587 * bgr[1] + 0.299 * bgr[2]


def floats(bgr: Colour) -> Floats:
    """[3] to compute with."""
    return np.array(bgr, np.float32)


def corner_colour(image: Picture) -> Colour:
    """Of the top left pixel."""
    blue, green, red = image[0, 0].tolist()
    return blue, green, red


def blank(width: float, height: float, bgr: Colour) -> Picture:
    """A picture of one colour, of a pixel at least."""
    return np.full((max(1, round(height)), max(1, round(width)), 3), bgr, np.uint8)


_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX_SMALL,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)
_LETTERS = "aaabcdeeeefghiiklmnnooprrssttuuvwy"


def words(rng: np.random.Generator, length: int) -> str:
    """Something that looks like words or numbers."""
    if chance(rng, 0.2):
        return "".join(str(digit) for digit in rng.integers(0, 10, length))
    text = "".join(" " if chance(rng, 0.15) else _LETTERS[int(rng.integers(len(_LETTERS)))] for _ in range(length))
    return one_of(rng, (text, text.upper(), text.title()))  # type: ignore[no-any-return]


def write(
    image: Picture, text: str, left: float, top: float, height: float, bgr: Colour, font: int | None = None
) -> None:
    """Write a line of text whose capitals are `height` pixels high, into the picture."""
    scale = height / 22
    thickness = max(1, round(height / 11))
    where = (round(left), round(top + height))
    cv2.putText(image, text, where, _FONTS[0] if font is None else font, scale, bgr, thickness, cv2.LINE_AA)


def font(rng: np.random.Generator) -> int:
    """One of OpenCV's."""
    return int(one_of(rng, _FONTS))


def write_lines(
    rng: np.random.Generator, image: Picture, left: float, top: float, width: float, height: float, bgr: Colour
) -> None:
    """Fill a rectangle of the picture with lines of text of one size."""
    if width < 8 or height < 5:
        return
    size = min(height, between(rng, 4, max(5.0, min(28.0, height / 2))))
    face, y = font(rng), top
    while y + size <= top + height:
        letters = max(1, int(width / size * between(rng, 0.3, 1.1)))
        write(image, words(rng, letters), left, y, size, bgr, face)
        y += size * 1.7
