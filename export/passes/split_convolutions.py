"""Take a convolution apart whose channels are split into outputs of the graph: one convolution for each output.

NanoDet's heads come so: classes and distributions from one convolution. Apart, each output has ranges of its own, and
nothing is copied. Every filter stays as it is.
"""

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import constant_of, drop_unused_constants
from yolo_edge.export.passes.replace import replace_by_convolution


class SplitConvolutions(ir.passes.InPlacePass):
    """Removes every slice of channels that is an output, where nothing else reads the convolution before it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Split them all; weights are replaced, never written into."""
        found = [node for node in model.graph if node.op_type == "Conv" and _is_split(node)]
        for conv in found:
            weight, bias = (np.asarray(constant_of(value)) for value in conv.inputs[1:3])
            for use in list(conv.outputs[0].uses()):
                start, end = _bounds(use.node)
                name = use.node.name or conv.name or ""
                part = weight[start:end], bias[start:end]
                replace_by_convolution(model.graph, [use.node], conv.inputs[0], *part, conv.attributes, name)
            model.graph.remove(conv, safe=True)
        drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, bool(found))


def _is_split(conv: ir.Node) -> bool:
    uses = list(conv.outputs[0].uses())
    plain = (conv.attributes.get_int("group", 1) or 1) == 1 and not conv.outputs[0].is_graph_output()
    return bool(uses) and plain and all(_cuts_output(use.node) for use in uses)


def _cuts_output(node: ir.Node) -> bool:
    axis = constant_of(node.inputs[3]) if node.op_type == "Slice" else None
    return axis is not None and axis.tolist() == [1] and node.outputs[0].is_graph_output()


def _bounds(node: ir.Node) -> tuple[int, int]:
    start, end = (int(np.asarray(constant_of(value)).reshape(())) for value in node.inputs[1:3])
    return start, end
