"""Inputs beside the picture whose value is known."""

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

# PaddleDetection's (PPYOLOEHead.post_process): size of the input by that of its picture, (height, width); boxes are
# divided by it
_SCALE_FACTOR = "scale_factor"


def fix_inputs(model: ModelProto) -> list[str]:
    """Make a `scale_factor` a constant of ones: boxes are in pixels of the input then, as those of all families.

    What an input means only its name can say. Boxes are recognised before they are divided by it.

    Args:
        model: As it was read; it is changed.

    Returns:
        What a person should know of it.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    found = [value for value in graph.input if value.name == _SCALE_FACTOR and value.name not in constants]
    if len(found) != 1 or len(graph.input) < 2 or not _is_pair(found[0]):
        return []
    graph.input.remove(found[0])
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 2), np.float32), _SCALE_FACTOR))
    return [
        f"its input {_SCALE_FACTOR} is taken as 1: boxes are in pixels of the input, and scaled to the picture later"
    ]


def _is_pair(value: ValueInfoProto) -> bool:
    """Whether it is float32 [1, 2], where the file says so."""
    kind = value.type.tensor_type
    sides = [side.dim_value for side in kind.shape.dim]  # 0: not fixed
    return kind.elem_type == TensorProto.FLOAT and len(sides) == 2 and sides[0] in (0, 1) and sides[1] in (0, 2)
