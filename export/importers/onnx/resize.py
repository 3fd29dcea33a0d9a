"""The graph of a fully convolutional network at another input size."""

from fractions import Fraction

import numpy as np
import onnx
import onnx_ir as ir

from yolo_edge.export.graph import Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.importers.onnx.network import Shape
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line


def at_size(graph: Graph, size: tuple[int, int], path: str) -> Graph:
    """A copy of a graph for another (width, height).

    Convolutions, pools and upsampling by factors fit any size. Reshapes that fold height and width into one axis, as
    attention does, or unfold them, are rewritten.

    Raises:
        InputError: Something else in it is made for one size.
    """
    result = graph.clone()
    image = result.graph.inputs[0]
    values = [image, *(value for node in result.graph for value in node.outputs)]
    before = {value.name: shape_of(value) for value in values}
    _, _, height, width = before[image.name]
    grids: set[Shape] = {
        shape[2:]
        for shape in before.values()
        if len(shape) == 4 and shape[2] * width == shape[3] * height and height % shape[2] == 0
    }
    scale = (Fraction(size[1], height), Fraction(size[0], width))
    image.shape = ir.Shape([1, 3, size[1], size[0]])
    for node in result.graph:
        target = before[node.outputs[0].name]
        if node.op_type == "Reshape":
            shape = _reshaped(target, grids, scale)
            if shape is None:
                raise InputError(f"{path}: node {node.name!r} (Reshape) is made for the file's own size only")
            node.replace_input_with(1, add_constant(result.graph, f"{node.name}.shape", np.array(shape, np.int64)))
        elif node.op_type == "Slice":
            axes = constant_of(node.inputs[3])
            source = before[node.inputs[0].name] if node.inputs[0] is not None else ()
            if axes is not None and source[2:] in grids and axes.max() >= 2:
                raise InputError(f"{path}: node {node.name!r} (Slice) is made for the file's own size only")
        for value in node.outputs:
            value.shape = None
    drop_unused_constants(result.graph)
    try:
        return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(result), strict_mode=True))
    except Exception as error:  # the C++ part raises types of its own
        raise InputError(f"{path}: cannot have the size {size[0]}x{size[1]} ({first_line(error)})") from error


def _reshaped(target: Shape, grids: set[Shape], scale: tuple[Fraction, Fraction]) -> list[int] | None:
    """What a Reshape has to give at the new size; None where that cannot be told."""
    if len(target) == 4 and target[2:] in grids:  # rows and columns
        sides = [target[2] * scale[0], target[3] * scale[1]]
        return [*target[:2], *(int(side) for side in sides)] if all(side.denominator == 1 for side in sides) else None
    cells = {rows * columns for rows, columns in grids}
    places = [i for i, side in enumerate(target) if side in cells]  # rows · columns in one axis
    if not places:
        return None
    folded = target[places[-1]] * scale[0] * scale[1]
    if folded.denominator != 1:
        return None
    return [*target[: places[-1]], int(folded), *target[places[-1] + 1 :]]
