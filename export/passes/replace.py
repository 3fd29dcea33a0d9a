"""One convolution in the place of several nodes: what the passes on convolutions share."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import add_constant
from yolo_edge.ondevice.errors import InputError


def replace_by_convolution(
    graph: ir.Graph,
    nodes: Sequence[ir.Node],
    source: ir.Value | None,
    weight: np.ndarray,
    bias: np.ndarray,
    attributes: Mapping[str, ir.Attr] | Mapping[str, int | Sequence[int]],
    name: str,
) -> None:
    """Put a convolution where nodes were, of which the last gives the output.

    Args:
        graph: Holds the nodes.
        nodes: In their order.
        source: What the convolution reads.
        weight: [out, in, rows, columns], of any float type; rounded to float32 here.
        bias: [out].
        attributes: Of the convolution.
        name: Of the convolution.

    Raises:
        InputError: A weight is beyond float32.
    """
    constants = []
    for role, array in (("w", weight), ("b", bias)):
        if np.abs(array).max(initial=0) > np.finfo(np.float32).max:
            raise InputError(f"{name}: beyond float32 once what follows it is folded; the weights are damaged")
        constants.append(add_constant(graph, f"{name}.{role}", array.astype(np.float32)))
    old = nodes[-1].outputs[0]
    conv = ir.node("Conv", [source, *constants], attributes, name=name, num_outputs=1)
    conv.outputs[0].name, conv.outputs[0].shape, conv.outputs[0].type = old.name, old.shape, old.type
    ir.convenience.replace_nodes_and_values(graph, nodes[-1], nodes, [conv], [old], conv.outputs)
