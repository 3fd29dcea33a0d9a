"""The outputs of a TFLite file: raw heads, `--head decoded` and `--head nms`.

`decoded` is that of `yolo_edge.export.decoders`, boxes as fractions of the input. `nms` has the four outputs of the
operator TFLite_Detection_PostProcess (tensorflow/lite/kernels/detection_postprocess.cc): boxes [1, max, 4] as y1, x1,
y2, x2, fractions of the input; classes [1, max]; scores [1, max], falling; and the count [1]. What lies behind the
count is not defined.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from flatbuffers import flexbuffers
from onnx_ir.passes.common import ShapeInferencePass

from yolo_edge.export.decoders import OUTPUT_NAME, Tape, check_decodable, count_boxes, decode_heads, keep_best_class
from yolo_edge.export.graph import IR_VERSION, OPSET, shape_of
from yolo_edge.export.options import FileOptions
from yolo_edge.export.tflite.lowering import NHWC, Lowering
from yolo_edge.export.tflite.table import lower_nodes
from yolo_edge.ondevice.spec import Head, ModelSpec, NmsOptions

POSTPROCESS = "TFLite_Detection_PostProcess"
NMS_OUTPUTS = {
    "boxes": "detection_boxes",
    "classes": "detection_classes",
    "scores": "detection_scores",
    "count": "num_detections",
}
_PLAIN, _BOXES_FIRST = (0, 1, 2), (0, 2, 1)
# the operator refuses boxes without a side, and wants thresholds within (0, 1); these are far below what counts
_LEAST_SIDE, _LEAST, _MOST = 1e-6, 1e-30, 1 - 1e-7


def lower_heads(
    ctx: Lowering, raw: Mapping[str, ir.Value], spec: ModelSpec, options: FileOptions
) -> tuple[list[int], ModelSpec]:
    """Add what follows the raw heads.

    Args:
        ctx: Gets the tensors; the raw heads are bound in it.
        raw: Their values by name.
        spec: Of the raw heads.
        options: Of the file.

    Returns:
        The numbers of the outputs, and the spec of them.

    Raises:
        InputError: The head cannot be decoded within a file.
    """
    if options.head == "raw":
        heads = tuple(replace(head, layout="NHWC") for head in spec.heads)
        return [_named(ctx, ctx.nhwc(value), name) for name, value in raw.items()], replace(spec, heads=heads)
    check_decodable(spec, options.head)
    graph, copies = _separate(raw)
    tape = Tape(graph)
    side = (spec.input.width, spec.input.height)
    if options.head == "decoded":
        (decoded,) = _lower(ctx, graph, raw, decode_heads(tape, spec, copies, unit=side))
        tensor = _named(ctx, ctx.arranged(decoded, _PLAIN), OUTPUT_NAME)
        return [tensor], replace(spec, heads=(Head("decoded", 1, {"map": OUTPUT_NAME}, normalized=True),))
    boxes, scores = keep_best_class(tape, spec, decode_heads(tape, spec, copies, by_cell=True))
    boxes, scores = _lower(ctx, graph, raw, _encode_boxes(tape, boxes, side), scores)
    outputs = _postprocess(ctx, spec, boxes, scores, options.nms)
    return outputs, replace(spec, heads=(Head("detection_postprocess", 1, NMS_OUTPUTS, nms=options.nms),))


def _named(ctx: Lowering, tensor: int, name: str) -> int:
    ctx.assembly.rename(tensor, name)
    return tensor


def _separate(raw: Mapping[str, ir.Value]) -> tuple[ir.Graph, dict[str, ir.Value]]:
    """A graph of its own for the decoder, whose inputs are the raw heads: its shapes are inferred without weights."""
    float32 = ir.TensorType(ir.DataType.FLOAT)
    copies = {name: ir.Value(name=name, shape=ir.Shape(shape_of(value)), type=float32) for name, value in raw.items()}
    graph = ir.Graph(list(copies.values()), [], nodes=[], opset_imports={"": OPSET}, name="decoder")
    return graph, copies


def _lower(ctx: Lowering, graph: ir.Graph, raw: Mapping[str, ir.Value], *outputs: ir.Value) -> tuple[ir.Value, ...]:
    """Lower the decoder, behind the raw heads."""
    graph.outputs.extend(outputs)
    model = ir.Model(graph, ir_version=IR_VERSION)
    ShapeInferencePass()(model)
    for value in graph.inputs:
        ctx.bind(value, ctx.nhwc(raw[value.name or ""]), NHWC)
    lower_nodes(ctx, graph)
    return outputs


def _flexbuffer(settings: Mapping[str, int | float | bool]) -> bytes:
    """A FlexBuffer with one map, its keys sorted."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, value in sorted(settings.items()):
            add = {bool: builder.Bool, int: builder.Int, float: builder.Float}[type(value)]
            add(name, value)
    return bytes(builder.Finish())


def _encode_boxes(tape: Tape, boxes: ir.Value, side: tuple[int, int]) -> ir.Value:
    """Boxes in pixels [1, 4, N] → centre y, x, logarithm of height, width [1, 4, N], of fractions."""
    center_x, center_y, width, height = (tape.part(boxes, 1, range(i, i + 1)) for i in range(4))
    centers, sizes = tape("Concat", [center_y, center_x], {"axis": 1}), tape("Concat", [height, width], {"axis": 1})
    fraction = np.array([[[1 / side[1]], [1 / side[0]]]])
    centers, sizes = (tape("Mul", [value, tape.floats(fraction)]) for value in (centers, sizes))
    logarithm = tape("Log", [tape("Max", [sizes, tape.floats(_LEAST_SIDE)])])
    return tape("Concat", [centers, logarithm], {"axis": 1})


def _postprocess(ctx: Lowering, spec: ModelSpec, boxes: ir.Value, scores: ir.Value, options: NmsOptions) -> list[int]:
    """Add the operator: NMS class by class. Its own anchors are the whole input, so that it only takes exponentials."""
    inputs = [ctx.arranged(value, _BOXES_FIRST) for value in (boxes, scores)]
    anchors = np.tile(np.array([0, 0, 1, 1], np.float32), (count_boxes(spec), 1))
    inputs.append(ctx.assembly.constant("anchors", anchors))
    rows = options.max_detections
    shapes = {"boxes": [1, rows, 4], "classes": [1, rows], "scores": [1, rows], "count": [1]}
    outputs = [ctx.assembly.tensor(NMS_OUTPUTS[role], shape) for role, shape in shapes.items()]
    # scores at the threshold count there, and do not with us
    above = float(np.nextafter(np.float32(options.confidence), np.float32(2)))
    settings = {
        "detections_per_class": rows,
        "h_scale": 1.0,
        "max_classes_per_detection": 1,
        "max_detections": rows,
        "nms_iou_threshold": min(max(options.iou, _LEAST), _MOST),
        "nms_score_threshold": max(above, _LEAST),
        "num_classes": len(spec.names),
        "use_regular_nms": True,
        "w_scale": 1.0,
        "x_scale": 1.0,
        "y_scale": 1.0,
    }
    ctx.assembly.custom_operator(POSTPROCESS, inputs, outputs, _flexbuffer(settings))
    return outputs
