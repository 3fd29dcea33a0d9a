"""What codes are printed on: labels, boxes, pages, screens, or the bare surface."""

import cv2
import numpy as np

from yolo_edge.sample.scenes.patch import (
    Colour,
    Patch,
    between,
    blank,
    brightness,
    chance,
    colour,
    corner_colour,
    one_of,
    opaque,
    write_lines,
)


def put_on_surface(rng: np.random.Generator, patch: Patch) -> Patch:
    """The code on something larger that was printed, or as it is."""
    return one_of(rng, (_bare, _label, _label, _label, _package, _package, _screen, _stamped))(rng, patch)  # type: ignore[no-any-return]


def _bare(rng: np.random.Generator, patch: Patch) -> Patch:
    return patch


def _stamped(rng: np.random.Generator, patch: Patch) -> Patch:
    """Printed on what is behind, which shines through the paper."""
    grey = cv2.cvtColor(patch.image, cv2.COLOR_BGR2GRAY)
    paper = int(grey[0, 0])
    ink = int(grey.min()) if paper - int(grey.min()) > int(grey.max()) - paper else int(grey.max())
    inked = np.abs(grey.astype(np.float32) - paper) / max(abs(ink - paper), 1)
    through = between(rng, 0.4, 0.95)
    alpha = np.clip(255 * np.maximum(inked, through), 0, 255).astype(np.uint8)
    return Patch(patch.image, alpha, patch.codes)


def _larger(rng: np.random.Generator, patch: Patch, most: float, ground: Colour) -> tuple[Patch, tuple[int, int]]:
    """The patch somewhere on a larger ground; where its top left is."""
    width, height = patch.size
    reach = max(width, height) * most
    left, right, top, bottom = (round(between(rng, 0.0, reach) * (1 if chance(rng, 0.7) else 0.2)) for _ in range(4))
    image = blank(width + left + right, height + top + bottom, ground)
    image[top : top + height, left : left + width] = patch.image
    moved = tuple(code.moved(left, top) for code in patch.codes)
    return opaque(image, moved), (left, top)


def _print_around(rng: np.random.Generator, around: Patch, inner: Patch, left: int, top: int, ink: Colour) -> None:
    """Text, lines and signs in the four margins of the inner patch."""
    width, height = around.size
    w, h = inner.size
    margins = (
        (0, 0, width, top),
        (0, top + h, width, height - top - h),
        (0, top, left, h),
        (left + w, top, width - left - w, h),
    )
    for x, y, wide, high in margins:
        if wide < 10 or high < 6 or chance(rng, 0.25):
            continue
        gap = 0.06 * min(wide, high) + 1
        kind = rng.random()
        if kind < 0.75:
            share = between(rng, 0.4, 1)
            write_lines(rng, around.image, x + gap, y + gap, (wide - 2 * gap) * share, high - 2 * gap, ink)
        elif kind < 0.9:
            radius = max(1, round(min(wide, high) * between(rng, 0.15, 0.4)))
            where = (round(x + wide * between(rng, 0.2, 0.8)), round(y + high / 2))
            cv2.circle(around.image, where, radius, colour(rng, 0, 255, 1.0), one_of(rng, (-1, 2)), cv2.LINE_AA)
        else:
            ends = (round(x + wide * 0.9), round(y + high * 0.8))
            cv2.rectangle(
                around.image, (round(x + gap), round(y + gap)), ends, colour(rng, 0, 255, 1.0), one_of(rng, (-1, 1))
            )


def _ink_on(rng: np.random.Generator, ground: Colour) -> Colour:
    return colour(rng, 0, 80, 0.8) if brightness(ground) > 110 else colour(rng, 170, 255, 0.5)


def _label(rng: np.random.Generator, patch: Patch) -> Patch:
    """Paper of the colour of the quiet zone, with text."""
    ground = corner_colour(patch.image)
    around, (left, top) = _larger(rng, patch, between(rng, 0.1, 1.2), ground)
    _print_around(rng, around, patch, left, top, _ink_on(rng, ground))
    width, height = around.size
    if chance(rng, 0.3):
        cv2.rectangle(around.image, (1, 1), (width - 2, height - 2), _ink_on(rng, ground), max(1, width // 120))
    if chance(rng, 0.3):
        cv2.ellipse(around.alpha, (0, 0), (width // 12, height // 12), 0, 0, 90, 0, -1)
        cv2.ellipse(around.alpha, (width, height), (width // 12, height // 12), 0, 180, 270, 0, -1)
    return around


def _package(rng: np.random.Generator, patch: Patch) -> Patch:
    """A coloured face of a box, the code in its own field."""
    ground = colour(rng, 10, 255, 0.9)
    around, (left, top) = _larger(rng, patch, between(rng, 0.3, 2.0), ground)
    height = around.size[1]
    if chance(rng, 0.5):
        other, place = colour(rng, 10, 255, 0.9), round(height * between(rng, 0.2, 0.8))
        keep = around.image[top : top + patch.size[1], left : left + patch.size[0]].copy()
        around.image[place:] = other
        around.image[top : top + patch.size[1], left : left + patch.size[0]] = keep
    _print_around(rng, around, patch, left, top, _ink_on(rng, ground))
    return around


def _screen(rng: np.random.Generator, patch: Patch) -> Patch:
    """A phone's or a monitor's: bright, with a bar above, a dark frame and rounded corners."""
    page = corner_colour(patch.image) if chance(rng, 0.6) else colour(rng, 0, 255, 0.4)
    around, (left, top) = _larger(rng, patch, between(rng, 0.1, 0.9), page)
    _print_around(rng, around, patch, left, top, _ink_on(rng, page))
    width, height = around.size
    frame = max(2, round(max(width, height) * between(rng, 0.02, 0.08)))
    image = cv2.copyMakeBorder(
        around.image, frame * 2, frame * 2, frame, frame, cv2.BORDER_CONSTANT, value=colour(rng, 0, 60, 0.2)
    ).astype(np.uint8)
    moved = tuple(code.moved(frame, frame * 2) for code in around.codes)
    return opaque(image, moved)
