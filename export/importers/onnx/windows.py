"""Foreign operators that look through a window: convolutions, pools and padding."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.onnx.emit import Converted, Emitter
from yolo_edge.export.importers.onnx.network import integer, integers, text


def convolution(e: Emitter, node: NodeProto) -> Converted:
    """`Conv`: two axes, in groups or not."""
    x, weight, bias = e.x(node), e.array(node, 1), e.array(node, 2)
    if weight is None or weight.ndim != 4:
        raise e.error(node, "its weight is missing, or not for pictures")
    shape, group = e.shape(node), integer(node, "group", 1)
    channels = shape_of(x)[1]
    if group < 1 or weight.shape[1] * group != channels or weight.shape[0] % group or shape[1] != weight.shape[0]:
        raise e.error(node, f"a weight {list(weight.shape)} in {group} groups does not fit {channels} channels")
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    inputs = [x, e.constant(node, "w", weight), e.constant(node, "b", bias.reshape(-1))]
    window = _window(e, node, weight.shape[2:])
    return [e.add("Conv", inputs, shape, node, group=group, **window)]


def conv_transpose(e: Emitter, node: NodeProto) -> Converted:
    """`ConvTranspose` whose output is as large as its window says."""
    x, weight, bias = e.x(node), e.array(node, 1), e.array(node, 2)
    shape = e.shape(node)
    if weight is None or weight.ndim != 4 or weight.shape[0] != shape_of(x)[1] or weight.shape[1] != shape[1]:
        raise e.error(node, "its weight is missing, in groups, or not for pictures")
    window = _window(e, node, weight.shape[2:])
    pads, strides = window["pads"], window["strides"]
    plain = [
        (shape_of(x)[2 + i] - 1) * strides[i] + weight.shape[2 + i] - pads[i] - pads[2 + i] == shape[2 + i]
        for i in (0, 1)
    ]
    if integer(node, "group", 1) != 1 or set(window["dilations"]) != {1} or not all(plain):
        raise e.error(node, "groups, dilations, output_padding and output_shape are not supported")
    if bias is None:
        bias = np.zeros(shape[1], np.float32)
    inputs = [x, e.constant(node, "w", weight), e.constant(node, "b", bias.reshape(-1))]
    return [e.add("ConvTranspose", inputs, shape, node, **window)]


def max_pool(e: Emitter, node: NodeProto) -> Converted:
    """`MaxPool`, with padding where it counts what lies beyond the edge."""
    if len(node.output) > 1 and node.output[1]:
        raise e.error(node, "indices of maxima are not supported")
    window = _window(e, node, integers(node, "kernel_shape"), bool(integer(node, "ceil_mode", 0)))
    return [e.add("MaxPool", [e.x(node)], e.shape(node), node, **window)]


def average_pool(e: Emitter, node: NodeProto) -> Converted:
    """`AveragePool`; a depthwise convolution where the zeros around count."""
    x, kernel = e.x(node), integers(node, "kernel_shape")
    if integer(node, "ceil_mode", 0):
        raise e.error(node, "ceil_mode is not supported for averages")
    window = _window(e, node, kernel)
    if set(window["dilations"]) != {1}:
        raise e.error(node, "dilations are not supported for averages")
    before = e.producers.get(node.input[0])
    padded = before is not None and before.op_type == "Pad"  # by `pad`: a convolution, too
    if (integer(node, "count_include_pad", 0) and any(window["pads"])) or (padded and not any(window["pads"])):
        channels = shape_of(x)[1]  # a mean with the zeros counted is a depthwise convolution
        weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        inputs = [x, e.constant(node, "w", weight), e.constant(node, "b", np.zeros(channels, np.float32))]
        return [e.add("Conv", inputs, e.shape(node), node, group=channels, **window)]
    del window["dilations"]  # came with opset 19
    return [e.add("AveragePool", [x], e.shape(node), node, **window)]


def pad(e: Emitter, node: NodeProto) -> Converted:
    """`Pad` with zeros: a convolution that changes nothing, and pads; fused with the one behind it."""
    x, pads = e.x(node), e.array(node, 1)
    if text(node, "mode", "constant") != "constant" or pads is None or e.number(node, 2, 0) != 0:
        raise e.error(node, "padding with zeros is supported")
    sides = [int(side) for side in pads.reshape(-1)]
    axes = len(node.input) > 3 and node.input[3]
    if axes or len(sides) != 8 or min(sides) < 0 or any(sides[i] for i in (0, 1, 4, 5)):
        raise e.error(node, "padding of height and width is supported")
    channels = shape_of(x)[1]
    # a convolution that changes nothing, and pads; fused with the one behind it
    inputs = [
        x,
        e.constant(node, "w", np.ones((channels, 1, 1, 1), np.float32)),
        e.constant(node, "b", np.zeros(channels, np.float32)),
    ]
    around = [sides[2], sides[3], sides[6], sides[7]]
    window = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": around, "dilations": [1, 1]}
    return [e.add("Conv", inputs, e.shape(node), node, group=channels, **window)]


def _window(e: Emitter, node: NodeProto, kernel: Sequence[int], ceil: bool = False) -> dict[str, list[int]]:
    """kernel_shape, strides, pads and dilations, all stated; automatic padding becomes numbers."""
    x, y = shape_of(e.x(node)), e.shape(node)
    if len(x) != 4:
        raise e.error(node, f"works on {len(x)} axes; pictures have 4")
    strides, dilations = integers(node, "strides", [1, 1]), integers(node, "dilations", [1, 1])
    pads = integers(node, "pads", [0, 0, 0, 0])
    if not len(strides) == len(dilations) == 2 or len(pads) != 4 or min([*strides, *dilations]) < 1 or min(pads) < 0:
        raise e.error(node, "strides, dilations or pads that no picture has")
    automatic = text(node, "auto_pad", "NOTSET")
    reach = [dilations[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        for i in (0, 1):
            total = max((y[2 + i] - 1) * strides[i] + reach[i] - x[2 + i], 0)
            less = total // 2
            pads[i], pads[2 + i] = (less, total - less) if automatic == "SAME_UPPER" else (total - less, less)
    elif automatic == "VALID":
        pads = [0, 0, 0, 0]
    if ceil:  # what lies beyond the edge is padding
        for i in (0, 1):
            pads[2 + i] = max((y[2 + i] - 1) * strides[i] + reach[i] - x[2 + i] - pads[i], 0)
    return {"kernel_shape": list(kernel), "strides": strides, "pads": pads, "dilations": dilations}
