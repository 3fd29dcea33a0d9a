"""What goes back to float together: a convolution, or another operator with a rounding of its own, and its activation.

An activation that is cut from its convolution leaves the integers in between, which costs more than it saves.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from msgspec import structs

from yolo_edge.export.quantization.plan import NodePlan, QuantizationPlan
from yolo_edge.export.quantization.structure import SHARING, Structure, computed_inputs, name_of

_FOLLOW = frozenset({"Add", "Clip", "LeakyRelu", "Mul", "Relu", "Sigmoid"})


@dataclass(frozen=True)
class Group:
    """Nodes that stay together.

    Attributes:
        name: Of the first of them.
        op: Its operator.
        nodes: The names of all, in the order of the network.
    """

    name: str
    op: str
    nodes: tuple[str, ...]


def groups_of(structure: Structure) -> list[Group]:
    """The groups of the nodes that compute in int8, in the order of the network.

    What only passes integers on (`SHARING`) has no rounding of its own and belongs to none.
    """
    groups: list[Group] = []
    taken: set[str] = set()
    nodes = [node for node in structure.graph.graph if structure.is_int8(node)]
    for convolutions in (True, False):
        for node in nodes:
            if (node.op_type == "Conv") != convolutions or name_of(node) in taken or node.op_type in SHARING:
                continue
            members = [node]
            inside = {structure.result(node)}
            for other in nodes:
                alone = other not in members and other.op_type in _FOLLOW and name_of(other) not in taken
                if alone and set(computed_inputs(other)) <= inside:
                    members.append(other)
                    inside.add(structure.result(other))
            names = tuple(name_of(member) for member in members)
            taken.update(names)
            groups.append(Group(names[0], node.op_type, names))
    place = {name_of(node): i for i, node in enumerate(structure.graph.graph)}
    return sorted(groups, key=lambda group: place[group.name])


def with_floats(structure: Structure, plan: QuantizationPlan, floats: Collection[str], reason: str) -> QuantizationPlan:
    """The plan with more nodes in float.

    What passes integers on and has only float nodes before it goes along. Corrections of what integers of weights did
    wrong are left out with them.

    Args:
        structure: Of the network with the plan put to it.
        plan: The plan.
        floats: Names of nodes.
        reason: Why.
    """
    gone = set(floats)
    for node in structure.graph.graph:
        before = [value.producer() for value in computed_inputs(node)]
        if structure.is_int8(node) and node.op_type in SHARING and before:
            apart = [_is_float(structure, producer, gone) for producer in before]
            if all(apart):
                gone.add(name_of(node))
    nodes = {name: NodePlan("float", reason) if name in gone else node for name, node in plan.nodes.items()}
    convolutions = dict(plan.convolutions)
    for node in structure.graph.graph:
        name = name_of(node)
        if name in gone and name in convolutions:
            head = plan.heads.get(name_of(node.outputs[0]))
            shift: tuple[float, ...] = ()
            if head is not None:
                shift = tuple((-np.array(head.offset) / np.array(head.factor)).tolist())
            convolutions[name] = structs.replace(convolutions[name], weights="", bias_shift=shift)
    return structs.replace(plan, nodes=nodes, convolutions=convolutions)


def _is_float(structure: Structure, producer: ir.Node | None, gone: Collection[str]) -> bool:
    if producer is None:
        return False
    name = name_of(producer)
    if name in gone or (name in structure.nodes and structure.nodes[name].precision == "float"):
        return True
    # an activation that a convolution does along has no plan of its own
    source = producer.inputs[0].producer() if producer.inputs and producer.inputs[0] is not None else None
    return name not in structure.nodes and source is not None and name_of(source) in gone
