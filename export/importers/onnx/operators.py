"""Foreign operators → the canonical ones: a table of functions, one an operator.

What a function gets has static shapes and no shape arithmetic left; what does not fit is refused by name.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx import NodeProto

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.onnx.emit import Convert, Converted, Emitter
from yolo_edge.export.importers.onnx.network import attribute, integer, integers, text

_LOWEST, _HIGHEST = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)


def _convolution(e: Emitter, node: NodeProto) -> Converted:
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


def _conv_transpose(e: Emitter, node: NodeProto) -> Converted:
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


def _max_pool(e: Emitter, node: NodeProto) -> Converted:
    if len(node.output) > 1 and node.output[1]:
        raise e.error(node, "indices of maxima are not supported")
    window = _window(e, node, integers(node, "kernel_shape"), bool(integer(node, "ceil_mode", 0)))
    return [e.add("MaxPool", [e.x(node)], e.shape(node), node, **window)]


def _average_pool(e: Emitter, node: NodeProto) -> Converted:
    x, kernel = e.x(node), integers(node, "kernel_shape")
    if integer(node, "ceil_mode", 0):
        raise e.error(node, "ceil_mode is not supported for averages")
    window = _window(e, node, kernel)
    if set(window["dilations"]) != {1}:
        raise e.error(node, "dilations are not supported for averages")
    before = e.producers.get(node.input[0])
    padded = before is not None and before.op_type == "Pad"  # by `_pad`: a convolution, too
    if (integer(node, "count_include_pad", 0) and any(window["pads"])) or (padded and not any(window["pads"])):
        channels = shape_of(x)[1]  # a mean with the zeros counted is a depthwise convolution
        weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
        inputs = [x, e.constant(node, "w", weight), e.constant(node, "b", np.zeros(channels, np.float32))]
        return [e.add("Conv", inputs, e.shape(node), node, group=channels, **window)]
    del window["dilations"]  # came with opset 19
    return [e.add("AveragePool", [x], e.shape(node), node, **window)]


def _unary(op: str) -> Convert:
    def convert(e: Emitter, node: NodeProto) -> Converted:
        return [e.add(op, [e.x(node)], e.shape(node), node)]

    return convert


def _leaky(e: Emitter, node: NodeProto) -> Converted:
    alpha = attribute(node, "alpha", 0.01)
    return [e.add("LeakyRelu", [e.x(node)], e.shape(node), node, alpha=float(alpha))]  # type: ignore[arg-type]


def _prelu(e: Emitter, node: NodeProto) -> Converted:
    x, slope = e.x(node), e.array(node, 1)
    if slope is None:
        raise e.error(node, "has no slope")
    if np.unique(slope).size == 1:
        return [e.add("LeakyRelu", [x], e.shape(node), node, alpha=float(slope.reshape(-1)[0]))]
    # max(x, 0) + slope · min(x, 0)
    bounds = [e.constant(node, role, np.float32(value)) for role, value in (("low", _LOWEST), ("high", 0.0))]
    negative = e.add("Clip", [x, *bounds], e.shape(node), node)
    scaled = e.add("Mul", [negative, e.constant(node, "slope", slope)], e.shape(node), node)
    positive = e.add("Relu", [x], e.shape(node), node)
    return [e.add("Add", [positive, scaled], e.shape(node), node)]


def _clip(e: Emitter, node: NodeProto) -> Converted:
    low, high = e.array(node, 1), e.array(node, 2)
    bounds = [_LOWEST if low is None else float(low), _HIGHEST if high is None else float(high)]
    bounds = [float(np.clip(bound, _LOWEST, _HIGHEST)) for bound in bounds]
    if bounds == [0, _HIGHEST]:
        return [e.add("Relu", [e.x(node)], e.shape(node), node)]
    return [_clipped(e, node, e.x(node), bounds)]


def _clipped(e: Emitter, node: NodeProto, x: ir.Value, bounds: Sequence[float]) -> ir.Value:
    constants = [e.constant(node, role, np.float32(value)) for role, value in zip(("low", "high"), bounds, strict=True)]
    return e.add("Clip", [x, *constants], shape_of(x), node)


def _hard_sigmoid(e: Emitter, node: NodeProto) -> Converted:
    alpha, beta = (float(attribute(node, name, default)) for name, default in (("alpha", 0.2), ("beta", 0.5)))  # type: ignore[arg-type]
    scaled = e.add("Mul", [e.x(node), e.constant(node, "alpha", np.float32(alpha))], e.shape(node), node)
    moved = e.add("Add", [scaled, e.constant(node, "beta", np.float32(beta))], e.shape(node), node)
    return [_clipped(e, node, moved, (0, 1))]


def _arithmetic(e: Emitter, node: NodeProto) -> Converted:
    """Add, Sub, Mul and Div of computed values and constants."""
    op, shape = node.op_type, e.shape(node)
    operands = []
    for i in (0, 1):
        name = node.input[i]
        array = e.network.constants.get(name)
        if array is None:
            operands.append(e.x(node, i))
            continue
        if i == 1 and op == "Sub":
            array = -array
        if i == 1 and op == "Div":
            if not array.all():
                raise e.error(node, "divides by zero")
            array = 1 / array.astype(np.float64)
        operands.append(e.constant(node, "c", array.astype(np.float32)))
    constant = node.input[1] in e.network.constants
    if op == "Div" and not constant:
        raise e.error(node, "divides by a computed value; this is not supported in the body of a detector")
    if op == "Sub" and not constant:
        minus = e.constant(node, "minus", np.float32(-1))
        operands[1] = e.add("Mul", [operands[1], minus], shape_of(operands[1]), node)
    return [e.add("Add" if op in ("Add", "Sub") else "Mul", operands, shape, node)]


def _sum(e: Emitter, node: NodeProto) -> Converted:
    value = e.x(node)
    for i in range(1, len(node.input)):
        value = e.add("Add", [value, e.x(node, i)], e.shape(node), node)
    return [value]


def _concat(e: Emitter, node: NodeProto) -> Converted:
    shape = e.shape(node)
    axis = integer(node, "axis", 0)
    inputs = [e.x(node, i) for i in range(len(node.input))]
    if len(inputs) == 1:
        return inputs
    return [e.add("Concat", inputs, shape, node, axis=axis % len(shape))]


def _slices(e: Emitter, node: NodeProto, x: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    sides = list(shape_of(x))
    if (start, end) == (0, sides[axis]):
        return x
    bounds = [e.constant(node, "bound", np.array([value], np.int64)) for value in (start, end, axis, 1)]
    sides[axis] = end - start
    return e.add("Slice", [x, *bounds], sides, node)


def _split(e: Emitter, node: NodeProto) -> Converted:
    x = e.x(node)
    axis = integer(node, "axis", 0) % len(shape_of(x))
    start, parts = 0, []
    for i in range(len(node.output)):
        end = start + e.shape(node, i)[axis]
        parts.append(_slices(e, node, x, axis, start, end))
        start = end
    return parts


def _slice(e: Emitter, node: NodeProto) -> Converted:
    x = e.x(node)
    sides = shape_of(x)
    starts, ends, axes, steps = (e.array(node, i) for i in range(1, 5))
    if starts is None or ends is None:
        raise e.error(node, "has no bounds")
    first = [int(value) for value in starts.reshape(-1)]
    last = [int(value) for value in ends.reshape(-1)]
    along = list(range(len(first))) if axes is None else [int(axis) % len(sides) for axis in axes.reshape(-1)]
    step = [1] * len(first) if steps is None else [int(value) for value in steps.reshape(-1)]
    whole = len(first) == len(last) == len(along) == len(step) == len(set(along))
    if not whole or min(step, default=1) < 1:
        raise e.error(node, "bounds that are not supported")
    strided: dict[int, tuple[int, int]] = {}
    for start, end, axis, every in zip(first, last, along, step, strict=True):
        low, high, _ = slice(start, end).indices(sides[axis])
        if high <= low:
            raise e.error(node, "leaves nothing over")
        if every > 1:
            if axis < 2 or high != sides[axis] or low >= every or sides[axis] % every:
                raise e.error(node, "steps that are not supported")
            strided[axis] = (low, every)
        else:
            x = _slices(e, node, x, axis, low, high)
    return [_every(e, node, x, strided) if strided else x]


def _every(e: Emitter, node: NodeProto, x: ir.Value, strided: dict[int, tuple[int, int]]) -> ir.Value:
    """Every n-th pixel: a depthwise convolution that picks one of each block."""
    _, channels, height, width = shape_of(x)
    (top, tall), (left, wide) = strided.get(2, (0, 1)), strided.get(3, (0, 1))
    weight = np.zeros((channels, 1, tall, wide), np.float32)
    weight[:, :, top, left] = 1
    inputs = [x, e.constant(node, "w", weight), e.constant(node, "b", np.zeros(channels, np.float32))]
    shape = (1, channels, height // tall, width // wide)
    window = {"kernel_shape": [tall, wide], "strides": [tall, wide], "pads": [0, 0, 0, 0], "dilations": [1, 1]}
    return e.add("Conv", inputs, shape, node, group=channels, **window)


def _resize(e: Emitter, node: NodeProto) -> Converted:
    x, shape = e.x(node), e.shape(node)
    before = shape_of(x)
    if text(node, "mode", "nearest") == "linear":
        return [_resize_linear(e, node)]
    if text(node, "mode", "nearest") != "nearest":
        raise e.error(node, f"mode {text(node, 'mode')!r}; nearest and linear are supported")
    if len(before) != 4 or before[:2] != shape[:2] or shape[2] % before[2] or shape[3] % before[3]:
        raise e.error(node, f"from {list(before)} to {list(shape)}; whole factors of height and width are supported")
    factors = (shape[2] // before[2], shape[3] // before[3])
    # at whole factors all of these pick the same pixel
    place = text(node, "coordinate_transformation_mode", "half_pixel"), text(node, "nearest_mode", "round_prefer_floor")
    floors = place[1] == "floor" and place[0] == "asymmetric"
    halves = place[0] in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and place[1] in (
        "round_prefer_floor",
        "round_prefer_ceil",
    )
    if not (floors or halves or (place == ("asymmetric", "round_prefer_floor") and max(factors) <= 2)):
        raise e.error(node, f"{place[0]} with {place[1]} is not supported")
    if factors == (1, 1):
        return [x]
    scales = e.constant(node, "scales", np.array([1, 1, *factors], np.float32))
    return [
        e.add(
            "Resize",
            [x, None, scales],
            shape,
            node,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ]


def _resize_linear(e: Emitter, node: NodeProto) -> ir.Value:
    x, shape = e.x(node), e.shape(node)
    before = shape_of(x)
    place = text(node, "coordinate_transformation_mode", "half_pixel")
    if place not in ("half_pixel", "pytorch_half_pixel") or len(before) != 4 or min(*before[2:], *shape[2:]) < 2:
        raise e.error(node, f"linear with {place}; between the middles of pixels (half_pixel) is supported")
    if [2 * side for side in before[2:]] == list(shape[2:]):
        return e.add("BilinearUpsample", [x], shape, node)
    if [2 * side for side in shape[2:]] == list(before[2:]) and not integer(node, "antialias", 0):
        # in the middle of four pixels
        return e.add("AveragePool", [x], shape, node, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])
    raise e.error(node, f"linear from {list(before)} to {list(shape)}; twice or half the size is supported")


def _gather(e: Emitter, node: NodeProto) -> Converted:
    """Of channels, as `shuffle` makes them; folded away before anything is written."""
    x, index = e.x(node), e.array(node, 1)
    channels = shape_of(x)[1] if len(shape_of(x)) == 4 else 0
    if integer(node, "axis", 0) != 1 or index is None or index.ndim != 1 or not channels:
        raise e.error(node, "picks other things than channels; this is not supported in the body of a detector")
    if np.array_equal(index, np.arange(channels)):
        return [x]
    if not -channels <= index.min() <= index.max() < channels:
        raise e.error(node, f"picks channels that the {channels} before it do not have")
    picked = e.constant(node, "channels", index % channels)
    return [e.add("Gather", [x, picked], e.shape(node), node, axis=1)]


def _reshape(e: Emitter, node: NodeProto) -> Converted:
    x, shape = e.x(node), e.shape(node)
    if shape_of(x) == shape:
        return [x]
    return [e.add("Reshape", [x, e.constant(node, "shape", np.array(shape, np.int64))], shape, node)]


def _transpose(e: Emitter, node: NodeProto) -> Converted:
    axes = len(e.shape(node))
    order = integers(node, "perm", range(axes)[::-1])
    if order == list(range(axes)):
        return [e.x(node)]
    return [e.add("Transpose", [e.x(node)], e.shape(node), node, perm=order)]


def _batch_normalization(e: Emitter, node: NodeProto) -> Converted:
    inputs: list[ir.Value | None] = [e.x(node)]
    for i, role in enumerate(("scale", "bias", "mean", "variance"), start=1):
        array = e.array(node, i)
        if array is None or array.shape != (shape_of(e.x(node))[1],):
            raise e.error(node, f"its {role} is missing, or has not one value a channel")
        if role == "variance" and (array < 0).any():
            raise e.error(node, "a variance is negative: the file is damaged")
        inputs.append(e.constant(node, role, array))
    epsilon = float(attribute(node, "epsilon", 1e-5))  # type: ignore[arg-type]
    return [e.add("BatchNormalization", inputs, e.shape(node), node, epsilon=epsilon)]


def _reduce_mean(e: Emitter, node: NodeProto) -> Converted:
    axes = integers(node, "axes") or [int(axis) for axis in (e.array(node, 1) if len(node.input) > 1 else []) or []]
    x = e.x(node)
    if len(shape_of(x)) != 4 or {axis % 4 for axis in axes} != {2, 3}:
        raise e.error(node, "means over height and width are supported")
    pooled = e.add("GlobalAveragePool", [x], (*shape_of(x)[:2], 1, 1), node)
    if integer(node, "keepdims", 1):
        return [pooled]
    shape = e.constant(node, "shape", np.array(e.shape(node), np.int64))
    return [e.add("Reshape", [pooled, shape], e.shape(node), node)]


def _softmax(e: Emitter, node: NodeProto) -> Converted:
    shape = e.shape(node)
    axis = integer(node, "axis", 1 if e.network.opset < 13 else -1) % len(shape)
    if axis != len(shape) - 1 and (e.network.opset >= 13 or np.prod(shape[axis + 1 :]) != 1):
        raise e.error(node, "along another axis than the last; this is not supported in the body of a detector")
    return [e.add("Softmax", [e.x(node)], shape, node, axis=len(shape) - 1)]


def _matmul(e: Emitter, node: NodeProto) -> Converted:
    return [e.add("MatMul", [e.x(node), e.x(node, 1)], e.shape(node), node)]


def _pad(e: Emitter, node: NodeProto) -> Converted:
    x, pads = e.x(node), e.array(node, 1)
    value = e.array(node, 2)
    if text(node, "mode", "constant") != "constant" or pads is None or (value is not None and float(value) != 0):
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


OPERATORS: dict[str, Convert] = {
    "Add": _arithmetic,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _conv_transpose,
    "Div": _arithmetic,
    "Flatten": _reshape,
    "Gather": _gather,
    "GlobalAveragePool": _unary("GlobalAveragePool"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary("HardSwish"),
    "LeakyRelu": _leaky,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mish": _unary("Mish"),
    "Mul": _arithmetic,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": _unary("Relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _unary("Sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Softplus": _unary("Softplus"),
    "Squeeze": _reshape,
    "Sub": _arithmetic,
    "Sum": _sum,
    "Tanh": _unary("Tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
