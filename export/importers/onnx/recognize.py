"""Which family a foreign network is, where its raw heads are, and what its anchors are.

Found by topology and checked by numbers, never by the names of nodes. From the outputs back through the decoder lie the
raw head convolutions; their grids and channels say which families it may be. The decoder between them and the outputs
is then run alone, on zeros (which shows the anchors) and on random maps, and must give what the family's formulas give.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from yolo_edge.export.importers.onnx.families import BOX_FORMS, Dense, Level, anchor_grid, distances, offsets
from yolo_edge.export.importers.onnx.network import OnnxNetwork, inputs_of
from yolo_edge.ondevice.decode import sigmoid
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, printable
from yolo_edge.ondevice.runtimes.onnx import new_session

_MAX_HEADS = 64
_MAX_LEVELS = 8
_MAX_ANCHORS = 16
_TOLERANCE = 1e-3  # of the largest value: float32 sums in another order
_SPREAD = 1.5  # of the random maps


class UnknownFamilyError(InputError):
    """A network whose heads are of no family that is known.

    Attributes:
        heads: Names of the values that its last convolutions compute.
    """

    def __init__(self, message: str, heads: Sequence[str]):
        super().__init__(message)
        self.heads = list(heads)


@dataclass(frozen=True)
class Recognition:
    """What a network was found to be.

    Attributes:
        family: "yolov5", "yolo", "dfl" or "yolox".
        levels: Of the heads, from fine to coarse.
        classes: How many.
        decoded: How the file writes boxes down; None where it ends at the raw heads.
    """

    family: str
    levels: tuple[Level, ...]
    classes: int
    decoded: str | None


def recognize(network: OnnxNetwork) -> Recognition:
    """Find the raw heads of a network and what they mean.

    Raises:
        InputError: Not a family that is known; the message shows what was found.
    """
    with np.errstate(all="ignore"):  # what is not finite is no match
        return _recognize(network)


def _recognize(network: OnnxNetwork) -> Recognition:
    heads = find_heads(network)
    levels = _levels(network, heads)
    decoder = _Decoder(network, [name for level in levels for name in level.tensors.values()])
    for guess in _guesses(network, levels):
        for ordered in (guess, replace(guess, levels=guess.levels[::-1])):
            found = decoder.check(ordered)
            if found is not None:
                return replace(found, levels=tuple(sorted(found.levels, key=lambda level: level.stride)))
    if decoder.ends_raw():
        raw = [guess for guess in _guesses(network, levels) if guess.family in ("dfl", "yolox")]
        if raw:
            return replace(raw[0], decoded=None)
        if any(guess.family == "yolov5" for guess in _guesses(network, levels)):
            raise InputError(
                f"{network.path}: ends at raw heads with anchors, and the file does not say which anchors; "
                f"say it with --spec FILE. {describe(network, levels)}"
            )
    raise UnknownFamilyError(
        f"{network.path}: not a detector of a family that is known (YOLOv5, v7, v8, 11, X). "
        f"{describe(network, levels)}",
        heads,
    )


def find_heads(network: OnnxNetwork, known: frozenset[str] = frozenset()) -> list[str]:
    """The values that the last convolutions before the outputs compute, in the order of the graph.

    Behind the values in `known` nothing is looked for.

    A convolution that only sums with 0, 1, 2, … is part of a decoder (DFL). A factor or an offset for each channel, or
    a batch normalization, directly behind a convolution belongs to it.
    """
    producers, consumers = network.producers(), network.consumers()
    found: set[str] = set()
    seen: set[int] = set()
    waiting = list(network.outputs)
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or id(node) in seen or name in known:
            continue
        seen.add(id(node))
        if node.op_type == "Conv" and not _sums_bins(network, node):
            found.add(_with_scale(network, consumers, node))
            continue
        waiting.extend(inputs_of(node))
    if not found and not known:
        raise InputError(f"{network.path}: no convolution leads to its outputs; not a detector")
    if len(found) > _MAX_HEADS:
        raise InputError(f"{network.path}: {len(found)} convolutions lead to its outputs; not a detector that is known")
    order = {name: i for i, node in enumerate(network.nodes) for name in node.output}
    return sorted(found, key=order.__getitem__)


def _sums_bins(network: OnnxNetwork, node: NodeProto) -> bool:
    weight = network.constants.get(node.input[1])
    if weight is None or weight.ndim != 4 or weight.shape[0] != 1:
        return False
    # 8-bit files have them rounded
    return bool(np.abs(weight.reshape(-1) - np.arange(weight.size)).max() < 0.05)


def _with_scale(network: OnnxNetwork, consumers: Mapping[str, list[NodeProto]], node: NodeProto) -> str:
    name = str(node.output[0])
    while True:
        readers = consumers.get(name, [])
        if len(readers) != 1 or name in network.outputs:
            return name
        reader, shape = readers[0], network.shapes.get(name, ())
        if reader.op_type in ("Mul", "Add"):
            other = next((item for item in reader.input if item != name), "")
            array = network.constants.get(other)
            whole = array is not None and len(shape) == 4 and array.shape[-3:] == (shape[1], 1, 1)
            if not whole:
                return name
        elif reader.op_type != "BatchNormalization":
            return name
        name = str(reader.output[0])


def _levels(network: OnnxNetwork, heads: Sequence[str]) -> list[Level]:
    """The heads by grid, from fine to coarse; roles are numbers as yet."""
    _, _, height, width = network.shapes[network.input]
    grids: dict[tuple[int, int], list[str]] = {}
    for name in heads:
        shape = network.shapes.get(name, ())
        tiles = len(shape) == 4 and shape[0] == 1 and height % shape[2] == 0 == width % shape[3]
        if not tiles or height // shape[2] != width // shape[3]:
            raise InputError(
                f"{network.path}: a convolution before the outputs gives {list(shape)}, no grid of the "
                f"{width}x{height} input; not a detector that is known"
            )
        grids.setdefault((shape[2], shape[3]), []).append(name)
    if len(grids) > _MAX_LEVELS:
        raise InputError(f"{network.path}: heads on {len(grids)} grids; not a detector that is known")
    ordered = sorted(grids.items(), reverse=True)
    return [
        Level(height // rows, rows, columns, {str(i): name for i, name in enumerate(names)})
        for (rows, columns), names in ordered
    ]


def _guesses(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    """What the channels allow it to be."""
    channels = [{network.shapes[name][1]: name for name in level.tensors.values()} for level in levels]
    counts = {len(level.tensors) for level in levels}
    if counts == {1}:
        widths = {next(iter(found)) for found in channels}
        for anchors in range(1, _MAX_ANCHORS + 1):
            width = next(iter(widths))
            if len(widths) == 1 and width % anchors == 0 and width // anchors >= 6:
                named = [replace(level, tensors={"map": level.tensors["0"]}) for level in levels]
                empty = ((1.0, 1.0),) * anchors
                named = [replace(level, anchors=empty) for level in named]
                yield Recognition("yolov5", tuple(named), width // anchors - 5, None)
    if counts == {2}:
        yield from _two_maps(network, levels)
    if counts == {3}:
        yield from _three_maps(network, levels)


def _two_maps(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    for box in (0, 1):
        named = [
            replace(level, tensors={"box": level.tensors[str(box)], "classes": level.tensors[str(1 - box)]})
            for level in levels
        ]
        widths = {tuple(network.shapes[level.tensors[role]][1] for role in ("box", "classes")) for level in named}
        if len(widths) == 1:
            bins, classes = widths.pop()
            if bins % 4 == 0 and bins >= 8:
                yield Recognition("dfl", tuple(named), classes, None)


def _three_maps(network: OnnxNetwork, levels: Sequence[Level]) -> Iterator[Recognition]:
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    for order in orders:
        roles = dict(zip(("box", "objectness", "classes"), map(str, order), strict=True))
        named = [replace(level, tensors={role: level.tensors[i] for role, i in roles.items()}) for level in levels]
        widths = {tuple(network.shapes[name][1] for name in level.tensors.values()) for level in named}
        if len(widths) == 1:
            box, objectness, classes = widths.pop()
            if (box, objectness) == (4, 1):
                yield Recognition("yolox", tuple(named), classes, None)


class _Decoder:
    """What lies between the raw heads and the outputs, run alone."""

    def __init__(self, network: OnnxNetwork, heads: Sequence[str]):
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

    def ends_raw(self) -> bool:
        """Whether every output only moves the values of a head around (or squashes them)."""
        known = [np.sort(array, axis=None) for array in self._random.values()]
        known += [np.sort(sigmoid(array), axis=None) for array in self._random.values()]
        whole = np.sort(np.concatenate([array.reshape(-1) for array in self._random.values()]))
        arrays = dict(zip([*self._values, *self._random], self._at_random, strict=True))
        for name in self._network.outputs:
            if name not in arrays:
                return False
            values = np.sort(arrays[name], axis=None)
            if not any(len(values) == len(item) and np.allclose(values, item) for item in [*known, whole]):
                return len(values) != len(whole) and self._parts_of_heads(arrays[name])
        return True

    def _parts_of_heads(self, array: np.ndarray) -> bool:
        values = np.sort(array, axis=None)
        whole = np.sort(np.concatenate([item.reshape(-1) for item in self._random.values()]))
        at = np.clip(np.searchsorted(whole, values), 0, len(whole) - 1)
        return bool(np.allclose(whole[at], values, atol=1e-6))

    def check(self, guess: Recognition) -> Recognition | None:
        """The guess with its anchors, when the decoder computes what the family's formulas say."""
        if guess.family == "dfl":
            return self._agrees(guess, distances(guess.levels, self._random))
        if guess.family == "yolox":
            return self._agrees(guess, offsets(guess.levels, self._random))
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
        if guess.family == "yolox":  # as its own export leaves them
            boxes["offsets and logarithms of sizes"] = _undecoded(guess.levels, self._random)
        scores = [dense.classes]
        if dense.objectness is not None:
            scores += [np.concatenate([dense.objectness, dense.classes], axis=1), dense.objectness * dense.classes]
        best = (dense.classes if dense.objectness is None else scores[2]).max(axis=1, keepdims=True)
        form: str | None = None
        scored = False
        for array in self._at_random:
            rows = _as_rows(array, total)
            if rows is None:
                continue
            if form is None and rows.shape[1] >= 4:
                form = next((name for name, expected in boxes.items() if _close(rows[:, :4], expected)), None)
            scored = scored or any(_holds(rows, expected) for expected in [*scores, best])
        return replace(guess, decoded=form) if form is not None and scored else None


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


def describe(network: OnnxNetwork, levels: Sequence[Level]) -> str:
    """What was found at the outputs, for a person."""
    outputs = ", ".join(
        f"{printable(name)[:40]} {list(network.shapes[name]) if name in network.shapes else '(size not fixed)'}"
        for name in network.outputs[:6]
    )
    heads = "; ".join(
        f"stride {level.stride}: "
        + ", ".join(f"{printable(name)[:60]} {network.shapes[name][1]} channels" for name in level.tensors.values())
        for level in levels
    )
    return f"Its outputs: {outputs}. The convolutions before them: {heads}"
