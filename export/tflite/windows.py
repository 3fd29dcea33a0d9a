"""Convolutions and pools.

ONNX pads each side by a number; TFLite knows VALID (none) and SAME, whose odd pixel lies at the end. What a window
really touches is compared with both; where it is neither, an operator pads before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import shape_of
from yolo_edge.export.tflite.lowering import NHWC, Lowering, Output
from yolo_edge.export.tflite.schema import PADDING
from yolo_edge.ondevice.errors import InputError


@dataclass(frozen=True)
class Windows:
    """How windows go over a map; everything along y and x.

    Attributes:
        kernel: Rows and columns.
        strides: Of the windows.
        dilations: Of the kernel.
        padding: (before, after) that windows reach over each side.
        same: It is what TFLite's SAME does.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    same: bool

    @classmethod
    def of(cls, node: ir.Node, out: Output) -> "Windows":
        """The windows of a convolution or pool."""
        kernel = _pair(node.attributes.get_ints("kernel_shape"))
        strides, dilations = (_pair(node.attributes.get_ints(name)) for name in ("strides", "dilations"))
        top, left, _, _ = node.attributes.get_ints("pads") or (0, 0, 0, 0)
        touched, same = [], True
        for axis, before in enumerate((top, left)):
            size, count, stride = shape_of(_source(node))[2 + axis], out.shape[2 + axis], strides[axis]
            extent = (count - 1) * stride + (kernel[axis] - 1) * dilations[axis] + 1
            # ONNX's own end may reach further than the last window
            after = max(extent - size - before, 0)
            touched.append((before, after))
            total = max(extent - size, 0)
            same &= count == -(-size // stride) and (before, after) == (total // 2, total - total // 2)
        return cls(kernel, strides, dilations, (touched[0], touched[1]), same)

    @property
    def valid(self) -> bool:
        """No window reaches over a side."""
        return self.padding == ((0, 0), (0, 0))

    @property
    def options(self) -> dict[str, int]:
        """The part of the operator's options that convolutions and pools share."""
        same = self.same and not self.valid
        return {
            "padding": PADDING["SAME" if same else "VALID"],
            "stride_h": self.strides[0],
            "stride_w": self.strides[1],
        }


def _pair(numbers: Sequence[int] | None) -> tuple[int, int]:
    rows, columns = numbers or (1, 1)
    return rows, columns


def _source(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"node {node.name!r} has no input")
    return value


def _padded(ctx: Lowering, node: ir.Node, windows: Windows, lowest: bool = False) -> int:
    """The input of the node, padded where the windows need it, with zeros or with what is lower than all."""
    x = ctx.nhwc(node.inputs[0])
    if windows.same or windows.valid:
        return x
    name = f"{node.name}.padded"
    sides = np.array([(0, 0), *windows.padding, (0, 0)], np.int32)
    return ctx.padded_low(x, name, sides) if lowest else ctx.padded(x, name, sides)


def lower_conv(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Conv → CONV_2D, or DEPTHWISE_CONV_2D where each group has one channel."""
    windows = Windows.of(node, out)
    groups = node.attributes.get_int("group", 1) or 1
    channels = shape_of(_source(node))[1]
    depthwise = groups == channels and groups > 1
    weight = ctx.weight(node, (1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    inputs = [_padded(ctx, node, windows), weight, ctx.bias(node)]
    dilations = {"dilation_h_factor": windows.dilations[0], "dilation_w_factor": windows.dilations[1]}
    options = {**windows.options, **dilations, **out.options}
    if depthwise:
        version = 1 if windows.dilations == (1, 1) else 2
        options["depth_multiplier"] = out.shape[1] // groups
        ctx.add("DEPTHWISE_CONV_2D", inputs, out, NHWC, version=version, **options)
    else:
        ctx.add("CONV_2D", inputs, out, NHWC, version=6 if groups > 1 else 1, **options)


def lower_conv_transpose(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """ConvTranspose → TRANSPOSE_CONV of the whole map, and a cut where ONNX pads."""
    kernel, strides = (_pair(node.attributes.get_ints(name)) for name in ("kernel_shape", "strides"))
    top, left, _, _ = node.attributes.get_ints("pads") or (0, 0, 0, 0)
    _, _, rows, columns = shape_of(_source(node))
    _, channels, height, width = out.shape
    whole = [1, (rows - 1) * strides[0] + kernel[0], (columns - 1) * strides[1] + kernel[1], channels]
    name = node.name or "upsampled"
    inputs = [ctx.integers(f"{name}.size", whole), ctx.weight(node, (1, 2, 3, 0))]
    inputs += [ctx.nhwc(node.inputs[0]), ctx.bias(node)]
    options = {"padding": PADDING["VALID"], "stride_h": strides[0], "stride_w": strides[1], "version": 3}
    if whole == [1, height, width, channels]:
        ctx.add("TRANSPOSE_CONV", inputs, out, NHWC, **options)
        return
    full = ctx.step("TRANSPOSE_CONV", inputs, f"{name}.whole", whole, **options)
    bounds = [
        ctx.integers(f"{name}.begin", [0, top, left, 0]),
        ctx.integers(f"{name}.end", [1, height, width, channels]),
    ]
    ctx.add("SLICE", [full, *bounds], out, NHWC)


def lower_max_pool(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """MaxPool → MAX_POOL_2D."""
    windows = _undilated(node, out)
    x = _padded(ctx, node, windows, lowest=True)
    ctx.add("MAX_POOL_2D", [x], out, NHWC, **_pool_options(windows))


def lower_average_pool(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """AveragePool → AVERAGE_POOL_2D. Neither counts what lies outside, but PAD puts zeros there that count."""
    windows = _undilated(node, out)
    x = _padded(ctx, node, windows)
    options = _pool_options(windows)
    if windows.same or windows.valid:
        ctx.add("AVERAGE_POOL_2D", [x], out, NHWC, **options)
        return
    shape = shape_of(_source(node))
    seen = [
        _cells_seen(shape[2 + axis], out.shape[2 + axis], windows.kernel[axis], windows.strides[axis], before)
        for axis, (before, _) in enumerate(windows.padding)
    ]
    factor = np.prod(windows.kernel) / np.outer(*seen)
    name = node.name or "pool"
    mean = ctx.step("AVERAGE_POOL_2D", [x], f"{name}.padded_mean", [out.shape[axis] for axis in NHWC], **options)
    constant = ctx.assembly.constant(f"{name}.factor", factor.astype(np.float32)[None, :, :, None])
    ctx.add("MUL", [mean, constant], out, NHWC)


def _cells_seen(size: int, count: int, kernel: int, stride: int, before: int) -> np.ndarray:
    """How many cells of the map each window sees along an axis."""
    starts = np.arange(count) * stride - before
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)


def _undilated(node: ir.Node, out: Output) -> Windows:
    windows = Windows.of(node, out)
    if windows.dilations != (1, 1):
        raise InputError(f"layer {node.name!r} ({node.op_type}): TFLite has no dilated pools; use --format onnx")
    return windows


def _pool_options(windows: Windows) -> dict[str, int]:
    return {**windows.options, "filter_height": windows.kernel[0], "filter_width": windows.kernel[1]}


def lower_global_average_pool(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """GlobalAveragePool → MEAN over rows and columns."""
    axes = ctx.integers("rows_and_columns", [1, 2])
    ctx.add("MEAN", [ctx.nhwc(node.inputs[0]), axes], out, NHWC, keep_dims=True)
