"""Decoders in ONNX: raw heads → `--head decoded` and `--head nms`. Always float32, behind whatever the body is.

`decoded` is Ultralytics' layout: [1, 4 + classes, N], centre x, centre y, width, height in input pixels and a score a
class; N counts heads, anchors, rows, columns, in this order. `nms` is [1, max, 6]: x1, y1, x2, y2, confidence, class,
by falling confidence, zeros after the last. The formulas are those of `yolo_edge.ondevice.decode`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Attribute, add_constant
from yolo_edge.ondevice.decode import LAYOUTS, MAX_LOG_SIZE, MIN_SIDE
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import Head, ModelSpec, NmsOptions

HEADS = ("raw", "decoded", "nms")
OUTPUT_NAME = "output0"  # Ultralytics' name
MAX_ROWS = 10_000  # of `nms`


class _Tape:
    """Appends nodes to a graph; every one gets a name."""

    def __init__(self, graph: ir.Graph):
        self.graph = graph
        self._count = 0

    def __call__(
        self, op: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Attribute] | None = None
    ) -> ir.Value:
        return self.many(op, inputs, 1, attributes)[0]

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Sequence[ir.Value]:
        name = self._name(op)
        node = ir.node(op, inputs, attributes or {}, num_outputs=outputs, name=name)
        for i, value in enumerate(node.outputs):
            value.name = name if outputs == 1 else f"{name}.{i}"
        self.graph.append(node)
        return node.outputs

    def constant(self, array: np.ndarray) -> ir.Value:
        return add_constant(self.graph, self._name("constant"), array)

    def floats(self, array: object) -> ir.Value:
        return self.constant(np.array(array, np.float32))

    def integers(self, *values: int) -> ir.Value:
        return self.constant(np.array(values, np.int64))

    def channels(self, x: ir.Value, picked: range) -> ir.Value:
        """Some of the third axis, as the channels of [1, anchors, channels, cells]."""
        bounds = [self.integers(bound) for bound in (picked.start, picked.stop, 2, picked.step)]
        return self("Slice", [x, *bounds])

    def _name(self, op: str) -> str:
        self._count += 1
        return f"decode.{op}_{self._count}"


def append_head(model: ir.Model, spec: ModelSpec, head: str, options: NmsOptions) -> ModelSpec:
    """Put a decoder behind the raw heads of `model`, in place.

    Args:
        model: Ends at the raw heads that `spec` names.
        spec: Of the raw heads.
        head: "decoded" or "nms".
        options: For "nms".

    Returns:
        The spec of the new output.

    Raises:
        InputError: The model's classes form a word tree.
    """
    if any(item.tree for item in spec.heads):
        raise InputError(f"--head {head}: classes of a word tree are decoded outside the file only; use --head raw")
    for node in model.graph:
        for value in node.outputs:
            if value.name == OUTPUT_NAME:
                value.name = f"{OUTPUT_NAME}.inner"
    tape = _Tape(model.graph)
    outputs = {value.name: value for value in model.graph.outputs}
    parts = [_decoded(tape, spec, item, outputs[item.tensors["map"]]) for item in spec.heads]
    result = parts[0] if len(parts) == 1 else tape("Concat", parts, {"axis": 2})
    cells = sum(len(item.anchors) * int(np.prod(spec.grid(item))) for item in spec.heads)
    shape = [1, 4 + len(spec.names), cells]
    if head == "nms":
        result = _suppressed(tape, spec, result, options)
        shape = [1, options.max_detections, 6]
    result.name = OUTPUT_NAME
    result.shape, result.type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.clear()
    model.graph.outputs.append(result)
    nms = options if head == "nms" else None
    return replace(spec, heads=(Head(head, 1, {"map": OUTPUT_NAME}, nms=nms),))


def _decoded(tape: _Tape, spec: ModelSpec, head: Head, raw: ir.Value) -> ir.Value:
    """One head → [1, 4 + classes, anchors · cells]."""
    layout, (rows, columns) = LAYOUTS[head.family], spec.grid(head)
    anchors, classes, cells = len(head.anchors), len(spec.names), rows * columns
    first = layout.objectness + 1
    x = tape("Reshape", [raw, tape.integers(1, anchors, first + classes, cells)])

    y_grid, x_grid = np.mgrid[:rows, :columns].reshape(2, cells)
    corner = (np.stack([x_grid, y_grid]) - (head.scale_xy - 1) / 2) * head.stride
    center = tape("Sigmoid", [tape.channels(x, layout.center)])
    center = tape("Mul", [center, tape.floats(head.scale_xy * head.stride)])
    center = tape("Add", [center, tape.floats(corner[None, None])])

    size = tape.channels(x, layout.size)
    sides = np.array(head.anchors)[None, :, :, None]
    if layout.squared:
        size = tape("Sigmoid", [size])
        size, sides = tape("Mul", [size, size]), 4 * sides
    else:
        size = tape("Exp", [tape("Min", [size, tape.floats(MAX_LOG_SIZE)])])
    size = tape("Mul", [size, tape.floats(sides)])

    objectness = tape("Sigmoid", [tape.channels(x, range(first - 1, first))])
    if layout.uncertainty:
        uncertainty = tape("Sigmoid", [tape.channels(x, layout.uncertainty)])
        mean = tape("ReduceMean", [uncertainty], {"axes": [2], "keepdims": 1})
        objectness = tape("Mul", [objectness, tape("Sub", [tape.floats(1), mean])])
    scores = tape.channels(x, range(first, first + classes))
    softmax = head.class_activation == "softmax"
    scores = tape("Softmax", [scores], {"axis": 2}) if softmax else tape("Sigmoid", [scores])
    scores = tape("Mul", [scores, objectness])

    joined = tape("Concat", [center, size, scores], {"axis": 2})
    moved = tape("Transpose", [joined], {"perm": [0, 2, 1, 3]})
    return tape("Reshape", [moved, tape.integers(1, 4 + classes, anchors * cells)])


def _suppressed(tape: _Tape, spec: ModelSpec, decoded: ir.Value, options: NmsOptions) -> ir.Value:
    """[1, 4 + classes, N] → [1, max, 6]. The one operator with an output of unknown size stays inside."""
    limit = options.max_detections
    boxes, scores = tape.many("Split", [decoded, tape.integers(4, len(spec.names))], 2, {"axis": 1})
    boxes = tape("Transpose", [boxes], {"perm": [0, 2, 1]})
    # a box has one class, its best and of equals the first, and two sides
    best = tape("ArgMax", [scores], {"axis": 1, "keepdims": 1})
    classes = tape.constant(np.arange(len(spec.names)).reshape(1, -1, 1))
    narrow = tape("ReduceMin", [tape.channels(boxes, range(2, 4))], {"axes": [2], "keepdims": 0})
    narrow = tape("Reshape", [narrow, tape.integers(1, 1, -1)])
    counts = tape("And", [tape("Equal", [best, classes]), tape("GreaterOrEqual", [narrow, tape.floats(MIN_SIDE)])])
    scores = tape("Where", [counts, scores, tape.floats(0)])
    chosen = tape(
        "NonMaxSuppression",
        [boxes, scores, tape.integers(limit), tape.floats([options.iou]), tape.floats([options.confidence])],
        {"center_point_box": 1},
    )
    _, class_id, box_id = tape.many("Split", [chosen, tape.integers(1, 1, 1)], 3, {"axis": 1})
    flat_boxes = tape("Reshape", [boxes, tape.integers(-1, 4)])
    kept = tape("Gather", [flat_boxes, tape("Reshape", [box_id, tape.integers(-1)])], {"axis": 0})
    center, size = tape.many("Split", [kept, tape.integers(2, 2)], 2, {"axis": 1})
    half = tape("Mul", [size, tape.floats(0.5)])
    flat_scores = tape("Reshape", [scores, tape.integers(len(spec.names), -1)])
    pair = tape("Concat", [class_id, box_id], {"axis": 1})
    confidence = tape("Reshape", [tape("GatherND", [flat_scores, pair]), tape.integers(-1, 1)])
    corners = [tape("Sub", [center, half]), tape("Add", [center, half])]
    class_value = tape("Cast", [class_id], {"to": ir.DataType.FLOAT.value})
    rows = tape("Concat", [*corners, confidence, class_value], {"axis": 1})
    # as many rows of zeros behind them as the output has: then the best `limit` rows always exist
    rows = tape("Concat", [rows, tape.floats(np.zeros((limit, 6)))], {"axis": 0})
    order = tape("Reshape", [tape("Slice", [rows, *map(tape.integers, (4, 5, 1))]), tape.integers(-1)])
    _, first = tape.many("TopK", [order, tape.integers(limit)], 2, {"axis": 0})
    result = tape("Gather", [rows, first], {"axis": 0})
    return tape("Reshape", [result, tape.integers(1, limit, 6)])
