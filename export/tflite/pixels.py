"""The input of a TFLite file: floats as the spec has them, or with `--input uint8` the pixels of a picture."""

from dataclasses import replace

import onnx_ir as ir

from yolo_edge.export.graph import INPUT_NAME, shape_of
from yolo_edge.export.tflite.lowering import NHWC, Lowering
from yolo_edge.ondevice.spec import InputSpec, ModelSpec


def lower_input(ctx: Lowering, value: ir.Value, spec: ModelSpec, kind: str) -> tuple[int, ModelSpec]:
    """Add the input of the file, and what leads from there to the input of the graph.

    Args:
        ctx: Gets the tensors.
        value: The input of the graph, float32 [1, 3, height, width].
        spec: Of it.
        kind: "float32" or "uint8".

    Returns:
        The number of the input tensor, [1, height, width, 3], and the spec of it.
    """
    if kind == "float32":
        tensor = ctx.new(INPUT_NAME, shape_of(value), NHWC)
        ctx.bind(value, tensor, NHWC)
        return tensor, replace(spec, input=replace(spec.input, layout="NHWC"))
    tensor, floats = _from_pixels(ctx, spec.input)
    ctx.bind(value, floats, NHWC)
    changes = {"dtype": "uint8", "layout": "NHWC", "color": "RGB", "mean": (0.0,) * 3, "scale": (1.0,) * 3}
    return tensor, replace(spec, input=replace(spec.input, **changes))  # type: ignore[arg-type]


def _from_pixels(ctx: Lowering, image: InputSpec) -> tuple[int, int]:
    """The tensor of the pixels, and that of what the graph expects."""
    shape = (1, image.height, image.width, 3)
    even = not any(image.mean) and len(set(image.scale)) == 1
    # a scale that all share is that of the quantized input itself
    pixels = ctx.assembly.tensor(INPUT_NAME, shape, "uint8", image.scale[0] if even else 1.0)
    result = ctx.step("DEQUANTIZE", [pixels], "pixels.float", shape)
    if image.color == "BGR":
        result = ctx.step("REVERSE_V2", [result, ctx.integers("pixels.axis", [3])], "pixels.reversed", shape)
    if even:
        return pixels, result
    for op, values, neutral in (("SUB", image.mean, 0), ("MUL", image.scale, 1)):
        if any(item != neutral for item in values):
            constant = ctx.floats(f"pixels.{op.lower()}_by", values)
            result = ctx.step(op, [result, constant], f"pixels.{op.lower()}", shape)
    return pixels, result
