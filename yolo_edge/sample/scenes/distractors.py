"""Things that look like codes and are none."""

import cv2
import numpy as np

from yolo_edge.sample.scenes.patch import (
    Colour,
    Patch,
    Picture,
    between,
    blank,
    brightness,
    chance,
    colour,
    one_of,
    opaque,
    words,
    write,
    write_lines,
)


def distractor(rng: np.random.Generator, side: float) -> Patch:
    """A patch whose longer side is about `side` pixels, without any code."""
    kinds = (
        _checkerboard,
        _dots,
        _stripes,
        _stripes,
        _keyboard,
        _text,
        _text,
        _crossword,
        _rings,
        _mosaic,
        _ruler,
        _piano,
        _table,
        _icon,
        _squares,
    )
    return opaque(one_of(rng, kinds)(rng, max(12.0, side)))


def _two(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Ink and ground, as often as not black and white, since that is what fools."""
    pair = (colour(rng, 0, 60, 0.3), colour(rng, 200, 255, 0.2)) if chance(rng, 0.6) else (colour(rng), colour(rng))
    return pair if chance(rng, 0.7) else (pair[1], pair[0])


def _checkerboard(rng: np.random.Generator, side: float) -> Picture:
    ink, ground = _two(rng)
    rows, columns = (int(n) for n in rng.integers(3, 13, 2))
    odd = np.add.outer(np.arange(rows), np.arange(columns))[..., None] % 2
    board = np.where(odd, np.array(ink, np.uint8), np.array(ground, np.uint8))
    cell = max(2, round(side / max(rows, columns)))
    image = cv2.resize(board, (columns * cell, rows * cell), interpolation=cv2.INTER_NEAREST)
    return cv2.copyMakeBorder(image, cell, cell, cell, cell, cv2.BORDER_CONSTANT, value=ground).astype(np.uint8)


def _dots(rng: np.random.Generator, side: float) -> Picture:
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.5, 1), ground)
    step = max(4, round(side / between(rng, 4, 16)))
    for y in range(step // 2, image.shape[0], step):
        for x in range(step // 2, image.shape[1], step):
            cv2.circle(image, (x, y), max(1, int(step * 0.35)), ink, -1, cv2.LINE_AA)
    return image


def _stripes(rng: np.random.Generator, side: float) -> Picture:
    """Fences, blinds, grilles, crossings: bars all alike, which those of a code never are."""
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.25, 1), ground)
    period = max(3.0, side / between(rng, 4, 28))
    wide = max(1, round(period * between(rng, 0.3, 0.7)))
    for place in np.arange(period / 2, side - wide, period):
        image[:, round(place) : round(place) + wide] = ink
    if chance(rng, 0.4):
        for place in rng.random(2):
            y = int(place * image.shape[0])
            image[y : y + wide] = ink
    return image


def _keyboard(rng: np.random.Generator, side: float) -> Picture:
    key, ground = _two(rng)
    columns, rows = int(rng.integers(5, 15)), int(rng.integers(3, 6))
    cell = side / columns
    image = blank(side, cell * rows, ground)
    ink = colour(rng, 200, 255, 0.2) if brightness(key) < 110 else colour(rng, 0, 60, 0.2)
    for row in range(rows):
        x = cell * between(rng, 0, 0.5)
        while x < side - cell:
            wide = cell * float(one_of(rng, (1.0, 1.0, 1.0, 1.0, 1.5, 2.5)))
            ends = (round(x + wide * 0.94), round((row + 0.94) * cell))
            cv2.rectangle(image, (round(x), round((row + 0.06) * cell)), ends, key, -1)
            if cell > 9:
                write(image, words(rng, 1), x + cell * 0.3, (row + 0.3) * cell, cell * 0.35, ink)
            x += wide
    return image


def _text(rng: np.random.Generator, side: float) -> Picture:
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.2, 1), ground)
    write_lines(rng, image, side * 0.05, image.shape[0] * 0.08, side * 0.9, image.shape[0] * 0.85, ink)
    return image


def _crossword(rng: np.random.Generator, side: float) -> Picture:
    """Cells with lines around each, few of them filled."""
    ink, ground = _two(rng)
    n = int(rng.integers(5, 14))
    cell = max(4, round(side / n))
    image = blank(n * cell + 1, n * cell + 1, ground)
    for row, column in np.argwhere(rng.random((n, n)) < between(rng, 0.05, 0.3)):
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = ink
    image[::cell] = ink
    image[:, ::cell] = ink
    return image


def _rings(rng: np.random.Generator, side: float) -> Picture:
    """Targets and lone finder-like squares."""
    ink, ground = _two(rng)
    image = blank(side, side, ground)
    middle, square = int(side / 2), chance(rng, 0.5)
    count = int(rng.integers(2, 6))
    for ring in range(count):
        half = int(side / 2 * 0.9 * (1 - ring / count))
        tone = ground if ring % 2 else ink
        if square:
            cv2.rectangle(image, (middle - half, middle - half), (middle + half, middle + half), tone, -1)
        else:
            cv2.circle(image, (middle, middle), half, tone, -1, cv2.LINE_AA)
    return image


def _mosaic(rng: np.random.Generator, side: float) -> Picture:
    """A colour picture of few, large pixels."""
    n = int(rng.integers(4, 16))
    small = rng.integers(0, 256, (n, n, 3)).astype(np.uint8)
    soft = cv2.GaussianBlur(small, (3, 3), 0) if chance(rng, 0.5) else small
    return cv2.resize(soft, (round(side), round(side)), interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def _ruler(rng: np.random.Generator, side: float) -> Picture:
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.1, 0.25), ground)
    step = max(3.0, side / between(rng, 20, 80))
    for index, place in enumerate(np.arange(step, side - step, step)):
        long = 0.7 if index % 10 == 0 else 0.5 if index % 5 == 0 else 0.35
        cv2.line(image, (round(place), 0), (round(place), int(image.shape[0] * long)), ink, 1)
    return image


def _piano(rng: np.random.Generator, side: float) -> Picture:
    keys = int(rng.integers(7, 22))
    wide = side / keys
    image = blank(side, side * between(rng, 0.2, 0.5), colour(rng, 215, 255, 0.1))
    for index in range(1, keys):
        x = round(index * wide)
        cv2.line(image, (x, 0), (x, image.shape[0]), (60, 60, 60), max(1, round(wide / 15)))
        if index % 7 not in (0, 3):
            cv2.rectangle(
                image, (round(x - wide * 0.3), 0), (round(x + wide * 0.3), int(image.shape[0] * 0.62)), (20, 20, 20), -1
            )
    return image


def _table(rng: np.random.Generator, side: float) -> Picture:
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.4, 1), ground)
    rows, columns = int(rng.integers(3, 10)), int(rng.integers(2, 6))
    high, wide = image.shape[0] / rows, side / columns
    for row in range(rows):
        cv2.line(image, (0, round(row * high)), (image.shape[1], round(row * high)), ink, 1)
        for column in range(columns):
            if high > 7:
                write(
                    image, words(rng, int(rng.integers(2, 7))), column * wide + 3, (row + 0.25) * high, high * 0.45, ink
                )
    for column in range(columns):
        cv2.line(image, (round(column * wide), 0), (round(column * wide), image.shape[0]), ink, 1)
    return image


def _icon(rng: np.random.Generator, side: float) -> Picture:
    """A framed sign: a square with a dark border, as markers have, around a disc, a cross or a letter."""
    ink, ground = _two(rng)
    image = blank(side, side, ground)
    edge, middle = max(1, round(side * between(rng, 0.03, 0.15))), round(side / 2)
    cv2.rectangle(image, (edge, edge), (round(side) - edge, round(side) - edge), ink, edge)
    kind, radius = int(rng.integers(3)), max(2, round(side * between(rng, 0.12, 0.28)))
    if kind == 0:
        cv2.circle(image, (middle, middle), radius, ink, -1, cv2.LINE_AA)
    elif kind == 1:
        cv2.line(image, (middle - radius, middle - radius), (middle + radius, middle + radius), ink, edge, cv2.LINE_AA)
        cv2.line(image, (middle - radius, middle + radius), (middle + radius, middle - radius), ink, edge, cv2.LINE_AA)
    else:
        write(image, words(rng, 1), middle - radius * 0.7, middle - radius, radius * 2.0, ink)
    return image


def _squares(rng: np.random.Generator, side: float) -> Picture:
    """Windows of a house, shelves, a calendar: rectangles in rows, of a few sizes."""
    ink, ground = _two(rng)
    image = blank(side, side * between(rng, 0.6, 1), ground)
    rows, columns = int(rng.integers(2, 7)), int(rng.integers(2, 7))
    high, wide, fill = image.shape[0] / rows, side / columns, between(rng, 0.4, 0.85)
    for row in range(rows):
        for column in range(columns):
            corner = (round(column * wide + wide * (1 - fill) / 2), round(row * high + high * (1 - fill) / 2))
            ends = (round(corner[0] + wide * fill), round(corner[1] + high * fill))
            tone = ink if chance(rng, 0.8) else colour(rng)
            cv2.rectangle(image, corner, ends, tone, -1)
    return image
