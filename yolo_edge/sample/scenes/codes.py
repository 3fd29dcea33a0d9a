"""Codes as they are printed: patches whose own corners are known."""

import functools
from typing import Any

import cv2
import numpy as np

from yolo_edge.ondevice.errors import InputError
from yolo_edge.sample import ARUCO_MARKER, BARCODE, QR_CODE
from yolo_edge.sample.scenes.barcodes import check_digit, code128, ean8, ean13
from yolo_edge.sample.scenes.patch import (
    Code,
    Colour,
    Mask,
    Patch,
    Picture,
    between,
    blank,
    brightness,
    chance,
    colour,
    floats,
    one_of,
    opaque,
    rectangle,
    write,
)

_TEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-./:?=&%"
_DICTIONARIES = (
    "4X4_50",
    "4X4_250",
    "5X5_100",
    "5X5_1000",
    "6X6_250",
    "7X7_250",
    "ARUCO_ORIGINAL",
    "APRILTAG_16H5",
    "APRILTAG_25H9",
    "APRILTAG_36H11",
)


def code(rng: np.random.Generator, class_id: int, side: float) -> Patch:
    """A code of the class on its quiet zone; its longer side is about `side` pixels."""
    return (_qr_code, _aruco_marker, _barcode)[class_id](rng, side)


def dense_qr_code(rng: np.random.Generator, side: float) -> Patch:
    """One of up to 177 modules a side."""
    settings = cv2.QRCodeEncoder.Params()
    settings.correction_level = cv2.QRCODE_ENCODER_CORRECT_LEVEL_L
    return _printed_qr_code(rng, _text(rng, 150, 2600), settings, side)


def _text(rng: np.random.Generator, shortest: int, longest: int) -> str:
    length = int(rng.integers(shortest, longest))
    return "".join(_TEXT[int(place)] for place in rng.integers(0, len(_TEXT), length))


