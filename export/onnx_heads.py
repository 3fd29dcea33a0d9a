"""`--head decoded` and `--head nms` of ONNX files.

`decoded` is that of `yolo_edge.export.decoders`, in input pixels. `nms` is [1, max, 6]: x1, y1, x2, y2, confidence,
class, by falling confidence, zeros after the last.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yolo_edge.export.decoders import OUTPUT_NAME, Tape, check_decodable, count_boxes, decode_heads, keep_best_class
from yolo_edge.ondevice.spec import Head, ModelSpec, NmsOptions


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
    check_decodable(spec, head)
    for node in model.graph:
        for value in node.outputs:
            if value.name == OUTPUT_NAME:
                value.name = f"{OUTPUT_NAME}.inner"
    tape = Tape(model.graph)
    result = decode_heads(tape, spec, {value.name or "": value for value in model.graph.outputs})
    shape = [1, 4 + len(spec.names), count_boxes(spec)]
    if head == "nms":
        result = _suppressed(tape, spec, result, options)
        shape = [1, options.max_detections, 6]
    result.name = OUTPUT_NAME
    result.shape, result.type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.clear()
    model.graph.outputs.append(result)
    nms = options if head == "nms" else None
    once = spec.heads[0].one_to_one
    return replace(spec, heads=(Head(head, 1, {"map": OUTPUT_NAME}, nms=nms, one_to_one=once),))


def _suppressed(tape: Tape, spec: ModelSpec, decoded: ir.Value, options: NmsOptions) -> ir.Value:
    """[1, 4 + classes, N] → [1, max, 6]. The one operator with an output of unknown size stays inside."""
    limit = options.max_detections
    boxes, scores, _ = keep_best_class(tape, spec, decoded)
    boxes = tape("Transpose", [boxes], {"perm": [0, 2, 1]})
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
