"""The outputs of a TFLite file: raw heads, `--head decoded` and `--head nms`.

`decoded` is that of `yolo_edge.export.decoders`, boxes as fractions of the input. `nms` has the four outputs of the
operator TFLite_Detection_PostProcess (tensorflow/lite/kernels/detection_postprocess.cc): boxes [1, max, 4] as y1, x1,
y2, x2, fractions of the input; classes [1, max]; scores [1, max], falling; and the count [1]. What lies behind the
count is not defined.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from flatbuffers import flexbuffers
from onnx_ir.passes.common import ShapeInferencePass

from yolo_edge.export.decoders import OUTPUT_NAME, Tape, check_decodable, count_boxes, decode_heads, keep_best_class
from yolo_edge.export.graph import IR_VERSION, OPSET, shape_of
from yolo_edge.export.options import FileOptions
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.plan import HeadPlan
from yolo_edge.export.tflite.integers import IntegerLowering
from yolo_edge.export.tflite.lowering import NHWC, Lowering
from yolo_edge.export.tflite.table import lower_nodes
from yolo_edge.ondevice.spec import Head, ModelSpec, NmsOptions, TensorQuantization

POSTPROCESS = "TFLite_Detection_PostProcess"
NMS_OUTPUTS = {
    "boxes": "detection_boxes",
    "classes": "detection_classes",
    "scores": "detection_scores",
    "count": "num_detections",
}
_PLAIN, _BOXES_FIRST = (0, 1, 2), (0, 2, 1)
# what lies further out, in inputs, does not count for NMS; each class gets a square of this side for itself
_LOW, _HIGH = -8.0, 8.0
_SPAN = _HIGH - _LOW
_LEAST, _MOST = 1e-30, 1 - 1e-7  # the operator wants thresholds within (0, 1)


def lower_heads(
    ctx: Lowering,
    raw: Mapping[str, ir.Value],
    spec: ModelSpec,
    options: FileOptions,
    quantized: QuantizedGraph | None = None,
) -> tuple[list[int], ModelSpec]:
    """Add what follows the raw heads.

    Args:
        ctx: Gets the tensors; the raw heads are bound in it.
        raw: Their values by name.
        spec: Of the raw heads.
        options: Of the file.
        quantized: Of an int8 file.

    Returns:
        The numbers of the outputs, and the spec of them.

    Raises:
        InputError: The head cannot be decoded within a file.
    """
    if quantized is not None and options.output_type == "int8":
        return _integer_heads(IntegerLowering(ctx, quantized), raw, spec, quantized.plan.heads)
    restore = {} if quantized is None else quantized.plan.heads
    for name, plan in restore.items():
        _restore(ctx, raw[name], name, plan)
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
        head = Head("decoded", 1, {"map": OUTPUT_NAME}, normalized=True, one_to_one=spec.heads[0].one_to_one)
        return [tensor], replace(spec, heads=(head,))
    boxes, scores, best = keep_best_class(tape, spec, decode_heads(tape, spec, copies, by_cell=True))
    encoded = _encode_boxes(tape, boxes, best, side, _squares(spec))
    boxes, scores = _lower(ctx, graph, raw, encoded, scores)
    outputs = _postprocess(ctx, spec, boxes, scores, options.nms)
    return outputs, replace(spec, heads=(Head("detection_postprocess", 1, NMS_OUTPUTS, nms=options.nms),))


def _integer_heads(
    ctx: IntegerLowering, raw: Mapping[str, ir.Value], spec: ModelSpec, restore: Mapping[str, HeadPlan]
) -> tuple[list[int], ModelSpec]:
    """Heads as the network ends at them: integers where it computes them as such."""
    outputs, quantization = [], {}
    for name, value in raw.items():
        plan = restore.get(name)
        steps = ctx.quantization(value)
        if steps is None:
            if plan is not None:
                _restore(ctx.view, value, name, plan)
            outputs.append(_named(ctx, ctx.view.nhwc(value), name))
            continue
        outputs.append(_named(ctx, ctx.nhwc(value), name))
        sides = (plan.factor, plan.offset) if plan is not None else ((), ())
        quantization[name] = TensorQuantization(steps.scale[0], steps.zero_point[0], *sides)
    heads = tuple(
        replace(
            head,
            layout="NHWC",
            quantization={name: quantization[name] for name in head.tensors.values() if name in quantization},
        )
        for head in spec.heads
    )
    return outputs, replace(spec, heads=heads)


def _restore(ctx: Lowering, value: ir.Value, name: str, plan: HeadPlan) -> None:
    """Bring the channels of a head back to their own ranges, in float32."""
    tensor = ctx.nhwc(value)
    for op, numbers in (("MUL", plan.factor), ("ADD", plan.offset)):
        constant = ctx.floats(f"{name}.{op.lower()}_by", numbers)
        tensor = ctx.step(op, [tensor, constant], f"{name}.{op.lower()}", ctx.assembly.shape(tensor))
    ctx.bind(value, tensor, NHWC)


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


def _squares(spec: ModelSpec) -> int:
    """How many squares of `_SPAN` lie in a row, so that all classes have one."""
    return math.isqrt(len(spec.names) - 1) + 1


def _encode_boxes(tape: Tape, boxes: ir.Value, best: ir.Value, side: tuple[int, int], squares: int) -> ir.Value:
    """Boxes in pixels [1, 4, N] and their classes [1, 1, N] → what the operator decodes, [1, 4, N].

    That is centre y, x and the logarithms of height, width, as fractions of the input. Classes are moved apart, each
    into its square, so that NMS across classes does it class by class.
    """
    center_x, center_y, width, height = (tape.part(boxes, 1, range(i, i + 1)) for i in range(4))
    fraction = tape.floats([[[1 / side[1]], [1 / side[0]]]])
    center = tape("Mul", [tape("Concat", [center_y, center_x], {"axis": 1}), fraction])
    size = tape("Mul", [tape("Concat", [height, width], {"axis": 1}), fraction])
    half = tape("Mul", [size, tape.floats(0.5)])
    low = tape("Max", [tape("Sub", [center, half]), tape.floats(_LOW)])
    high = tape("Min", [tape("Add", [center, half]), tape.floats(_HIGH)])
    middle = tape("Mul", [tape("Add", [low, high]), tape.floats(0.5)])
    number = tape("Cast", [best], {"to": ir.DataType.FLOAT.value})
    row = tape("Floor", [tape("Mul", [tape("Add", [number, tape.floats(0.5)]), tape.floats(1 / squares)])])
    column = tape("Sub", [number, tape("Mul", [row, tape.floats(squares)])])
    square = tape("Mul", [tape("Concat", [row, column], {"axis": 1}), tape.floats(_SPAN)])
    # a box without a side is refused by old runtimes: a few steps of what float32 resolves in the last square
    least = tape.floats(4 * np.spacing(np.float32(_SPAN * squares)))
    extent = tape("Max", [tape("Sub", [high, low]), least])
    return tape("Concat", [tape("Add", [middle, square]), tape("Log", [extent])], {"axis": 1})


def _postprocess(ctx: Lowering, spec: ModelSpec, boxes: ir.Value, scores: ir.Value, options: NmsOptions) -> list[int]:
    """Add the operator. Its own anchors are the whole input, so that it only takes exponentials.

    It knows NMS class by class too (`use_regular_nms`), but with two threads or more that loses boxes, in LiteRT 2.3 as
    in 2.14: the threads share the list of boxes that are left.
    """
    inputs = [ctx.arranged(value, _BOXES_FIRST) for value in (boxes, scores)]
    anchors = np.tile(np.array([0, 0, 1, 1], np.float32), (count_boxes(spec), 1))
    inputs.append(ctx.assembly.constant("anchors", anchors))
    rows = options.max_detections
    shapes = {"boxes": [1, rows, 4], "classes": [1, rows], "scores": [1, rows], "count": [1]}
    apart = ctx.assembly.tensor("boxes.apart", shapes.pop("boxes"))
    outputs = [ctx.assembly.tensor(NMS_OUTPUTS[role], shape) for role, shape in shapes.items()]
    # scores at the threshold count there, and do not with us
    above = float(np.nextafter(np.float32(options.confidence), np.float32(2)))
    settings = {
        "h_scale": 1.0,
        "max_classes_per_detection": 1,
        "max_detections": rows,
        "nms_iou_threshold": min(max(options.iou, _LEAST), _MOST),
        "nms_score_threshold": max(above, _LEAST),
        "num_classes": len(spec.names),
        "use_regular_nms": False,
        "w_scale": 1.0,
        "x_scale": 1.0,
        "y_scale": 1.0,
    }
    ctx.assembly.custom_operator(POSTPROCESS, inputs, [apart, *outputs], _flexbuffer(settings))
    return [_bring_back(ctx, apart, outputs[0], rows, _squares(spec)), *outputs]


def _bring_back(ctx: Lowering, apart: int, classes: int, rows: int, squares: int) -> int:
    """Boxes [1, max, 4] out of the squares of their classes [1, max]; only arithmetic, since the last mean nothing."""
    number = ctx.reshaped(classes, "class", [1, rows, 1])
    raised = ctx.step("ADD", [number, ctx.floats("half", [0.5])], "class.raised", [1, rows, 1])
    share = ctx.step("MUL", [raised, ctx.floats("share", [1 / squares])], "class.share", [1, rows, 1])
    row = ctx.step("FLOOR", [share], "square.row", [1, rows, 1])
    before = ctx.step("MUL", [row, ctx.floats("squares", [squares])], "square.before", [1, rows, 1])
    column = ctx.step("SUB", [number, before], "square.column", [1, rows, 1])
    square = ctx.step("CONCATENATION", [row, column, row, column], "square", [1, rows, 4], axis=2)
    offset = ctx.step("MUL", [square, ctx.floats("span", [_SPAN])], "square.offset", [1, rows, 4])
    return ctx.step("SUB", [apart, offset], NMS_OUTPUTS["boxes"], [1, rows, 4])
