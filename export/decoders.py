"""Decoders as operators of ONNX: raw heads → boxes. Always float32, behind whatever the body is.

`--head decoded` is Ultralytics' layout: [1, 4 + classes, N], centre x, centre y, width, height and a score a class; N
counts heads, anchors, rows, columns, in this order. The formulas are those of `yolo_edge.ondevice.decode`. ONNX files
hold these operators as they are, TFLite files what its lowering makes of them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, add_constant, shape_of
from yolo_edge.ondevice.decode import LAYOUTS, MIN_SIDE
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.maps import CLASS_POWER, DISTRIBUTIONS, MAX_LOG_SIZE, OBJECTNESS_POWER
from yolo_edge.ondevice.spec import Head, ModelSpec

OUTPUT_NAME = "output0"  # Ultralytics' name
_FAINT = 1e-30  # probabilities below have no logarithm in float32


class Tape:
    """Appends nodes to a graph; every one gets a name, and `decode` in front of it."""

    def __init__(self, graph: ir.Graph):
        self.graph = graph
        self._count = 0

    def __call__(
        self, op: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Attribute] | None = None
    ) -> ir.Value:
        """The output of a new node."""
        return self.many(op, inputs, 1, attributes)[0]

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Sequence[ir.Value]:
        """The outputs of a new node."""
        name = self._name(op)
        node = ir.node(op, inputs, attributes or {}, num_outputs=outputs, name=name)
        for i, value in enumerate(node.outputs):
            value.name = name if outputs == 1 else f"{name}.{i}"
        self.graph.append(node)
        return node.outputs

    def constant(self, array: np.ndarray) -> ir.Value:
        """An initializer."""
        return add_constant(self.graph, self._name("constant"), array)

    def floats(self, array: object) -> ir.Value:
        """An initializer of float32."""
        return self.constant(np.array(array, np.float32))

    def integers(self, *values: int) -> ir.Value:
        """An initializer of int64 with one axis."""
        return self.constant(np.array(values, np.int64))

    def part(self, x: ir.Value, axis: int, picked: range) -> ir.Value:
        """Some of an axis."""
        bounds = [self.integers(bound) for bound in (picked.start, picked.stop, axis, picked.step)]
        return self("Slice", [x, *bounds])

    def _name(self, op: str) -> str:
        self._count += 1
        return f"decode.{op}_{self._count}"


def decode_head(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: tuple[float, float]
) -> ir.Value:
    """One head, in as many operators as it needs.

    Args:
        tape: Of the graph that gets them.
        spec: Of the raw heads.
        head: One of them.
        raw: Role → its map, [1, channels, rows, columns].
        unit: Width and height in input pixels of what boxes are measured in: (1, 1) gives pixels.

    Returns:
        [1, anchors, 4 + classes, cells]: centre x, centre y, width, height, scores; one anchor for families without.
    """
    return _DECODERS.get(head.family, _decode_anchor_grid)(tape, spec, head, raw, np.array(unit))


def _places(spec: ModelSpec, head: Head, cell: np.ndarray, offset: float) -> np.ndarray:
    """Column and row of each cell plus an offset, in units, [1, 1, 2, cells]; `cell` [2, 1] is its size in them."""
    rows, columns = spec.grid(head)
    y, x = np.mgrid[:rows, :columns].reshape(2, rows * columns)
    return np.asarray(((np.stack([x, y]) + offset) * cell)[None, None])


def _decode_distributions(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray
) -> ir.Value:
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    bins = shape_of(raw["box"])[1] // 4
    odds = tape("Reshape", [raw["box"], tape.integers(1, 4, bins, cells)])
    odds = tape("Softmax", [odds], {"axis": 2})
    # a mean instead of a sum, which not all runtimes have; the cell's size in the same factor
    factor = np.arange(bins)[None, None, :, None] * bins * np.concatenate([cell, cell])[None, :, :, None]
    away = tape("ReduceMean", [tape("Mul", [odds, tape.floats(factor)])], {"axes": [2], "keepdims": 1})
    away = tape("Reshape", [away, tape.integers(1, 1, 4, cells)])
    return _around(tape, spec, head, raw, away, unit, DISTRIBUTIONS[head.family])


def _decode_distances(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray
) -> ir.Value:
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    away = tape("Reshape", [raw["box"], tape.integers(1, 1, 4, cells)])
    away = tape("Mul", [away, tape.floats(np.concatenate([cell, cell])[None, None])])
    return _around(tape, spec, head, raw, away, unit, 0.5)


def _around(
    tape: Tape,
    spec: ModelSpec,
    head: Head,
    raw: Mapping[str, ir.Value],
    away: ir.Value,
    unit: np.ndarray,
    offset: float,
) -> ir.Value:
    """Boxes whose sides are [1, 1, 4, cells] units away from a place in their cell, and the classes."""
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    low, high = tape.part(away, 2, range(2)), tape.part(away, 2, range(2, 4))
    middle = tape.floats(_places(spec, head, cell, offset))
    center = tape("Add", [tape("Mul", [tape("Sub", [high, low]), tape.floats(0.5)]), middle])
    scores = tape("Reshape", [tape("Sigmoid", [raw["classes"]]), tape.integers(1, 1, len(spec.names), cells)])
    return tape("Concat", [center, tape("Add", [low, high]), scores], {"axis": 2})


def _decode_offsets(tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray) -> ir.Value:
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    box = tape("Reshape", [raw["box"], tape.integers(1, 1, 4, cells)])
    center = tape("Mul", [tape.part(box, 2, range(2)), tape.floats(cell[None, None])])
    center = tape("Add", [center, tape.floats(_places(spec, head, cell, 0))])
    size = tape("Exp", [tape("Min", [tape.part(box, 2, range(2, 4)), tape.floats(MAX_LOG_SIZE)])])
    size = tape("Mul", [size, tape.floats(cell[None, None])])
    scores = tape("Mul", [tape("Sigmoid", [raw["classes"]]), tape("Sigmoid", [raw["objectness"]])])
    scores = tape("Reshape", [scores, tape.integers(1, 1, len(spec.names), cells)])
    return tape("Concat", [center, size, scores], {"axis": 2})


def _decode_anchor_grid(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray
) -> ir.Value:
    layout, cells = LAYOUTS[head.family], int(np.prod(spec.grid(head)))
    anchors, classes = len(head.anchors), len(spec.names)
    first = layout.objectness + 1
    x = tape("Reshape", [raw["map"], tape.integers(1, anchors, first + classes, cells)])

    cell = head.stride / unit[:, None]
    center = tape("Sigmoid", [tape.part(x, 2, layout.center)])
    center = tape("Mul", [center, tape.floats(head.scale_xy * cell)])
    center = tape("Add", [center, tape.floats(_places(spec, head, cell, (1 - head.scale_xy) / 2))])

    size = tape.part(x, 2, layout.size)
    sides = (np.array(head.anchors) / unit)[None, :, :, None]
    if layout.squared:
        size = tape("Sigmoid", [size])
        size, sides = tape("Mul", [size, size]), 4 * sides
    else:
        size = tape("Exp", [tape("Min", [size, tape.floats(MAX_LOG_SIZE)])])
    size = tape("Mul", [size, tape.floats(sides)])

    objectness = tape("Sigmoid", [tape.part(x, 2, range(first - 1, first))])
    if layout.uncertainty:
        uncertainty = tape("Sigmoid", [tape.part(x, 2, layout.uncertainty)])
        mean = tape("ReduceMean", [uncertainty], {"axes": [2], "keepdims": 1})
        objectness = tape("Mul", [objectness, tape("Sub", [tape.floats(1), mean])])
    scores = tape.part(x, 2, range(first, first + classes))
    softmax = head.class_activation == "softmax"
    scores = tape("Softmax", [scores], {"axis": 2}) if softmax else tape("Sigmoid", [scores])
    scores = tape("Mul", [scores, objectness])

    return tape("Concat", [center, size, scores], {"axis": 2})


def _decode_fastestdet(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray
) -> ir.Value:
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    classes = len(spec.names)
    box = tape("Reshape", [raw["box"], tape.integers(1, 1, 4, cells)])
    # tanh(t) = 2σ(2t) − 1
    center = tape("Sigmoid", [tape("Mul", [tape.part(box, 2, range(2)), tape.floats(2)])])
    center = tape("Mul", [center, tape.floats(2 * cell[None, None])])
    center = tape("Add", [center, tape.floats(_places(spec, head, cell, -1))])
    side = np.array([spec.input.width, spec.input.height])[:, None] / unit[:, None]
    size = tape("Mul", [tape("Sigmoid", [tape.part(box, 2, range(2, 4))]), tape.floats(side[None, None])])
    objectness = tape("Reshape", [tape("Sigmoid", [raw["objectness"]]), tape.integers(1, 1, 1, cells)])
    scores = tape("Reshape", [raw["classes"], tape.integers(1, 1, classes, cells)])
    scores = tape("Softmax", [scores], {"axis": 2})
    powers = [
        tape("Mul", [tape("Log", [tape("Max", [part, tape.floats(_FAINT)])]), tape.floats(power)])
        for part, power in ((scores, CLASS_POWER), (objectness, OBJECTNESS_POWER))
    ]
    return tape("Concat", [center, size, tape("Exp", [tape("Add", powers)])], {"axis": 2})


def _decode_shared_classes(
    tape: Tape, spec: ModelSpec, head: Head, raw: Mapping[str, ir.Value], unit: np.ndarray
) -> ir.Value:
    cells, cell = int(np.prod(spec.grid(head))), head.stride / unit[:, None]
    anchors, classes = len(head.anchors), len(spec.names)
    box = tape("Sigmoid", [tape("Reshape", [raw["box"], tape.integers(1, anchors, 4, cells)])])
    center = tape("Mul", [tape.part(box, 2, range(2)), tape.floats(head.scale_xy * cell)])
    center = tape("Add", [center, tape.floats(_places(spec, head, cell, (1 - head.scale_xy) / 2))])
    size = tape.part(box, 2, range(2, 4))
    size = tape("Mul", [tape("Mul", [size, size]), tape.floats(4 * (np.array(head.anchors) / unit)[None, :, :, None])])
    objectness = tape("Reshape", [tape("Sigmoid", [raw["objectness"]]), tape.integers(1, anchors, 1, cells)])
    scores = tape("Reshape", [raw["classes"], tape.integers(1, 1, classes, cells)])
    scores = tape("Mul", [tape("Softmax", [scores], {"axis": 2}), objectness])
    return tape("Concat", [center, size, scores], {"axis": 2})


_DECODERS = {
    "dfl": _decode_distributions,
    "fastestdet": _decode_fastestdet,
    "ltrb": _decode_distances,
    "nanodet_plus": _decode_distributions,
    "yolo_fastestv2": _decode_shared_classes,
    "yolox": _decode_offsets,
}


def decode_heads(
    tape: Tape,
    spec: ModelSpec,
    raw: Mapping[str, ir.Value],
    unit: tuple[float, float] = (1, 1),
    by_cell: bool = False,
) -> ir.Value:
    """All heads → `decoded`, [1, 4 + classes, N].

    Args:
        tape: Of the graph that gets the operators.
        spec: Of the raw heads.
        raw: Their maps by name.
        unit: As in `decode_head`.
        by_cell: Let N count the anchors within each cell, as they lie in NHWC maps.
    """
    perm = [0, 2, 3, 1] if by_cell else [0, 2, 1, 3]
    parts = []
    for head in spec.heads:
        decoded = decode_head(tape, spec, head, {role: raw[name] for role, name in head.tensors.items()}, unit)
        moved = tape("Transpose", [decoded], {"perm": perm})
        parts.append(tape("Reshape", [moved, tape.integers(1, 4 + len(spec.names), -1)]))
    return parts[0] if len(parts) == 1 else tape("Concat", parts, {"axis": 2})


def count_boxes(spec: ModelSpec) -> int:
    """N: the boxes of all anchors in all cells of all heads."""
    return sum(max(len(head.anchors), 1) * int(np.prod(spec.grid(head))) for head in spec.heads)


def keep_best_class(tape: Tape, spec: ModelSpec, decoded: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """What NMS works on: a box has one class, its best and of equals the first, and two sides.

    Args:
        tape: Of the graph that gets the operators.
        spec: Of the raw heads.
        decoded: [1, 4 + classes, N], in input pixels.

    Returns:
        Boxes [1, 4, N], scores [1, classes, N] that are 0 where a box does not count, and the best class [1, 1, N].
    """
    classes = len(spec.names)
    boxes, scores = tape.part(decoded, 1, range(4)), tape.part(decoded, 1, range(4, 4 + classes))
    best = tape("ArgMax", [scores], {"axis": 1, "keepdims": 1})
    every = tape.constant(np.arange(classes).reshape(1, -1, 1))
    narrow = tape("ReduceMin", [tape.part(boxes, 1, range(2, 4))], {"axes": [1], "keepdims": 1})
    counts = tape("And", [tape("Equal", [best, every]), tape("GreaterOrEqual", [narrow, tape.floats(MIN_SIDE)])])
    return boxes, tape("Where", [counts, scores, tape.floats(0)]), best


def check_decodable(spec: ModelSpec, head: str) -> None:
    """Check that a file may decode the heads by itself.

    Raises:
        InputError: The model's classes form a word tree, or it needs no NMS.
    """
    if any(item.tree for item in spec.heads):
        raise InputError(f"--head {head}: classes of a word tree are decoded outside the file only; use --head raw")
    if head == "nms" and any(item.one_to_one for item in spec.heads):
        raise InputError(
            "--head nms: this model gives each object one box, there is nothing to suppress; use --head decoded or raw"
        )
