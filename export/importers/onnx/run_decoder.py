"""`Decoder`: what lies between the raw heads and the outputs of a foreign network, run alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolo_edge.export.importers.onnx.families import (
    BOX_FORMS,
    Dense,
    Level,
    anchor_grid,
    distances,
    distributions,
    offsets,
)
from yolo_edge.export.importers.onnx.network import OnnxNetwork
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line
from yolo_edge.ondevice.maps import DISTRIBUTIONS, sigmoid
from yolo_edge.ondevice.runtimes.onnx import new_session

_TOLERANCE = 1e-3  # of the largest value: float32 sums in another order
_SPREAD = 1.5  # of the random maps


@dataclass(frozen=True)
class Recognition:
    """What a network was found to be.

    Attributes:
        family: Of `yolo_edge.ondevice.decode`.
        levels: Of the heads, from fine to coarse.
        classes: How many.
        decoded: How the file writes boxes down; None where it ends at the raw heads.
        trainer: Whose preprocessing it is, where that does not follow from the family: "nanodet", or nothing.
        one_to_one: It was trained to give each object one box, and ends without NMS.
    """

    family: str
    levels: tuple[Level, ...]
    classes: int
    decoded: str | None
    trainer: str = ""
    one_to_one: bool = False


class Decoder:
    """What lies between the raw heads and the outputs, run alone."""

    def __init__(self, network: OnnxNetwork, heads: Sequence[str]):
        """Run it once, at zeros and at seeded noise.

        Raises:
            InputError: It does not run.
        """
        self._network = network
        self._inputs = {name: network.shapes[name] for name in heads}
        nodes = network.needed_for(network.outputs, frozenset(heads))
        values = [name for node in nodes for name in node.output if name in network.floats and name in network.shapes]
        self._values = [name for name in values if name not in self._inputs]
        _, _, height, width = network.shapes[network.input]
        self._size = (width, height)
        self._zeros = {name: np.zeros(shape, np.float32) for name, shape in self._inputs.items()}
        rng = np.random.default_rng(0)
        self._random = {name: rng.normal(0, _SPREAD, shape).astype(np.float32) for name, shape in self._inputs.items()}
        try:
            self._session = (
                new_session(network.part(self._inputs, self._values), optimize=False) if self._values else None
            )
            self._at_zero, self._at_random = self._run(self._zeros), self._run(self._random)
        except Exception as error:  # onnxruntime raises types of its own
            raise InputError(f"{network.path}: what follows its heads does not run ({first_line(error)})") from error

    def _run(self, maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if self._session is None:
            return list(maps.values())
        given = {item.name for item in self._session.get_inputs()}
        outputs = self._session.run(self._values, {name: array for name, array in maps.items() if name in given})
        return [*outputs, *maps.values()]

    def forms(self) -> dict[str, str] | None:
        """How each head stands in the outputs: "raw", or behind "sigmoid" or "softmax" (over its channels).

        None where the outputs hold anything else.
        """
        arrays = dict(zip([*self._values, *self._random], self._at_random, strict=True))
        if not all(name in arrays for name in self._network.outputs):
            return None
        whole = np.sort(np.concatenate([arrays[name].reshape(-1) for name in self._network.outputs]))
        if len(whole) != sum(array.size for array in self._random.values()):
            return None
        found = {}
        for name, array in self._random.items():
            forms = {"raw": array, "sigmoid": sigmoid(array), "softmax": _softmax(array)}
            form = next((form for form, values in forms.items() if _among(values, whole)), None)
            if form is None:
                return None
            found[name] = form
        return found

    def check(self, guess: Recognition) -> Recognition | None:
        """The guess with its anchors, when the decoder computes what the family's formulas say."""
        if guess.family in DISTRIBUTIONS:
            return self._agrees(guess, distributions(guess.levels, self._random, DISTRIBUTIONS[guess.family]))
        if guess.family == "ltrb":
            return self._agrees(guess, distances(guess.levels, self._random))
        if guess.family == "yolox":
            return self._agrees(guess, offsets(guess.levels, self._random))
        if guess.family != "yolov5":
            return None  # its decoder is never in the file
        for cells_first in (False, True):
            for levels in self._anchors(guess, cells_first):
                for family, squared in (("yolov5", True), ("yolo", False)):
                    dense = anchor_grid(levels, self._random, guess.classes, squared=squared, cells_first=cells_first)
                    found = self._agrees(replace(guess, family=family, levels=tuple(levels)), dense)
                    if found is not None:
                        return found
        return None

    def _anchors(self, guess: Recognition, cells_first: bool) -> Iterator[list[Level]]:
        """Maps of zeros put every box on its cell, with the size of its anchor."""
        count = len(guess.levels[0].anchors)
        total = sum(level.rows * level.columns * count for level in guess.levels)
        seen: set[tuple[tuple[float, float], ...]] = set()
        for array in self._at_zero:
            rows = _as_rows(array, total)
            if rows is None or rows.shape[1] < 4:
                continue
            corners = rows[:, 2:4] - rows[:, :2]
            for sides in (rows[:, 2:4], corners, rows[:, 2:4] * self._size, corners * self._size):
                levels = _anchors_of(guess.levels, sides, count, cells_first)
                if levels is None:
                    continue
                key = tuple(anchor for level in levels for anchor in level.anchors)
                if key not in seen:
                    seen.add(key)
                    yield levels

    def _agrees(self, guess: Recognition, dense: Dense) -> Recognition | None:
        total = len(dense.boxes)
        boxes = {name: form(dense.boxes, self._size) for name, form in BOX_FORMS.items()}
        undecoded = _undecoded(guess.levels, self._random) if guess.family == "yolox" else None
        # YOLOv6 writes an objectness of 1
        scores = [dense.classes, np.concatenate([np.ones((total, 1), np.float32), dense.classes], axis=1)]
        if dense.objectness is not None:
            scores += [np.concatenate([dense.objectness, dense.classes], axis=1), dense.objectness * dense.classes]
        best = (dense.classes if dense.objectness is None else scores[-1]).max(axis=1, keepdims=True)
        form: str | None = None
        scored = False
        for name, array in zip([*self._values, *self._random], self._at_random, strict=True):
            rows = _as_rows(array, total)
            if rows is None:
                continue
            # as its own export leaves them: at the end, since every decoder begins with them
            if undecoded is not None and name in self._network.outputs and _close(rows[:, :4], undecoded):
                form = "offsets and logarithms of sizes"
            if form is None and rows.shape[1] >= 4:
                form = next((kind for kind, expected in boxes.items() if _close(rows[:, :4], expected)), None)
            scored = scored or any(_holds(rows, expected) for expected in [*scores, best])
        if form is None or not scored:
            return None
        return replace(guess, decoded=form, one_to_one=dense.objectness is None and self._keeps_best(dense.classes))

    def _keeps_best(self, scores: np.ndarray) -> bool:
        """Whether the network ends with the best of all scores [boxes, classes], and without NMS."""
        if any("NMS" in node.op_type or "NonMaxSuppression" in node.op_type for node in self._network.nodes):
            return False
        ranked = np.sort(scores, axis=None)[::-1]
        return any(
            1 < array.size == max(array.shape) <= len(scores) and _close(array.reshape(-1), ranked[: array.size])
            for array in self._at_random
        )