def _inks(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Dark and light, far enough apart for a reader: black on white more often than not."""
    if chance(rng, 0.6):
        return colour(rng, 0, 50, 0.3), colour(rng, 225, 255, 0.1)
    while True:
        dark, light = colour(rng, 0, 150, 1.0), colour(rng, 130, 255, 0.7)
        if brightness(light) - brightness(dark) > 70:
            return dark, light


def _ink(cover: Mask, dark: Colour, light: Colour) -> Picture:
    """BGR from how much ink there is, 0..255."""
    share = cover[..., None].astype(np.float32) / 255
    mixed: Picture = np.rint(share * floats(dark) + (1 - share) * floats(light)).astype(np.uint8)
    return mixed


def _modules(cover: Mask, side: float) -> Mask:
    """Modules [n,n], 255 for ink, to about `side` pixels: drawn large, then averaged, so that none is lost."""
    n = cover.shape[0]
    pixels = max(1, -(-round(side) // n))
    large = cv2.resize(cover, (n * pixels, n * pixels), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(large, (round(side), round(side)), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _dots(rng: np.random.Generator, cover: Mask, side: float) -> Mask:
    """Modules as dots, or with their corners rounded; finder patterns stay whole."""
    n = cover.shape[0]
    pixels = max(7, -(-round(side) // n))
    large = cv2.resize(cover, (n * pixels, n * pixels), interpolation=cv2.INTER_NEAREST)
    if chance(rng, 0.5):
        soft = cv2.GaussianBlur(large, (0, 0), pixels * between(rng, 0.2, 0.35))
        round_ones = np.where(soft > 127, 255, 0).astype(np.uint8)
    else:
        dot = np.zeros((pixels, pixels), np.uint8)
        cv2.circle(dot, (pixels // 2, pixels // 2), max(1, int(pixels * between(rng, 0.36, 0.5))), 255, -1)
        round_ones = np.minimum(large, np.tile(dot, (n, n)))
    finder = 7 * pixels
    for x, y in ((0, 0), (n * pixels - finder, 0), (0, n * pixels - finder)):
        round_ones[y : y + finder, x : x + finder] = large[y : y + finder, x : x + finder]
    return cv2.resize(round_ones, (round(side), round(side)), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _framed(rng: np.random.Generator, cover: Mask, class_id: int, quiet: float, inverted: bool) -> Patch:
    dark, light = _inks(rng)
    if inverted:
        dark, light = light, dark
    height, width = cover.shape
    around = max(1, round(quiet))
    image = blank(width + 2 * around, height + 2 * around, light)
    image[around : around + height, around : around + width] = _ink(cover, dark, light)
    return opaque(image, (Code(class_id, rectangle(around, around, width, height)),))


def _qr_code(rng: np.random.Generator, side: float) -> Patch:
    settings = cv2.QRCodeEncoder.Params()
    settings.correction_level = int(rng.integers(0, 4))
    return _printed_qr_code(rng, _text(rng, 4, one_of(rng, (20, 60, 60, 150))), settings, side)


def _printed_qr_code(rng: np.random.Generator, text: str, settings: Any, side: float) -> Patch:
    drawn = cv2.QRCodeEncoder.create(settings).encode(text)
    rows, columns = np.nonzero(drawn == 0)
    cover = np.uint8(255) - drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    n = cover.shape[0]
    mask = _dots(rng, cover, side) if chance(rng, 0.2) else _modules(cover, side)
    patch = _framed(rng, mask, QR_CODE, side / n * between(rng, 1, 5), chance(rng, 0.08))
    if chance(rng, 0.15):
        _put_logo(rng, patch, side)
    return patch


def _put_logo(rng: np.random.Generator, patch: Patch, side: float) -> None:
    """A sign in the middle, as error correction allows."""
    width, height = patch.size
    half = round(side * between(rng, 0.08, 0.14))
    x, y = width // 2, height // 2
    cv2.rectangle(patch.image, (x - half, y - half), (x + half, y + half), colour(rng, 200, 255), -1)
    half = max(1, round(half * 0.8))
    if chance(rng, 0.5):
        cv2.circle(patch.image, (x, y), half, colour(rng, 0, 255, 1.0), -1, cv2.LINE_AA)
    else:
        cv2.rectangle(patch.image, (x - half, y - half), (x + half, y + half), colour(rng, 0, 255, 1.0), -1)


@functools.cache
def _dictionary(name: str) -> Any:
    if not hasattr(cv2, "aruco") or not hasattr(cv2.aruco, "generateImageMarker"):
        raise InputError(
            f"scenes need OpenCV 4.7 or newer, with its ArUco markers; this is {cv2.__version__}: upgrade it"
        )
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))


def _aruco_marker(rng: np.random.Generator, side: float) -> Patch:
    dictionary = _dictionary(one_of(rng, _DICTIONARIES))
    border = 2 if chance(rng, 0.1) else 1
    n = dictionary.markerSize + 2 * border
    identity = int(rng.integers(len(dictionary.bytesList)))
    cover = np.uint8(255) - cv2.aruco.generateImageMarker(dictionary, identity, n, borderBits=border)
    return _framed(rng, _modules(cover, side), ARUCO_MARKER, side / n * between(rng, 0.6, 2.5), chance(rng, 0.06))


def _barcode(rng: np.random.Generator, side: float) -> Patch:
    modules, digits, guards = _numbers(rng)
    width = len(modules)
    pixels = max(1, -(-round(side) // width))
    height = round(width * pixels * between(rng, 0.15, 0.9))
    row = np.repeat(np.frombuffer(modules.encode(), np.uint8) - ord("0"), pixels) * np.uint8(255)
    if pixels > 2 and chance(rng, 0.3):  # printers spread or starve ink
        row = cv2.erode(row[None], np.ones((1, 2), np.uint8))[0]
    cover = np.tile(row, (height, 1))
    digit_height = round(pixels * between(rng, 6, 10)) if digits else 0
    if guards:  # the bars over the digits end earlier
        for start, end in ((3, width // 2 - 2), (width // 2 + 3, width - 3)):
            cover[height - round(digit_height * between(rng, 0.3, 0.6)) :, start * pixels : end * pixels] = 0
    scale = side / cover.shape[1]
    size = (round(side), max(3, round(height * scale)))
    patch = _framed(
        rng,
        cv2.resize(cover, size, interpolation=cv2.INTER_AREA).astype(np.uint8),
        BARCODE,
        side / width * between(rng, 2, 12),
        chance(rng, 0.03),
    )
    return _with_digits(patch, digits, digit_height * scale, bool(guards)) if digits else patch


def _numbers(rng: np.random.Generator) -> tuple[str, str, bool]:
    """Modules, the text under them, and whether guard bars reach into it."""
    kind = one_of(rng, ("ean13", "ean13", "upca", "ean8", "code128", "code128"))
    if kind == "code128":
        text = _text(rng, 4, 16)
        return code128(text), text if chance(rng, 0.7) else "", False
    number = [int(digit) for digit in rng.integers(0, 10, 7 if kind == "ean8" else 12)]
    if kind == "upca":
        number[0] = 0
    shown = "".join(map(str, (*number, check_digit(number)))) if chance(rng, 0.9) else ""
    return (ean8 if kind == "ean8" else ean13)(number), shown, bool(shown) and chance(rng, 0.8)


def _with_digits(patch: Patch, digits: str, height: float, guards: bool) -> Patch:
    """The text below the bars, or between the guard bars; the box stays that of the bars."""
    (found,) = patch.codes
    left, bottom = float(found.outline[0, 0]), float(found.outline[2, 1])
    wide = float(found.outline[1, 0]) - left
    extra = round(height * 1.4)
    image = cv2.copyMakeBorder(patch.image, 0, extra, 0, 0, cv2.BORDER_REPLICATE).astype(np.uint8)
    ink = image[int(bottom) - 2, int(left) + 1].tolist()
    top = bottom - height * 0.4 if guards else bottom + height * 0.2
    places = np.linspace(left - (wide * 0.08 if guards else 0), left + wide * 0.93, len(digits))
    for place, digit in zip(places, digits, strict=True):
        write(image, digit, float(place), top, height * 0.75, ink)
    return opaque(image, patch.codes)
