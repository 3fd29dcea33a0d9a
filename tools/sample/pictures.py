"""Training pictures: scenes read from their dataset, cropped, stretched, turned and tinted at random."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

_TRIES = 8
_SMALLEST = 11.0  # pixels of the longer side: nothing of a smaller code is left to learn from
_CUT = (0.1, 0.6)  # no crop leaves a share in here of a box: neither there nor away


class Batches:
    """Endless batches of the pictures of `folder`/images/train, drawn by one seed, prepared by a thread ahead."""

    def __init__(self, folder: Path, batch: int, seed: int) -> None:
        self._files = sorted((folder / "images" / "train").glob("*.jpg"))
        self._labels = [_read_labels(folder / "labels" / "train" / f"{file.stem}.txt") for file in self._files]
        self._batch = batch
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Pictures."""
        return len(self._files)

    def batches(self, sizes: Iterator[int]) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Pictures [n,3,s,s], RGB 0..1; boxes [m,6] picture, class, x, y, w, h in pixels; the size s."""
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._make, next(sizes)) for _ in range(3)]
            for size in sizes:
                yield ahead.pop(0).result()
                ahead.append(pool.submit(self._make, size))
            for last in ahead:
                yield last.result()

    def _make(self, size: int) -> tuple[Tensor, Tensor, int]:
        pictures = np.empty((self._batch, size, size, 3), np.uint8)
        boxes = []
        for place, number in enumerate(self._rng.integers(0, len(self._files), self._batch).tolist()):
            picture = cv2.imread(str(self._files[number]))
            pictures[place], found = self._augmented(picture, self._labels[number], size)
            boxes.append(np.concatenate([np.full((len(found), 1), place, np.float32), found], 1))
        values = torch.from_numpy(pictures[..., ::-1].copy()).permute(0, 3, 1, 2)
        return values.float().div_(255), torch.from_numpy(np.concatenate(boxes)), size

    def _augmented(self, picture: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The picture at the size, and its boxes [m,5]: class, x, y, w, h in pixels."""
        rng = self._rng
        height, width = picture.shape[:2]
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            matrix = _crop(rng, width, height, size, wild=not last)
            boxes, visible = _moved(labels, matrix, width, height, size)
            if last or not ((visible > _CUT[0]) & (visible < _CUT[1])).any():
                break
        kept = (visible >= _CUT[1]) & (boxes[:, 3:].max(1, initial=0) >= _SMALLEST)
        way = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_AREA
        grey = tuple(int(value) for value in rng.integers(0, 256, 3))
        if way == cv2.INTER_AREA and matrix[0, 0] < 1:  # warpAffine does not average: halve before
            share = max(float(abs(matrix[0, 0])), float(abs(matrix[1, 1])), 1 / 3)
            if share < 1:
                picture = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
                matrix = matrix @ np.diag([width / picture.shape[1], height / picture.shape[0], 1])
        out = cv2.warpAffine(picture, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=grey)
        return _tinted(rng, out), boxes[kept]


def _read_labels(file: Path) -> np.ndarray:
    """[m,5] class, x, y, w, h as shares of the picture."""
    rows = [line.split() for line in file.read_text().splitlines()]
    return np.array(rows, np.float32).reshape(-1, 5)


def _crop(rng: np.random.Generator, width: int, height: int, size: int, *, wild: bool) -> np.ndarray:
    """The matrix [3,3] from pixels of the picture to those of the input: stretched or letterboxed, zoomed, mirrored."""
    fit_x, fit_y = size / width, size / height
    if rng.random() < 0.3:  # as letterboxing does
        fit_x = fit_y = min(fit_x, fit_y)
    zoom = math.exp(rng.uniform(math.log(0.6), math.log(1.7))) if wild else 1.0
    aspect = math.exp(rng.normal(0, 0.12)) if wild else 1.0
    scale_x, scale_y = fit_x * zoom * aspect, fit_y * zoom / aspect
    room_x, room_y = size - scale_x * width, size - scale_y * height
    x, y = rng.uniform(0, 1, 2)
    matrix = np.array([[scale_x, 0, room_x * x], [0, scale_y, room_y * y], [0, 0, 1.0]])
    if rng.random() < 0.25:
        matrix = np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 1.0]]) @ matrix
    for axis in (0, 1):
        if rng.random() < 0.35:
            mirror = np.eye(3)
            mirror[axis, axis], mirror[axis, 2] = -1, size
            matrix = mirror @ matrix
    return matrix


def _moved(labels: np.ndarray, matrix: np.ndarray, width: int, height: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [m,5] in the input, clipped; and which share of each is still visible."""
    centre, half = labels[:, 1:3] * (width, height), labels[:, 3:5] * (width, height) / 2
    corners = np.stack([centre - half, centre + half], 1) @ matrix[:2, :2].T + matrix[:2, 2]
    low, high = corners.min(1), corners.max(1)
    area = (high - low).prod(1)
    low, high = low.clip(0, size), high.clip(0, size)
    visible = (high - low).prod(1) / np.maximum(area, 1e-6)
    boxes = np.concatenate([labels[:, :1], (low + high) / 2, high - low], 1)
    return boxes.astype(np.float32), visible


def _tinted(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Brightness, contrast, tint; now and then inverted, or grey."""
    if rng.random() < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    if rng.random() < 0.5:
        gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.04, 3))
        table = np.arange(256)[:, None] * gain + rng.normal(0, 12)
        picture = cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)[None])
    return picture
