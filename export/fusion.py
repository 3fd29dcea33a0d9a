"""What runtimes make of the convolutions in a file: with their activation in one kernel, or apart."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from yolo_edge.export.canonical import ACTIVATIONS
from yolo_edge.export.onnx_blocks import BLOCKS
from yolo_edge.export.tflite.delegation import Delegation
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.runtimes.tflite_file import is_tflite

# with what an activation begins once functions are inlined and onnxruntime has made its own of them
_ONNX_ACTIVATIONS = ACTIVATIONS | {"HardSigmoid", "HardSwish", "Neg", "QuickGelu", "Softplus", "Tanh"}
# the same in what our lowering makes of them
_TFLITE_ACTIVATIONS = {"LEAKY_RELU", "LOGISTIC", "MAXIMUM", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"}


def count_fused(data: bytes) -> tuple[int, int]:
    """The convolutions of a file, and how many of them the runtime runs together with their activation.

    A convolution without an activation counts. In an ONNX file they are counted in the graph that onnxruntime makes of
    it on this machine; in a TFLite file those count that XNNPACK runs and whose activation is part of the operator.

    In an int8 file those count that compute in int8, and whose activation does so too, in one operator or behind it:
    there it is a table of 256 numbers, and what costs is to leave the integers.
    """
    return _count_tflite(data) if is_tflite(data) else _count_onnx(data)


def _count_onnx(data: bytes) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        new_session(data, optimized_model_filepath=str(path))
        nodes = list(onnx.load(path).graph.node)
    convolutions = [node for node in nodes if "Conv" in node.op_type and BLOCKS not in node.name]
    makers = {name: node.op_type for node in nodes for name in node.output}
    # a Clip of integers is the half of a LeakyRelu
    activations = [n for n in nodes if n.op_type in _ONNX_ACTIVATIONS and makers.get(n.input[0]) != "QLinearConv"]
    activated = {node.input[0] for node in activations}
    # a change of memory layout may stand between
    activated |= {node.input[0] for node in nodes if "Reorder" in node.op_type and node.output[0] in activated}
    # in an int8 file activations in float32 lie behind such
    up = {node.output[0]: node.input[0] for node in nodes if node.op_type == "DequantizeLinear"}
    activated |= {name for node in nodes if node.op_type == "Add" for name in _terms(node, up, makers)}
    activated |= {source for result, source in up.items() if result in activated}
    kinds = {node.op_type for node in nodes}
    integers = bool(kinds & {"DequantizeLinear", "QuantizeLinear"})
    fused = [
        node
        for node in convolutions
        if node.output[0] not in activated and (node.op_type == "QLinearConv" or not integers)
    ]
    return len(convolutions), len(fused)


def _terms(node: onnx.NodeProto, up: Mapping[str, str], makers: Mapping[str, str]) -> Sequence[str]:
    """What a sum in float32 adds up that is a LeakyRelu of integers; nothing of any other."""
    is_leaky = any(makers.get(up.get(name, "")) == "Clip" for name in node.input)
    return list(node.input) if is_leaky else ()


def _count_tflite(data: bytes) -> tuple[int, int]:
    delegation = Delegation.of(data)
    operators = delegation.operators
    convolutions = [op for op in operators if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    integers = any(op.integer for op in convolutions)
    apart = {op.inputs[0] for op in operators if op.name in _TFLITE_ACTIVATIONS and not (op.integer and op.delegated)}
    apart |= {op.inputs[0] for op in operators if op.name == "DEQUANTIZE" and op.outputs[0] in apart}
    fused = sum(op.delegated and op.integer == integers and op.outputs[0] not in apart for op in convolutions)
    return len(convolutions), fused
