"""The input of a TFLite file: floats as the spec has them, or the pixels of a picture, or the integers of a plan."""

from dataclasses import replace

import onnx_ir as ir

from yolo_edge.export.graph import INPUT_NAME
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.tflite.assembly import Quantization
from yolo_edge.export.tflite.integers import quantization_of
from yolo_edge.export.tflite.lowering import NHWC, Lowering
from yolo_edge.ondevice.spec import InputSpec, ModelSpec, TensorQuantization


def lower_input(
    ctx: Lowering, value: ir.Value, spec: ModelSpec, kind: str, quantized: QuantizedGraph | None = None
) -> tuple[int, ModelSpec]:
    """Add the input of the file, and what leads from there to the input of the graph.

    Args:
        ctx: Gets the tensors.
        value: The input of the graph, float32 [1, 3, height, width].
        spec: Of it.
        kind: Of `options.INPUTS`.
        quantized: Of an int8 file.

    Returns:
        The number of the input tensor, [1, height, width, 3], and the spec of it.
    """
    if kind == "float32":
        tensor = ctx.assembly.tensor(INPUT_NAME, _shape(spec.input))
        ctx.bind(value, tensor, NHWC)
        return tensor, replace(spec, input=replace(spec.input, layout="NHWC"))
    plan = None if quantized is None else quantized.plan.tensors.get(INPUT_NAME)
    if kind == "int8":
        plan = plan or TensorPlan.of_range(*_bounds(spec.input))  # where the network begins in float32
        tensor = ctx.assembly.tensor(INPUT_NAME, _shape(spec.input), "int8", quantization_of(plan))
        ctx.bind(value, tensor, NHWC)
        integers = TensorQuantization(plan.scale, plan.zero_point)
        image = replace(spec.input, dtype="int8", layout="NHWC", quantization=integers)
        return tensor, replace(spec, input=image)
    if plan is not None:
        tensor, source = _integers_from_pixels(ctx, spec.input, plan)
    else:
        tensor, source = _from_pixels(ctx, spec.input)
    ctx.bind(value, source, NHWC)
    changes = {"dtype": "uint8", "layout": "NHWC", "color": "RGB", "mean": (0.0,) * 3, "scale": (1.0,) * 3}
    return tensor, replace(spec, input=replace(spec.input, **changes))  # type: ignore[arg-type]


def _shape(image: InputSpec) -> tuple[int, int, int, int]:
    return 1, image.height, image.width, 3


def _bounds(image: InputSpec) -> tuple[float, float]:
    """The smallest and the largest value that pixels become."""
    ends = [(pixel - mean) * scale for mean, scale in zip(image.mean, image.scale, strict=True) for pixel in (0, 255)]
    return min(ends), max(ends)


def _integers_from_pixels(ctx: Lowering, image: InputSpec, plan: TensorPlan) -> tuple[int, int]:
    """The tensor of the pixels, and that of the integers that the network begins with.

    XNNPACK does not run REVERSE_V2: it comes first, so that nothing is parted.
    """
    shape, (mean, scale) = _shape(image), (image.mean[0], image.scale[0])
    uniform = {*image.mean} == {mean} and {*image.scale} == {scale} and scale > 0 and mean in range(256)
    # a scale and a mean that all share are those of the quantized input itself
    steps = Quantization((scale,), (int(mean),)) if uniform else Quantization((1.0,), (0,))
    pixels = source = ctx.assembly.tensor(INPUT_NAME, shape, "uint8", steps)
    if image.color == "BGR":
        source = ctx.assembly.tensor("pixels.reversed", shape, "uint8", steps)
        ctx.assembly.operator("REVERSE_V2", [pixels, ctx.integers("pixels.axis", [3])], [source])
    if not uniform:
        source = _normalized(ctx, image, ctx.step("DEQUANTIZE", [source], "pixels.float", shape))
    result = ctx.assembly.tensor("pixels.int8", shape, "int8", quantization_of(plan))
    ctx.assembly.operator("QUANTIZE", [source], [result])
    return pixels, result


def _from_pixels(ctx: Lowering, image: InputSpec) -> tuple[int, int]:
    """The tensor of the pixels, and that of what the graph expects."""
    shape = _shape(image)
    even = not any(image.mean) and len(set(image.scale)) == 1
    # a scale that all share is that of the quantized input itself
    steps = Quantization((image.scale[0] if even else 1.0,), (0,))
    pixels = ctx.assembly.tensor(INPUT_NAME, shape, "uint8", steps)
    result = ctx.step("DEQUANTIZE", [pixels], "pixels.float", shape)
    if image.color == "BGR":
        result = ctx.step("REVERSE_V2", [result, ctx.integers("pixels.axis", [3])], "pixels.reversed", shape)
    return pixels, result if even else _normalized(ctx, image, result)


def _normalized(ctx: Lowering, image: InputSpec, pixels: int) -> int:
    """(p − mean) · scale, in float32."""
    result, shape = pixels, _shape(image)
    for op, values, neutral in (("SUB", image.mean, 0), ("MUL", image.scale, 1)):
        if any(item != neutral for item in values):
            constant = ctx.floats(f"pixels.{op.lower()}_by", values)
            result = ctx.step(op, [result, constant], f"pixels.{op.lower()}", shape)
    return result