def _undecoded(levels: Sequence[Level], maps: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([maps[level.tensors["box"]].reshape(4, -1).T for level in levels])


def _anchors_of(levels: Sequence[Level], sides: np.ndarray, count: int, cells_first: bool) -> list[Level] | None:
    found, start = [], 0
    for level in levels:
        cells = level.rows * level.columns
        part = sides[start : start + cells * count]
        start += cells * count
        grid = part.reshape((cells, count, 2) if cells_first else (count, cells, 2))
        each = grid.transpose(1, 0, 2) if cells_first else grid
        if not np.isfinite(each).all():
            return None
        anchors = np.median(each, axis=1)
        if not (anchors > 0).all() or np.abs(each - anchors[:, None]).max() > 1e-3 * anchors.max():
            return None
        # sums of large and small numbers leave noise behind: anchors have few digits
        rounded = np.array([[float(f"{side:.5g}") for side in anchor] for anchor in anchors])
        found.append(replace(level, anchors=tuple((float(w), float(h)) for w, h in rounded)))
    return found


def _as_rows(array: np.ndarray, total: int) -> np.ndarray | None:
    """A [boxes, values] view of an output, whichever way round it is; None for other shapes."""
    sides = [side for side in array.shape if side != 1]
    if sides == [total] or (total == 1 and len(sides) <= 1):
        return array.reshape(total, -1)
    if len(sides) != 2 or total not in sides:
        return None
    flat = array.reshape(sides)
    return flat if sides[0] == total else flat.T


def _holds(rows: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the last columns, or all but four of them, are these scores."""
    width = expected.shape[1]
    return rows.shape[1] in (width, width + 4) and _close(rows[:, -width:], expected)


def _close(found: np.ndarray, expected: np.ndarray) -> bool:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    return bool(np.abs(found - expected).max(initial=0) <= _TOLERANCE * np.abs(expected).max(initial=1e-6))


def _softmax(array: np.ndarray) -> np.ndarray:
    odds = np.exp(array - array.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _among(values: np.ndarray, ranked: np.ndarray) -> bool:
    """Whether all values are among others that rise."""
    flat = values.reshape(-1)
    at = np.clip(np.searchsorted(ranked, flat), 0, len(ranked) - 1)
    nearest = np.minimum(np.abs(ranked[at] - flat), np.abs(ranked[np.maximum(at - 1, 0)] - flat))
    return bool((nearest <= 1e-6).all())
