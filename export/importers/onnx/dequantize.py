"""Quantized ONNX graphs back to float: the weights keep their rounding, the activations lose theirs.

Two forms: dynamic (`DynamicQuantizeLinear` → `ConvInteger` → `Cast` → `Mul` by both scales, as onnxruntime's
`quantize_dynamic` writes it) and QDQ (`QuantizeLinear` → `DequantizeLinear` around each operator).
"""

from collections.abc import MutableSequence

import numpy as np
from onnx import NodeProto, helper

from yolo_edge.export.importers.onnx.fold import infer_shapes
from yolo_edge.export.importers.onnx.network import OnnxNetwork
from yolo_edge.ondevice.errors import InputError


def dequantize(network: OnnxNetwork) -> int:
    """Take the quantization out of a network, in place; returns how many operators had one.

    Raises:
        InputError: It is quantized in another way.
    """
    count = _drop_quantize_pairs(network) + _float_convolutions(network)
    left = [node for node in network.nodes if _quantizes(node)]
    if left:
        raise InputError(f"{network.where(left[0])}: this way of quantizing is not folded back; export the float model")
    if count:
        infer_shapes(network)
    return count


def _quantizes(node: NodeProto) -> bool:
    kinds = ("ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
    return node.op_type in kinds or node.op_type.startswith("QLinear")


def _drop_quantize_pairs(network: OnnxNetwork) -> int:
    """X → QuantizeLinear → DequantizeLinear is x."""
    producers = network.producers()
    renamed: dict[str, str] = {}
    for node in network.nodes:
        if node.op_type != "DequantizeLinear":
            continue
        source = producers.get(node.input[0])
        if source is not None and source.op_type == "QuantizeLinear":
            renamed[node.output[0]] = source.input[0]
    if not renamed:
        return 0
    for node in network.nodes:
        _rename(node.input, renamed)
    _rename(network.outputs, renamed)
    network.nodes = network.needed_for(network.outputs)
    return len(renamed)


def _rename(names: MutableSequence[str], renamed: dict[str, str]) -> None:
    for i in range(len(names)):
        while names[i] in renamed:
            names[i] = renamed[names[i]]


def _float_convolutions(network: OnnxNetwork) -> int:
    """Cast(ConvInteger(quantized x, w)) · (scale of x · scale of w) is Conv(x, (w − zero-point) · scale of w)."""
    producers, consumers = network.producers(), network.consumers()
    replaced: dict[int, NodeProto] = {}
    for node in network.nodes:
        if node.op_type != "ConvInteger":
            continue
        source = producers.get(node.input[0])
        cast = _only(consumers, node.output[0], "Cast")
        scaled = _only(consumers, cast.output[0], "Mul") if cast is not None else None
        if source is None or source.op_type != "DynamicQuantizeLinear" or scaled is None or cast is None:
            continue
        product = producers.get(next(name for name in scaled.input if name != cast.output[0]))
        scale = _weight_scale(network, product, source.output[1])
        weight = network.constants.get(node.input[1])
        if scale is None or weight is None:
            continue
        zero = network.constants.get(node.input[3]) if len(node.input) > 3 and node.input[3] else None
        exact = weight.astype(np.float64) - (0 if zero is None else _per_channel(zero, weight))
        name = f"{node.name or node.output[0]}.float"
        network.constants[name] = (exact * _per_channel(scale, weight)).astype(np.float32)
        conv = helper.make_node("Conv", [source.input[0], name], [scaled.output[0]], name=node.name)
        conv.attribute.extend(node.attribute)
        replaced[id(scaled)] = conv
    network.nodes = [replaced.get(id(node), node) for node in network.nodes]
    network.nodes = network.needed_for(network.outputs)
    return len(replaced)


def _only(consumers: dict[str, list[NodeProto]], name: str, op: str) -> NodeProto | None:
    readers = consumers.get(name, [])
    return readers[0] if len(readers) == 1 and readers[0].op_type == op else None


def _weight_scale(network: OnnxNetwork, product: NodeProto | None, of_input: str) -> np.ndarray | None:
    """The constant factor beside the scale of the input."""
    if product is None or product.op_type != "Mul" or of_input not in product.input:
        return None
    other = next((name for name in product.input if name != of_input), None)
    return network.constants.get(other) if other is not None else None


def _per_channel(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A scalar, or one value an output channel, against the weight of a convolution."""
    flat = value.astype(np.float64).reshape(-1)
    if flat.size not in (1, weight.shape[0]):
        raise InputError(f"a quantized weight {list(weight.shape)} has {flat.size} scales")
    return flat.reshape(-1, *([1] * (weight.ndim - 1)))
