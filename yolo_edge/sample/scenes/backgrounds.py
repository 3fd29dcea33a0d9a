"""What is behind: procedural surfaces, alone or cut together."""

import cv2
import numpy as np

from yolo_edge.sample.scenes.patch import (
    Colour,
    Floats,
    Mask,
    Picture,
    between,
    blank,
    chance,
    colour,
    floats,
    one_of,
    spread,
    write_lines,
)

Size = tuple[int, int]


def background(rng: np.random.Generator, size: Size) -> Picture:
    """A cluttered picture (BGR) of `size` (width, height), without any code."""
    picture = _surface(rng, size)
    for _ in range(int(one_of(rng, (0, 1, 1, 2)))):
        mask = _region(rng, size)
        cv2.copyTo(_surface(rng, size), mask, picture)
    if chance(rng, 0.6):
        _clutter(rng, picture)
    return picture


def _surface(rng: np.random.Generator, size: Size) -> Picture:
    return one_of(rng, (_plain, _clouds, _clouds, _wood, _speckles, _weave, _page, _tiles, _blobs))(rng, size)  # type: ignore[no-any-return]


def noise(rng: np.random.Generator, size: Size, finest: float, octaves: int = 4) -> Floats:
    """Smooth noise [h,w] of about -1..1; `finest` is its shortest length in pixels; each octave is twice as long."""
    width, height = size
    total = np.zeros((height, width), np.float32)
    weight = 0.0
    for octave in range(octaves):
        length = finest * 2**octave
        grid = rng.standard_normal((max(2, round(height / length)), max(2, round(width / length))), np.float32)
        total += cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC) * 2.0**octave
        weight += 2.0**octave
    smooth: Floats = total / np.float32(weight * 0.8)
    return smooth


def _mixed(share: Floats, first: Colour, second: Colour) -> Picture:
    at = np.clip(share, 0, 1)[..., None]
    mixed: Picture = (at * floats(first) + (1 - at) * floats(second)).astype(np.uint8)
    return mixed


def _ramp(rng: np.random.Generator, size: Size) -> Floats:
    """0..1 from one side to another, at any angle."""
    angle = between(rng, 0, 2 * np.pi)
    x = np.linspace(-1, 1, size[0], dtype=np.float32) * np.float32(np.cos(angle))
    y = np.linspace(-1, 1, size[1], dtype=np.float32) * np.float32(np.sin(angle))
    across = x[None] + y[:, None]
    ramp: Floats = (across - across.min()) / np.float32(np.ptp(across) + 1e-6)
    return ramp


def _plain(rng: np.random.Generator, size: Size) -> Picture:
    return _mixed(_ramp(rng, size), colour(rng), colour(rng))


def _clouds(rng: np.random.Generator, size: Size) -> Picture:
    share = noise(rng, size, spread(rng, 3, 60)) * np.float32(between(rng, 0.1, 0.6)) + 0.5
    return _mixed(share, colour(rng, saturation=0.8), colour(rng, saturation=0.8))


def _wood(rng: np.random.Generator, size: Size) -> Picture:
    along, across = spread(rng, 20, 120), spread(rng, 1.5, 8)
    grid = rng.standard_normal((max(2, round(size[1] / across)), max(2, round(size[0] / along))), np.float32)
    share = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC) * np.float32(0.25) + 0.5
    dark = (int(between(rng, 10, 90)), int(between(rng, 30, 120)), int(between(rng, 60, 160)))
    light = tuple(min(255, channel + int(between(rng, 20, 80))) for channel in dark)
    drawn = _mixed(share, dark, (light[0], light[1], light[2]))
    if chance(rng, 0.5):
        step = round(between(rng, 40, 120))
        for y in range(int(rng.integers(step)), size[1], step):
            cv2.line(drawn, (0, y), (size[0], y), dark, int(rng.integers(1, 4)))
    if chance(rng, 0.4):
        turned = cv2.rotate(drawn, cv2.ROTATE_90_CLOCKWISE)
        return cv2.resize(turned, size).astype(np.uint8)
    return drawn


def _speckles(rng: np.random.Generator, size: Size) -> Picture:
    """Stone, carpet, gravel."""
    grain = spread(rng, 1, 5)
    small = rng.standard_normal((round(size[1] / grain), round(size[0] / grain), 1), np.float32)
    tinted = small + 0.5 * rng.standard_normal((*small.shape[:2], 3), np.float32)
    spots = cv2.resize(tinted, size, interpolation=cv2.INTER_LINEAR) * np.float32(between(rng, 5, 40))
    drawn: Picture = np.clip(spots + floats(colour(rng, 40, 230, 0.6)), 0, 255).astype(np.uint8)
    return drawn


