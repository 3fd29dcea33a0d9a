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
    if plan is not None and _is_uniform(spec.input):
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


def _is_uniform(image: InputSpec) -> bool:
    """Whether pixels in RGB are integers whose scale and zero-point say what the network expects."""
    mean, scale = image.mean[0], image.scale[0]
    same = (set(image.mean), set(image.scale)) == ({mean}, {scale})
    return same and image.color == "RGB" and scale > 0 and mean in range(256)


def _integers_from_pixels(ctx: Lowering, image: InputSpec, plan: TensorPlan) -> tuple[int, int]:
    """The tensor of the pixels, and that of the integers that the network begins with."""
    steps = Quantization((image.scale[0],), (int(image.mean[0]),))
    pixels = ctx.assembly.tensor(INPUT_NAME, _shape(image), "uint8", steps)
    result = ctx.assembly.tensor("pixels.int8", _shape(image), "int8", quantization_of(plan))
    ctx.assembly.operator("QUANTIZE", [pixels], [result])
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
    if even:
        return pixels, result
    for op, values, neutral in (("SUB", image.mean, 0), ("MUL", image.scale, 1)):
        if any(item != neutral for item in values):
            constant = ctx.floats(f"pixels.{op.lower()}_by", values)
            result = ctx.step(op, [result, constant], f"pixels.{op.lower()}", shape)
    return pixels, result
