"""A plan put to a float network: the integers that writers write."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from msgspec import structs

from yolo_edge.export.graph import Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.quantization.plan import (
    MAX_WEIGHT,
    ConvolutionPlan,
    QuantizationPlan,
    TensorPlan,
    decode_weights,
)
from yolo_edge.export.quantization.structure import SIGMOID, Structure, computed_inputs, name_of
from yolo_edge.ondevice.errors import InputError

_INT32 = np.iinfo(np.int32)
_BIAS_STEPS = 2.0**30  # half of them: the products are added
_ANOTHER = "is it the plan of another network?"


@dataclass(frozen=True)
class IntegerConvolution:
    """What an int8 convolution multiplies with.

    Attributes:
        weight: int8 [out, in / groups, rows, columns].
        weight_scale: float32 [out].
        bias: int32 [out], in steps of `bias_scale`.
        bias_scale: float32 [out]: input scale x weight scale.
    """

    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    bias_scale: np.ndarray


@dataclass(frozen=True)
class QuantizedGraph:
    """A network with its plan put to it; what both writers start from.

    Attributes:
        structure: Of the graph, whose convolutions hold the float weights W', b' of the plan.
        plan: The plan. What has a factor and an offset in it is an output of the graph as it is before both.
    """

    structure: Structure
    plan: QuantizationPlan

    @property
    def graph(self) -> Graph:
        """The network, with expanded activations."""
        return self.structure.graph

    def tensor(self, value: ir.Value) -> TensorPlan:
        """The parameters of a quantized tensor."""
        return self.plan.tensors[name_of(value)]

    def convolution(self, node: ir.Node) -> IntegerConvolution:
        """The integers of an int8 convolution."""
        plan, (weight, bias) = self.plan.convolutions[name_of(node)], weights_of(node)
        scale = np.array(plan.weight_scale, np.float32)
        integers = integer_weights(weight, scale, plan, name_of(node))
        bias_scale = np.float32(self.tensor(computed_inputs(node)[0]).scale) * scale
        steps = np.rint(bias.astype(np.float64) / bias_scale)
        return IntegerConvolution(integers, scale, np.clip(steps, _INT32.min, _INT32.max).astype(np.int32), bias_scale)


def weights_of(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a convolution.

    Raises:
        ValueError: They are not constants.
    """
    weight, bias = (constant_of(value) for value in node.inputs[1:3])
    if weight is None or bias is None:
        raise ValueError(f"node {node.name!r} (Conv): weights and bias are constants in canonical form")
    return weight, bias


