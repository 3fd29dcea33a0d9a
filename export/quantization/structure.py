"""What the graph alone decides: which nodes can compute in int8, and which tensors must share their parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, constant_of
from yolo_edge.export.quantization.plan import LOWEST, NodePlan, TensorPlan
from yolo_edge.export.unions import Unions

# TFLite demands that these leave the numbers as they are (their kernels do not rescale)
SHARING = frozenset({"AveragePool", "Concat", "MaxPool", "Reshape", "Resize", "Slice", "SpaceToDepth", "Transpose"})
# σ(x) in 256 steps from 0; what both runtimes want, and builtin kernels of TFLite demand
SIGMOID = TensorPlan(1 / 256, LOWEST)

_INT8 = SHARING | {"Add", "Clip", "Conv", "GlobalAveragePool", "LeakyRelu", "Mul", "Relu", "Sigmoid"}
_REASONS = {
    "ConvTranspose": "onnxruntime has no int8 form of it",
    "MatMul": "attention: int8 is slower here, and less accurate",
    "Mish": "has no int8 form; float is exact",
    "Softmax": "needs the range of floats",
}
# what only moves or weighs numbers goes along with the float nodes around it
_FOLLOWS = frozenset({"Concat", "Reshape", "Slice", "Transpose", "Mul", "Add"})
_FUSES = frozenset({"Add", "Conv"})


@dataclass(frozen=True)
class Structure:
    """A graph, looked at for quantization.

    Attributes:
        graph: With expanded activations.
        nodes: Node → int8 or float, and why. Activations that are `fused` are not among them.
        fused: Output of a convolution or sum → the Relu or Clip that alone uses it, and that saturation does along.
        group: Tensor that int8 nodes touch → the first tensor of those that share its parameters.
    """

    graph: Graph
    nodes: Mapping[str, NodePlan]
    fused: Mapping[str, ir.Node]
    group: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph, floats: Mapping[str, str] | None = None) -> "Structure":
        """Look at a graph.

        Args:
            graph: Canonical, with expanded activations.
            floats: Nodes that shall stay float → why.
        """
        nodes = _assign(graph, floats or {})
        fused = {}
        for node in graph.graph:
            following = _fusable(node)
            if following is not None and following.name not in (floats or {}):
                nodes[name_of(following)] = nodes[name_of(node)]
            if following is not None and nodes[name_of(node)] == nodes[name_of(following)]:
                fused[node.outputs[0].name or ""] = following
        for following in fused.values():
            del nodes[name_of(following)]
        return cls(graph, nodes, fused, _group(graph, nodes, fused))

    def is_int8(self, node: ir.Node | None) -> bool:
        """Whether a node computes in int8."""
        return node is not None and node.name in self.nodes and self.nodes[name_of(node)].precision == "int8"

    def result(self, node: ir.Node) -> ir.Value:
        """What a node gives, with the activation that it does along."""
        following = self.fused.get(node.outputs[0].name or "")
        return node.outputs[0] if following is None else following.outputs[0]

    def int8_convolutions(self) -> list[ir.Node]:
        """In their order."""
        return [node for node in self.graph.graph if node.op_type == "Conv" and self.is_int8(node)]


def name_of(item: ir.Node | ir.Value) -> str:
    """The name of a node or value of a canonical graph, which all have one."""
    return item.name or ""


def _assign(graph: Graph, floats: Mapping[str, str]) -> dict[str, NodePlan]:
    nodes: dict[str, NodePlan] = {}
    for node in graph.graph:
        if node.name in floats:
            nodes[name_of(node)] = NodePlan("float", floats[name_of(node)])
        elif node.op_type == "Sigmoid" and any(use.node.op_type in SHARING for use in node.outputs[0].uses()):
            nodes[name_of(node)] = NodePlan("float", "its fixed scale cannot be shared with what it is joined to")
        elif node.op_type in _INT8:
            nodes[name_of(node)] = NodePlan("int8")
        else:
            reason = _REASONS.get(node.op_type, f"{node.op_type} has no int8 form here")
            nodes[name_of(node)] = NodePlan("float", reason)
    changed = True
    while changed:
        changed = False
        for node in graph.graph:
            if nodes[name_of(node)].precision == "float" or node.op_type not in _FOLLOWS:
                continue
            before = [value.producer() for value in computed_inputs(node)]
            after = [use.node for use in node.outputs[0].uses()]
            follows = any(_is_island(other, nodes, floats) for other in before) or (
                after and all(_is_island(other, nodes, floats) for other in after)
            )
            if follows and not node.outputs[0].is_graph_output():
                nodes[name_of(node)] = NodePlan("float", "between nodes that compute in float")
                changed = True
    return nodes


def _is_island(node: ir.Node | None, nodes: Mapping[str, NodePlan], floats: Mapping[str, str]) -> bool:
    """Whether a node is float by its kind: one that a plan made float does not draw others along."""
    if node is None or node.op_type in ("Conv", "ConvTranspose", "Mish"):
        return False
    return nodes[name_of(node)].precision == "float" and node.name not in floats


def _fusable(node: ir.Node) -> ir.Node | None:
    """The Relu or Clip that alone uses what a node gives."""
    uses = list(node.outputs[0].uses())
    if node.op_type not in _FUSES or len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    following = uses[0].node
    if following.op_type not in ("Clip", "Relu"):
        return None
    low, high = clip_bounds(following)
    return following if low <= 0 <= high else None


def _group(graph: Graph, nodes: Mapping[str, NodePlan], fused: Mapping[str, ir.Node]) -> dict[str, str]:
    unions: Unions[str] = Unions()
    for node in graph.graph:
        if node.op_type in SHARING and nodes[name_of(node)].precision == "int8":
            unions.join(name_of(node.outputs[0]), *(name_of(value) for value in computed_inputs(node)))
    # a group is called after its first tensor, so that names do not depend on how it was joined
    order = [name_of(graph.graph.inputs[0]), *(name_of(node.outputs[0]) for node in graph.graph)]
    first: dict[str, str] = {}
    for name in order:
        if name not in fused:
            first.setdefault(unions.find(name), name)
    needed: set[str] = set()
    for node in graph.graph:
        if node.name in nodes and nodes[name_of(node)].precision == "int8":
            result = fused.get(name_of(node.outputs[0]), node).outputs[0]
            needed |= {name_of(value) for value in [*computed_inputs(node), result]}
    return {name: first[unions.find(name)] for name in order if name in needed}


def computed_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that are no constants."""
    return [value for value in node.inputs if value is not None and constant_of(value) is None]


def gate_of(node: ir.Node) -> ir.Value | None:
    """x, where a node is x · σ(x)."""
    if node.op_type != "Mul":
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        sigmoid = gate.producer() if gate is not None else None
        if x is not None and sigmoid is not None and sigmoid.op_type == "Sigmoid" and sigmoid.inputs[0] is x:
            return x
    return None


def activation_behind(value: ir.Value) -> ir.Node | None:
    """The LeakyRelu, or the product of a SiLU, that alone uses a tensor."""
    users = [use.node for use in value.uses()]
    if value.is_graph_output():
        return None
    if len(users) == 1 and users[0].op_type == "LeakyRelu":
        return users[0]
    return next((user for user in users if len(users) == 2 and gate_of(user) is value), None)


def clip_bounds(node: ir.Node) -> tuple[float, float]:
    """Between which values a Relu or Clip leaves its input.

    Raises:
        ValueError: They are not constants.
    """
    if node.op_type == "Relu":
        return 0.0, np.inf
    low, high = (constant_of(bound) for bound in node.inputs[1:])
    if low is None or high is None:
        raise ValueError(f"node {node.name!r}: its bounds are not constants")
    return float(low.max()), float(high.min())
