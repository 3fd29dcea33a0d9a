"""Operators that move data or only look at them otherwise."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of, shape_of
from yolo_edge.export.tflite.lowering import NHWC, Lowering, Output

_MOST_AT_ONCE = 4

_Groups = list[tuple[list[int], list[int]]]


def lower_concat(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Concat → CONCATENATION along the same axis, wherever that is stored."""
    order = ctx.stored(node.inputs[0]).order
    axis = order.index(node.attributes.get_int("axis") or 0)
    tensors = _few(ctx, [ctx.arranged(value, order) for value in node.inputs], axis, node.name or "concat")
    ctx.add("CONCATENATION", tensors, out, order, axis=axis)


def _few(ctx: Lowering, tensors: list[int], axis: int, name: str) -> list[int]:
    """Neighbours joined, the smallest first, until there are as many as XNNPACK concatenates at once."""
    lengths = [ctx.assembly.shape(tensor)[axis] for tensor in tensors]
    while len(tensors) > _MOST_AT_ONCE:
        count = min(len(tensors) - _MOST_AT_ONCE + 1, _MOST_AT_ONCE)
        start = min(range(len(tensors) - count + 1), key=lambda i: sum(lengths[i : i + count]))
        part = slice(start, start + count)
        shape = list(ctx.assembly.shape(tensors[start]))
        shape[axis] = sum(lengths[part])
        tensors[part] = [ctx.step("CONCATENATION", tensors[part], f"{name}.{len(tensors)}", shape, axis=axis)]
        lengths[part] = [shape[axis]]
    return tensors


def lower_slice(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Slice of one axis → SLICE, or STRIDED_SLICE where it leaves some out."""
    x = ctx.stored(node.inputs[0])
    starts, ends, axes, steps = (np.asarray(constant_of(value)).reshape(()) for value in node.inputs[1:])
    place, rank, step = x.order.index(int(axes)), len(x.order), int(steps)
    begin = [int(starts) if i == place else 0 for i in range(rank)]
    sizes = [out.shape[axis] for axis in x.order]
    name = node.name or "slice"
    if step == 1:
        bounds = [ctx.integers(f"{name}.begin", begin), ctx.integers(f"{name}.size", sizes)]
        ctx.add("SLICE", [x.tensor, *bounds], out, x.order)
        return
    end = [int(ends) if i == place else size for i, size in enumerate(sizes)]
    strides = [step if i == place else 1 for i in range(rank)]
    bounds = [ctx.integers(f"{name}.{what}", v) for what, v in (("begin", begin), ("end", end), ("steps", strides))]
    ctx.add("STRIDED_SLICE", [x.tensor, *bounds], out, x.order)


def lower_transpose(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Transpose: nothing moves, the axes have other numbers."""
    x = ctx.stored(node.inputs[0])
    permutation = list(node.attributes.get_ints("perm") or ())
    ctx.bind(out.value, x.tensor, [permutation.index(axis) for axis in x.order])


def lower_reshape(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Reshape → RESHAPE of the data as they lie, where that comes to the same; otherwise in ONNX's order."""
    value = node.inputs[0]
    x = ctx.stored(value)
    shape = shape_of(value) if value is not None else ()
    order = carry_order(x.order, shape, out.shape)
    tensor = x.tensor
    if order is None:
        tensor, order = ctx.arranged(value, range(len(shape))), tuple(range(len(out.shape)))
    name = out.value.name or "reshape"
    ctx.bind(out.value, ctx.reshaped(tensor, name, [out.shape[axis] for axis in order]), order)


def carry_order(order: Sequence[int], before: Sequence[int], after: Sequence[int]) -> tuple[int, ...] | None:
    """The order of axes after a reshape that leaves stored data where they are.

    Args:
        order: Of the axes before it.
        before: Shape of the value before it.
        after: Shape of the value after it, of as many elements.

    Returns:
        The order of the axes after it; None where stored data would have to move.
    """
    result: list[tuple[int, list[int]]] = []  # where a group lies, its axes after
    long = [axis for axis in order if before[axis] > 1]
    for sources, targets in _match(before, after):
        counted = [axis for axis in sources if before[axis] > 1]
        if not counted:
            place = order.index(sources[0]) if sources else len(order)
        else:
            first = long.index(counted[0])
            if long[first : first + len(counted)] != counted:
                return None
            place = order.index(counted[0])
        result.append((place, targets))
    result.sort(key=lambda item: item[0])
    return tuple(axis for _, targets in result for axis in targets)


def _match(before: Sequence[int], after: Sequence[int]) -> _Groups:
    """The smallest groups of neighbouring axes that hold as many elements before as after."""
    groups: _Groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        sources, targets = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        i, j = i + len(sources), j + len(targets)
        while (p := int(np.prod([before[k] for k in sources]))) != (q := int(np.prod([after[k] for k in targets]))):
            if p < q:
                sources.append(i)
                i += 1
            else:
                targets.append(j)
                j += 1
        groups.append((sources, targets))
    return groups


def lower_resize(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """Nearest neighbours by whole factors → each pixel, then each row, written several times in a row.

    XNNPACK does not run RESIZE_NEAREST_NEIGHBOR: it would part the network in three.
    """
    _, channels, height, width = shape_of(node.inputs[0]) if node.inputs[0] is not None else (1, 1, 1, 1)
    rows, columns = out.shape[2] // height, out.shape[3] // width
    name, result = node.name or "resize", ctx.nhwc(node.inputs[0])
    if columns > 1:
        shape = [1, height, width, columns * channels]
        copies = _few(ctx, [result] * columns, 3, name)
        result = ctx.step("CONCATENATION", copies, f"{name}.columns", shape, axis=3)
    if rows > 1:
        length = width * columns * channels
        result = ctx.reshaped(result, f"{name}.row", [1, height, 1, length])
        copies = _few(ctx, [result] * rows, 2, name)
        result = ctx.step("CONCATENATION", copies, f"{name}.rows", [1, height, rows, length], axis=2)
    ctx.bind(out.value, ctx.reshaped(result, name, [out.shape[axis] for axis in NHWC]), NHWC)


def lower_bilinear_upsample(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """BilinearUpsample → RESIZE_BILINEAR between the middles of pixels."""
    size = ctx.integers(f"{node.name}.size", out.shape[2:])
    ctx.add("RESIZE_BILINEAR", [ctx.nhwc(node.inputs[0]), size], out, NHWC, version=3, half_pixel_centers=True)


def lower_space_to_depth(ctx: Lowering, node: ir.Node, out: Output) -> None:
    """SpaceToDepth → SPACE_TO_DEPTH, which puts the channels into the same order."""
    x = ctx.nhwc(node.inputs[0])
    ctx.add("SPACE_TO_DEPTH", [x], out, NHWC, block_size=node.attributes.get_int("blocksize"))