def changed_weights(
    node: ir.Node, output_factor: np.ndarray, input_factor: np.ndarray, bias_shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """W' and b' of `ConvolutionPlan`, float64; each of the three has a number a channel, or one for all."""
    weight, bias = (array.astype(np.float64) for array in weights_of(node))
    out, each = weight.shape[:2]
    groups, tail = node.attributes.get_int("group", 1) or 1, [1] * (weight.ndim - 2)
    by_group = np.broadcast_to(input_factor, groups * each).reshape(groups, each).repeat(out // groups, axis=0)
    rows = np.broadcast_to(output_factor, out)
    changed: np.ndarray = weight * by_group.reshape(out, each, *tail) * rows.reshape(-1, 1, *tail)
    return changed, bias * rows + bias_shift


def integer_weights(weight: np.ndarray, scale: np.ndarray, plan: ConvolutionPlan, where: str) -> np.ndarray:
    """The integers of weights: the plan's own, or the nearest."""
    if plan.weights:
        return decode_weights(plan.weights, weight.shape, where)
    nearest = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    result: np.ndarray = np.clip(nearest, -MAX_WEIGHT, MAX_WEIGHT).astype(np.int8)
    return result


def channel_scale(weight: np.ndarray, bias: np.ndarray | None = None, input_scale: float = 1.0) -> np.ndarray:
    """The scale of each output channel by its largest weight, float32 [out].

    Channels of hardly any weight get larger ones, so that their bias has room in 32 bits.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.maximum(largest, 1e-12) / MAX_WEIGHT
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias) / (input_scale * _BIAS_STEPS))
    result: np.ndarray = scale.astype(np.float32)
    return result


def apply_plan(graph: Graph, plan: QuantizationPlan, where: str = "plan") -> QuantizedGraph:
    """Put a plan to the network that it was made for.

    Args:
        graph: Canonical, with expanded activations; not changed.
        plan: For it.
        where: What the plan was read from, for error messages.

    Raises:
        InputError: The plan is for another network, or contradicts itself; the message names the node or tensor.
    """
    floats = {name: node.reason or "the plan says so" for name, node in plan.nodes.items() if node.precision == "float"}
    model = graph.clone()
    convolutions = {name_of(node): node for node in model.graph if node.op_type == "Conv"}
    for name, convolution in plan.convolutions.items():
        if name not in convolutions:
            raise InputError(f"{where}.convolutions: the network has no convolution {name!r}; {_ANOTHER}")
        _transform(model.graph, convolutions[name], convolution, f"{where}.convolutions.{name}")
    drop_unused_constants(model.graph)
    outputs = {value.name or "": shape_of(value) for value in model.graph.outputs}
    for name, head in plan.heads.items():
        if name not in outputs or {len(head.factor), len(head.offset)} != {outputs[name][1]}:
            raise InputError(f"{where}.heads: the network has no head {name!r} with {len(head.factor)} channels")
    structure = Structure.of(model, floats)
    _check(structure, plan, where)
    # tensors between nodes that were made float by hand are stored as they are
    needed = {name: tensor for name, tensor in plan.tensors.items() if name in structure.group}
    quantized = QuantizedGraph(structure, structs.replace(plan, tensors=needed))
    for node in structure.int8_convolutions():
        _check_integers(quantized, node, f"{where}.convolutions.{node.name}")
    return quantized


def _transform(graph: ir.Graph, node: ir.Node, plan: ConvolutionPlan, where: str) -> None:
    out, each = weights_of(node)[0].shape[:2]
    groups = node.attributes.get_int("group", 1) or 1
    expected = {"weight_scale": out, "output_factor": out, "input_factor": groups * each, "bias_shift": out}
    for name, length in expected.items():
        found = len(getattr(plan, name))
        if found != length and (found or name == "weight_scale"):
            raise InputError(f"{where}.{name}: expected {length} numbers, got {found}; {_ANOTHER}")
    if not (plan.output_factor or plan.input_factor or plan.bias_shift):
        return
    sides = (np.array(side) for side in (plan.output_factor or 1.0, plan.input_factor or 1.0, plan.bias_shift or 0.0))
    for place, array in enumerate(changed_weights(node, *sides), 1):
        if not np.abs(array).max() < np.finfo(np.float32).max:
            raise InputError(f"{where}: its factors lead beyond float32")
        old = node.inputs[place]
        name = old.name if old is not None and old.name else f"{node.name}.{place}"
        node.replace_input_with(place, add_constant(graph, name, array.astype(np.float32)))


def _check_integers(quantized: QuantizedGraph, node: ir.Node, where: str) -> None:
    convolution = quantized.plan.convolutions[name_of(node)]
    weight, bias = weights_of(node)
    scale = np.array(convolution.weight_scale, np.float32)
    integer_weights(weight, scale, convolution, f"{where}.weights")
    steps = np.abs(bias.astype(np.float64)) / (np.float64(quantized.tensor(computed_inputs(node)[0]).scale) * scale)
    if steps.max() > _INT32.max:
        channel = int(steps.argmax())
        raise InputError(f"{where}.weight_scale: too small in channel {channel}: its bias has no room in 32 bits")


def _check(structure: Structure, plan: QuantizationPlan, where: str) -> None:
    known = {name_of(node) for node in structure.graph.graph}
    for name, node_plan in plan.nodes.items():
        if name not in known:
            raise InputError(f"{where}.nodes: the network has no node {name!r}")
        found = structure.nodes.get(name, node_plan)
        if node_plan.precision == "int8" and found.precision != "int8":
            raise InputError(f"{where}.nodes: {name!r} cannot be int8: {found.reason}")
    values = [*structure.graph.graph.inputs, *(node.outputs[0] for node in structure.graph.graph)]
    unknown = set(plan.tensors) - {name_of(value) for value in values}
    if unknown:
        raise InputError(f"{where}.tensors: the network has no tensor {min(unknown)!r}")
    for node in structure.graph.graph:
        if not structure.is_int8(node):
            continue
        for value in [*computed_inputs(node), structure.result(node)]:
            if name_of(value) not in plan.tensors:
                raise InputError(f"{where}.tensors: {name_of(value)!r} has no scale, and {node.name!r} is int8")
        result = name_of(node.outputs[0])
        if node.op_type == "Sigmoid" and plan.tensors[result] != SIGMOID:
            raise InputError(
                f"{where}.tensors: {result!r} is a Sigmoid's, whose scale is 1/256 from {SIGMOID.zero_point}"
            )
        if node.op_type == "Conv" and node.name not in plan.convolutions:
            raise InputError(f"{where}.convolutions: {node.name!r} is int8 and has no weight_scale")
    for name, group in structure.group.items():
        a, b = plan.tensors.get(name), plan.tensors.get(group)
        if a is not None and b is not None and a != b:
            raise InputError(f"{where}.tensors: {name!r} must have the scale and zero_point of {group!r}")
