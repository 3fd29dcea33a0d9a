"""Where labels go beside points, so that none lies on another: Vega-Lite has nothing for that."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

_LETTER, _LINE = 6.2, 13.0  # pixels of a letter of 11 px, on average, and of a line
_GAP = 11.0  # from the middle of a point, which may have a ring around it

Align = Literal["left", "right", "center"]
Box = tuple[float, float, float, float]
Spot = tuple[float, float]
Line = tuple[Spot, Spot]


@dataclass(frozen=True)
class Axis:
    """A scale as it will be drawn: from a domain to pixels."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def at(self, value: float) -> float:
        """Pixels from the low end."""
        if self.log:
            return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)
        return self.pixels * (value - self.low) / (self.high - self.low)


def axis_of(values: Sequence[float], pixels: float, *, margin: float = 0.08, log: bool | None = None) -> Axis:
    """An axis that holds all values with some room; logarithmic where they are far apart.

    Args:
        values: At least one; above 0 where it shall be logarithmic.
        pixels: Its length.
        margin: Room at both ends, as a fraction.
        log: None: decide.
    """
    low, high = min(values), max(values)
    logarithmic = low > 0 and high > 8 * low if log is None else log
    if logarithmic:
        room = max((high / low) ** margin, 1.15)
        return Axis(low / room, high * room, pixels, log=True)
    room = (high - low) * margin or abs(high) * margin or 1.0
    bottom = low - room
    return Axis(0.0 if low >= 0 > bottom else bottom, high + room, pixels)


@dataclass(frozen=True)
class Label:
    """A text beside a point.

    Attributes:
        number: Of the point.
        dx: Pixels to the right.
        dy: Pixels down.
        align: Of the text.
    """

    number: int
    dx: float
    dy: float
    align: Align


# right, left, above, below, and between: the first that is free is taken
_PLACES: tuple[tuple[float, float, Align], ...] = (
    (_GAP, 0.0, "left"),
    (-_GAP, 0.0, "right"),
    (0.0, -_GAP - 4, "center"),
    (0.0, _GAP + 4, "center"),
    (_GAP - 2, -_GAP, "left"),
    (_GAP - 2, _GAP, "left"),
    (-_GAP + 2, -_GAP, "right"),
    (-_GAP + 2, _GAP, "right"),
)
# above to the left and below to the right a stepped line does not come
_BESIDE_STEPS = (_PLACES[6], _PLACES[5], _PLACES[1], _PLACES[2])


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[tuple[int, str]],
    width: float,
    height: float,
    stepped: Collection[int] = (),
    lines: Sequence[Line] = (),
) -> list[Label]:
    """Find room for labels; one that has none is left out.

    Args:
        points: All that is drawn, (x, y) in pixels from the lower left corner.
        texts: Number of a point, and its label; the first are the more important.
        width: Of the chart, in pixels.
        height: Of it.
        stepped: Numbers of points that a line leaves to the right, and comes to from below.
        lines: Straight ones, which no label may lie on; ends in pixels as the points.
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    labels = []
    for number, text in texts:
        x, y = points[number]
        for dx, dy, align in _BESIDE_STEPS if number in stepped else _PLACES:
            box = _box(x + dx, y - dy, text, align)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            free = not any(_overlap(box, other) for i, other in enumerate(taken) if i != number)
            if inside and free and not any(_crosses(line, box) for line in lines):
                taken.append(box)
                labels.append(Label(number, dx, dy, align))
                break
    return labels


def _box(x: float, y: float, text: str, align: Align) -> Box:
    wide = _LETTER * len(text)
    left = {"left": x, "right": x - wide, "center": x - wide / 2}[align]
    return (left, y - _LINE / 2, left + wide, y + _LINE / 2)


def _crosses(line: Line, box: Box) -> bool:
    """Whether a line has a part in a box (Liang & Barsky 1984)."""
    (x1, y1), (x2, y2) = line
    begin, end = 0.0, 1.0
    for at, step, low, high in ((x1, x2 - x1, box[0], box[2]), (y1, y2 - y1, box[1], box[3])):
        if step == 0:
            if not low < at < high:
                return False
            continue
        first, last = sorted(((low - at) / step, (high - at) / step))
        begin, end = max(begin, first), min(end, last)
    return begin < end


def steps(spots: Sequence[Spot]) -> list[Line]:
    """The lines of one that goes to the right and then up, from point to point."""
    return [
        line
        for (x1, y1), (x2, y2) in pairwise(spots)
        for line in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)))
        if line[0] != line[1]
    ]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
