"""Foreign operators that move values and compute none: joins, slices, sizes, shapes."""

import numpy as np
import onnx_ir as ir
from onnx import NodeProto

from yolo_edge.export.graph import shape_of
from yolo_edge.export.importers.onnx.emit import Converted, Emitter
from yolo_edge.export.importers.onnx.network import integer, integers, text


def concat(e: Emitter, node: NodeProto) -> Converted:
    """`Concat`; of one input nothing."""
    shape = e.shape(node)
    axis = integer(node, "axis", 0)
    inputs = [e.x(node, i) for i in range(len(node.input))]
    if len(inputs) == 1:
        return inputs
    return [e.add("Concat", inputs, shape, node, axis=axis % len(shape))]


def slicing(e: Emitter, node: NodeProto) -> Converted:
    """`Slice`; pictures may be picked with steps."""
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
            x = _part(e, node, x, axis, low, high)
    return [_every(e, node, x, strided) if strided else x]


def split(e: Emitter, node: NodeProto) -> Converted:
    """`Split`: a Slice for each part."""
    x = e.x(node)
    axis = integer(node, "axis", 0) % len(shape_of(x))
    start, parts = 0, []
    for i in range(len(node.output)):
        end = start + e.shape(node, i)[axis]
        parts.append(_part(e, node, x, axis, start, end))
        start = end
    return parts


def _part(e: Emitter, node: NodeProto, x: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    sides = list(shape_of(x))
    if (start, end) == (0, sides[axis]):
        return x
    bounds = [e.constant(node, "bound", np.array([value], np.int64)) for value in (start, end, axis, 1)]
    sides[axis] = end - start
    return e.add("Slice", [x, *bounds], sides, node)


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


def resize(e: Emitter, node: NodeProto) -> Converted:
    """`Resize` by whole factors to the nearest pixel, or linear to twice or half the size."""
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


def gather(e: Emitter, node: NodeProto) -> Converted:
    """`Gather` of channels, as `shuffle` makes them; folded away before anything is written."""
    x, index = e.x(node), e.array(node, 1)
    channels = shape_of(x)[1] if len(shape_of(x)) == 4 else 0
    if integer(node, "axis", 0) != 1 or index is None or index.ndim != 1 or not (channels and index.size):
        raise e.error(node, "picks other things than channels; this is not supported in the body of a detector")
    if np.array_equal(index, np.arange(channels)):
        return [x]
    if not -channels <= index.min() <= index.max() < channels:
        raise e.error(node, f"picks channels that the {channels} before it do not have")
    picked = e.constant(node, "channels", index % channels)
    return [e.add("Gather", [x, picked], e.shape(node), node, axis=1)]


def reshape(e: Emitter, node: NodeProto) -> Converted:
    """`Reshape`, and whatever else gives a value another shape and nothing more."""
    x, shape = e.x(node), e.shape(node)
    if shape_of(x) == shape:
        return [x]
    return [e.add("Reshape", [x, e.constant(node, "shape", np.array(shape, np.int64))], shape, node)]


def transpose(e: Emitter, node: NodeProto) -> Converted:
    """`Transpose`."""
    axes = len(e.shape(node))
    order = integers(node, "perm", range(axes)[::-1])
    if order == list(range(axes)):
        return [e.x(node)]
    return [e.add("Transpose", [e.x(node)], e.shape(node), node, perm=order)]
