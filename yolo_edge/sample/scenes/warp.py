"""Patches bent, turned in space and laid onto a picture."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from yolo_edge.sample.scenes.patch import Code, Patch, Picture, Points, between, chance, one_of, rectangle, spread

Box = tuple[float, float, float, float]
_POINTS = 12  # of an edge, once it is no longer straight


def bent(rng: np.random.Generator, patch: Patch) -> Patch:
    """The patch around a cylinder, upright or lying, seen from a little above or below."""
    if chance(rng, 0.5):
        return _transposed(_around_cylinder(rng, _transposed(patch)))
    return _around_cylinder(rng, patch)


def _transposed(patch: Patch) -> Patch:
    image = np.ascontiguousarray(patch.image.transpose(1, 0, 2))
    codes = tuple(Code(code.class_id, np.ascontiguousarray(code.outline[:, ::-1])) for code in patch.codes)
    return Patch(image, np.ascontiguousarray(patch.alpha.T), codes)


def _around_cylinder(rng: np.random.Generator, patch: Patch) -> Patch:
    """A point at the share s (-1..1) of the width is seen at sin(s a) / sin(a), lifted by 1 - cos(s a)."""
    width, height = patch.size
    half_angle = between(rng, 0.3, 1.2)
    lift = height * between(rng, -0.2, 0.2)
    out_width, out_height = max(2, round(width * math.sin(half_angle) / half_angle)), round(height + abs(lift))
    seen = np.linspace(-1, 1, out_width, dtype=np.float32)
    share = np.arcsin(seen * np.float32(math.sin(half_angle))) / np.float32(half_angle)
    fall = (1 - np.cos(share * half_angle)) / (1 - math.cos(half_angle)) * lift - min(lift, 0)
    from_x = np.broadcast_to((share + 1) / 2 * (width - 1), (out_height, out_width)).astype(np.float32)
    from_y = (np.arange(out_height, dtype=np.float32)[:, None] - fall[None]).astype(np.float32)
    image = cv2.remap(patch.image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shade = 1 - between(rng, 0, 0.7) * (1 - np.cos(share * half_angle))
    image = (image * shade[None, :, None]).astype(np.uint8)
    alpha = cv2.remap(patch.alpha, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def moved(code: Code) -> Code:
        x, y = _dense(code.outline).T
        angle = (x / max(width - 1, 1) * 2 - 1) * half_angle
        lifted = (1 - np.cos(angle)) / (1 - math.cos(half_angle)) * lift - min(lift, 0)
        return Code(
            code.class_id,
            np.stack([(np.sin(angle) / math.sin(half_angle) + 1) / 2 * (out_width - 1), y + lifted], 1).astype(
                np.float32
            ),
        )

    return Patch(image, alpha.astype(np.uint8), tuple(moved(code) for code in patch.codes))


def _dense(outline: Points) -> Points:
    steps = np.linspace(0, 1, _POINTS, endpoint=False, dtype=np.float32)[None, :, None]
    return (outline[:, None] * (1 - steps) + np.roll(outline, -1, 0)[:, None] * steps).reshape(-1, 2)


@dataclass(frozen=True)
class Pose:
    """Where a patch is in a picture: the matrix [3,3] from its pixels to the picture's."""

    matrix: npt.NDArray[np.float64]

    def __call__(self, points: Points) -> Points:
        """Points [n,2] of the patch in pixels of the picture."""
        moved: Points = cv2.perspectiveTransform(points[None].astype(np.float32), self.matrix)[0].astype(np.float32)
        return moved

    def moved(self, x: float, y: float) -> "Pose":
        """So many pixels to the right and down."""
        return Pose(np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ self.matrix)

    def scaled(self, factor: float) -> "Pose":
        """Larger by the factor."""
        return Pose(np.diag([factor, factor, 1.0]) @ self.matrix)


def turned(rng: np.random.Generator, size: tuple[int, int]) -> Pose:
    """A patch of this size turned in space before a pinhole camera, around the picture's origin."""
    roll = rng.normal(0, 10) if chance(rng, 0.6) else rng.normal(0, 8) + 90 * rng.integers(4)
    if chance(rng, 0.2):
        roll = between(rng, 0, 360)
    pitch, yaw = np.clip(rng.normal(0, 20, 2), -55, 55)
    sines = {name: math.sin(math.radians(value)) for name, value in (("r", roll), ("p", pitch), ("y", yaw))}
    cosines = {name: math.cos(math.radians(value)) for name, value in (("r", roll), ("p", pitch), ("y", yaw))}
    around_z = np.array([[cosines["r"], -sines["r"], 0], [sines["r"], cosines["r"], 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, cosines["p"], -sines["p"]], [0, sines["p"], cosines["p"]]])
    around_y = np.array([[cosines["y"], 0, sines["y"]], [0, 1, 0], [-sines["y"], 0, cosines["y"]]])
    width, height = size
    longest = max(width, height)
    to_plane = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 0]]) / longest
    distance = spread(rng, 1.2, 4)
    camera = np.diag([distance * longest, distance * longest, 1.0])
    space = around_y @ around_x @ around_z @ to_plane
    space[2, 2] += distance
    return Pose(camera @ space)


def bounds(points: Points) -> Box:
    """x1, y1, x2, y2 around points [n,2]."""
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    return float(x1), float(y1), float(x2), float(y2)


def lay(rng: np.random.Generator, picture: Picture, patch: Patch, pose: Pose) -> None:
    """Put the patch into the picture, sometimes with the shadow that it throws."""
    width, height = patch.size
    x1, y1, x2, y2 = bounds(pose(rectangle(0, 0, width, height)))
    reach = max(2.0, 0.04 * max(x2 - x1, y2 - y1))
    left, top = max(0, math.floor(x1 - reach)), max(0, math.floor(y1 - reach))
    right, bottom = min(picture.shape[1], math.ceil(x2 + reach)), min(picture.shape[0], math.ceil(y2 + reach))
    if right <= left or bottom <= top:
        return
    size, matrix = (right - left, bottom - top), pose.moved(-left, -top).matrix
    image = cv2.warpPerspective(patch.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpPerspective(patch.alpha, matrix, size, flags=cv2.INTER_LINEAR)
    part = picture[top:bottom, left:right]
    below = part.astype(np.float32)
    if chance(rng, 0.35):
        shift = np.array([[1, 0, reach * between(rng, -0.6, 0.6)], [0, 1, reach * between(rng, 0, 0.6)]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, size), (0, 0), reach * 0.4 + 0.3)
        below *= 1 - shadow[..., None].astype(np.float32) / 255 * np.float32(between(rng, 0.2, 0.6))
    cover = alpha[..., None].astype(np.float32) / 255
    part[:] = (cover * image + (1 - cover) * below).astype(np.uint8)


def tilt_or_bend(rng: np.random.Generator, patch: Patch) -> Patch:
    """Bent now and then; most printed things are flat."""
    return bent(rng, patch) if chance(rng, one_of(rng, (0.0, 0.4))) else patch
