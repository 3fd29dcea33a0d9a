"""Light, lens and sensor: what happens to a scene on its way into a file."""

import cv2
import numpy as np

from yolo_edge.sample.scenes.backgrounds import noise
from yolo_edge.sample.scenes.patch import Floats, Picture, between, chance, spread


def photograph(rng: np.random.Generator, picture: Picture, smallest: float) -> Picture:
    """The picture as a camera gives it. Blur stays readable for a code whose longer side has `smallest` pixels."""
    return _file(rng, _sensor(rng, _blur(rng, _light(rng, picture), smallest)))


def _light(rng: np.random.Generator, picture: Picture) -> Floats:
    height, width = picture.shape[:2]
    coarse = (max(2, width // 8), max(2, height // 8))  # light changes slowly: computed small
    light = np.ones((coarse[1], coarse[0]), np.float32)
    if chance(rng, 0.6):  # uneven lamps
        light *= 1 + np.float32(between(rng, 0.05, 0.35)) * noise(rng, coarse, max(coarse) / 3, 1)
    if chance(rng, 0.3):  # a lens darkens corners
        y, x = np.mgrid[-1 : 1 : coarse[1] * 1j, -1 : 1 : coarse[0] * 1j].astype(np.float32)
        light *= 1 - np.float32(between(rng, 0.1, 0.45)) * (x * x + y * y) / 2
    if chance(rng, 0.35):
        light *= _shadow(rng, coarse)
    out = picture.astype(np.float32) * cv2.resize(light, (width, height))[..., None]
    if chance(rng, 0.25):
        spot = cv2.resize(_glare(rng, coarse), (width, height))[..., None]
        out += (255 * np.float32(between(rng, 0.5, 1.2)) - out * np.float32(0.4)).clip(0) * spot
    return out


def _shadow(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Of a hand, a head, a window frame: a dark polygon with a soft edge."""
    mask = np.zeros((size[1], size[0]), np.float32)
    points = (between(rng, -0.3, 0.6) + rng.random((5, 2)) * between(rng, 0.4, 1.2)) * np.array(size)
    cv2.fillPoly(mask, [cv2.convexHull(points.astype(np.int32))], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), spread(rng, 0.4, 8)).astype(np.float32)
    light: Floats = 1 - mask * np.float32(between(rng, 0.2, 0.65))
    return light


def _glare(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """0..1: the mirror image of a lamp on glossy paper."""
    spot = np.zeros((size[1], size[0]), np.float32)
    middle = (int(rng.integers(size[0])), int(rng.integers(size[1])))
    axes = (max(1, int(size[0] * between(rng, 0.02, 0.2))), max(1, int(size[1] * between(rng, 0.02, 0.2))))
    cv2.ellipse(spot, middle, axes, between(rng, 0, 180), 0, 360, 1.0, -1)
    return cv2.GaussianBlur(spot, (0, 0), spread(rng, 1, 7)).astype(np.float32)


def _blur(rng: np.random.Generator, picture: Floats, smallest: float) -> Floats:
    if chance(rng, 0.5):  # out of focus
        sigma = min(spread(rng, 0.4, 4.5), smallest * 0.035 + 0.3)
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
    if chance(rng, 0.2):  # moved while the shutter was open
        length = min(spread(rng, 2, 18), smallest * 0.12 + 1)
        n = 2 * int(length / 2 + 1) + 1
        kernel = np.zeros((n, n), np.float32)
        reach = np.array([np.cos(angle := between(rng, 0, np.pi)), np.sin(angle)]) * length / 2
        ends = [tuple(int(v) for v in np.rint((n // 2 + sign * reach) * 16)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum()).astype(np.float32)
    return picture


def _sensor(rng: np.random.Generator, picture: Floats) -> Picture:
    """White balance, exposure, tone, noise; sometimes only grey."""
    tint = np.float32(np.exp(rng.normal(0, 0.07, 3)))
    value = picture * (tint / tint.mean() * np.float32(spread(rng, 0.55, 1.45)))
    np.clip(value, 0, 255, out=value)
    value = 255 * (value / 255) ** np.float32(spread(rng, 0.7, 1.45))
    if chance(rng, 0.5):
        value = (value - 128) * np.float32(between(rng, 0.55, 1.15)) + np.float32(128 + between(rng, -25, 25))
    grey = chance(rng, 0.2)
    if grey:
        value = value.mean(2, keepdims=True)
    if chance(rng, 0.6):
        value = value + np.float32(spread(rng, 1, 14)) * rng.standard_normal(value.shape, np.float32)
    whole = np.clip(value, 0, 255).astype(np.uint8)
    return np.repeat(whole, 3, 2) if grey else whole


def _file(rng: np.random.Generator, picture: Picture) -> Picture:
    """JPEG's blocks; sharpening and smoothing that phones do before."""
    if chance(rng, 0.2):
        soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
        picture = cv2.addWeighted(picture, 1 + (more := between(rng, 0.3, 1.2)), soft, -more, 0).astype(np.uint8)
    if chance(rng, 0.7):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))])
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return picture