def _weave(rng: np.random.Generator, size: Size) -> Picture:
    """Cloth, nets, slats."""
    period, other = spread(rng, 3, 40), spread(rng, 3, 40)
    x = np.sin(np.arange(size[0], dtype=np.float32) * np.float32(2 * np.pi / period))
    y = np.sin(np.arange(size[1], dtype=np.float32) * np.float32(2 * np.pi / other) + between(rng, 0, 6))
    share = 0.5 + np.float32(between(rng, 0.05, 0.4)) * (x[None] * between(rng, 0, 1) + y[:, None])
    return _mixed(share.astype(np.float32), colour(rng, saturation=0.8), colour(rng, saturation=0.8))


def _page(rng: np.random.Generator, size: Size) -> Picture:
    """Printed paper: columns of text, pictures, rules."""
    paper, ink = (colour(rng, 190, 255, 0.2), colour(rng, 0, 90, 0.5))
    if chance(rng, 0.15):
        paper, ink = ink, paper
    page = blank(*size, paper)
    columns = int(rng.integers(1, 4))
    wide = size[0] / columns
    for column in range(columns):
        y = between(rng, 0, 30)
        while y < size[1]:
            high = between(rng, 20, 150)
            if chance(rng, 0.25):
                small = cv2.resize(_clouds(rng, (64, 64)), (max(1, round(wide * 0.9)), round(high)))
                field = page[round(y) :, round(column * wide) :][: small.shape[0], : small.shape[1]]
                field[:] = small[: field.shape[0], : field.shape[1]]
            else:
                write_lines(rng, page, column * wide + 5, y, wide - 12, high, ink)
            y += high + between(rng, 4, 30)
    return page


def _tiles(rng: np.random.Generator, size: Size) -> Picture:
    """Bricks and tiles with joints."""
    joint, wide, high = colour(rng), spread(rng, 15, 120), spread(rng, 10, 80)
    drawn = blank(*size, joint)
    base, gap = colour(rng, 40, 255, 0.8), int(rng.integers(1, 5))
    shift = one_of(rng, (0.0, 0.5))
    for row in range(int(size[1] / high) + 1):
        for column in range(-1, int(size[0] / wide) + 1):
            x, y = (column + shift * (row % 2)) * wide, row * high
            tone = np.clip(np.array(base) + rng.normal(0, 12), 0, 255)
            corner = (round(x + wide) - gap, round(y + high) - gap)
            cv2.rectangle(drawn, (round(x), round(y)), corner, tone.tolist(), -1)
    return drawn


def _blobs(rng: np.random.Generator, size: Size) -> Picture:
    """Out-of-focus things."""
    small = (max(8, size[0] // 8), max(8, size[1] // 8))
    drawn = blank(*small, colour(rng))
    for _ in range(int(rng.integers(5, 25))):
        where = (int(rng.integers(small[0])), int(rng.integers(small[1])))
        cv2.circle(drawn, where, int(rng.integers(1, 14)), colour(rng, saturation=1.0), -1)
    soft = cv2.GaussianBlur(drawn, (0, 0), between(rng, 0.5, 3))
    return cv2.resize(soft, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _region(rng: np.random.Generator, size: Size) -> Mask:
    """Half a plane, a polygon or an ellipse, 255 inside."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    if chance(rng, 0.5):
        mask[_ramp(rng, size) > between(rng, 0.3, 0.7)] = 255
    else:
        points = (rng.random((int(rng.integers(3, 7)), 2)) * np.array(size)).astype(np.int32)
        cv2.fillPoly(mask, [cv2.convexHull(points)], 255)
    return mask


def _clutter(rng: np.random.Generator, picture: Picture) -> None:
    """Lines, boxes and discs of any colour."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 14))):
        a = (int(rng.integers(-20, width)), int(rng.integers(-20, height)))
        reach = int(spread(rng, 6, 200))
        b = (a[0] + int(rng.integers(-reach, reach + 1)), a[1] + int(rng.integers(-reach, reach + 1)))
        tone, thick = colour(rng, saturation=1.0), int(one_of(rng, (-1, -1, 1, 2, 4)))
        kind = int(rng.integers(3))
        if kind == 0:
            cv2.line(picture, a, b, tone, abs(thick) + 1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(picture, a, b, tone, thick)
        else:
            cv2.ellipse(
                picture, a, (reach // 2 + 1, reach // 4 + 1), between(rng, 0, 180), 0, 360, tone, thick, cv2.LINE_AA
            )
