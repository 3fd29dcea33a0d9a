"""`--input uint8`: an ONNX file that takes the pixels of a picture, uint8 [1, height, width, 3] RGB."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import INPUT_NAME, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.ondevice.spec import ModelSpec


def accept_pixels(model: ir.Model, spec: ModelSpec) -> ModelSpec:
    """Let `model` take pixels instead of floats, in place.

    Scale and colour order go into the weights of the first convolutions where they can: a mean cannot, since a
    convolution pads with what would have been the normalized zero.

    Args:
        model: With the one float32 input [1, 3, height, width] that `spec` describes.
        spec: Of that input.

    Returns:
        The spec of the new input.
    """
    graph, image = model.graph, spec.input
    old = graph.inputs[0]
    users = [use.node for use in old.uses()]
    _, channels, height, width = shape_of(old)
    pixels = ir.Value(
        name=INPUT_NAME,
        shape=ir.Shape([1, height, width, channels]),
        type=ir.TensorType(ir.DataType.UINT8),
    )
    scale = np.array(image.scale, np.float64)
    order = [2, 1, 0] if image.color == "BGR" else [0, 1, 2]  # of the model's channels among R, G, B
    chain = [ir.node("Cast", [pixels], {"to": ir.DataType.FLOAT.value}, name="pixels.cast")]
    chain.append(ir.node("Transpose", [chain[-1].outputs[0]], {"perm": [0, 3, 1, 2]}, name="pixels.planes"))
    foldable = not any(image.mean) and all(
        node.op_type == "Conv" and node.attributes.get_int("group", 1) == 1 for node in users
    )
    if foldable:
        for node in dict.fromkeys(users):
            _fold(graph, node, scale, order)
        drop_unused_constants(graph)
    else:
        if image.color == "BGR":
            picked = add_constant(graph, "pixels.order", np.array(order, np.int64))
            chain.append(ir.node("Gather", [chain[-1].outputs[0], picked], {"axis": 1}, name="pixels.ordered"))
        for op, values, neutral in (("Sub", np.array(image.mean), 0), ("Mul", scale, 1)):
            if (values != neutral).any():
                array = values.astype(np.float32).reshape(1, -1, 1, 1)
                constant = add_constant(graph, f"pixels.{op.lower()}_by", array)
                chain.append(ir.node(op, [chain[-1].outputs[0], constant], name=f"pixels.{op.lower()}"))
    for node in chain:
        node.outputs[0].name = node.name
    old.replace_all_uses_with(chain[-1].outputs[0])
    graph.inputs.clear()
    graph.inputs.append(pixels)
    for node in reversed(chain):
        graph.insert_before(graph[0], node)
    changes = {"dtype": "uint8", "layout": "NHWC", "color": "RGB", "mean": (0.0,) * 3, "scale": (1.0,) * 3}
    return replace(spec, input=replace(image, **changes))  # type: ignore[arg-type]


def _fold(graph: ir.Graph, node: ir.Node, scale: np.ndarray, order: list[int]) -> None:
    weight = node.inputs[1]
    array = constant_of(weight)
    if weight is None or array is None:
        raise ValueError(f"node {node.name!r} (Conv): its weight is not a constant")
    folded = (array.astype(np.float64) * scale.reshape(1, -1, 1, 1))[:, np.argsort(order)]
    node.replace_input_with(1, add_constant(graph, f"{weight.name}.pixels", folded.astype(np.float32)))
