"""int8x16: activations of 16 bits, weights of 8, in the operators that TFLite has for that.

A tensor reaches as far as its plan says, with steps 256 times as fine and 0 in the middle. XNNPACK runs none of these
operators: they are accurate and slow, for hardware that has them (Ethos-U, some DSPs), and for finding out what
activations cost.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.quantization.apply import weights_of
from yolo_edge.export.quantization.plan import TensorPlan
from yolo_edge.export.tflite.assembly import Quantization
from yolo_edge.export.tflite.integers import IntegerLowering

_HIGHEST = 32767
_IN_FLOAT = ("SpaceToDepth",)
_SIGMOID = Quantization((1 / 32768,), (0,))  # what the kernels demand

# operator → the version that computes in int16 (tensorflow/lite/tools/versioning/op_version.cc)
INT16_VERSIONS = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DEQUANTIZE": 3,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 4,
    "PAD": 3,
    "QUANTIZE": 2,
    "SLICE": 4,
    "STRIDED_SLICE": 4,
    "TRANSPOSE": 4,
}


class WideLowering(IntegerLowering):
    """As `IntegerLowering`, in 16 bits."""

    dtype = "int16"
    lowest = -_HIGHEST - 1

    def steps(self, value: ir.Value) -> Quantization:
        """The plan of a value, in 16 bits around 0."""
        producer = value.producer()
        if producer is not None and producer.op_type == "Sigmoid" and self.is_int8(producer):
            return _SIGMOID
        return _wide(self.plan(value))

    def constant_steps(self, array: np.ndarray) -> Quantization:
        """Of a constant operand."""
        return _wide(TensorPlan.of_constant(array))

    def quantized(self, array: np.ndarray, steps: Quantization) -> np.ndarray:
        """The integers of floats."""
        integers = np.rint(array / np.float64(steps.scale[0]))
        result: np.ndarray = np.clip(integers, self.lowest, _HIGHEST).astype(np.int16)
        return result

    def fits(self, node: ir.Node) -> bool:
        """Reference kernels take any ratio of steps; some operators have none of 16 bits."""
        return node.op_type not in _IN_FLOAT

    def bias(self, node: ir.Node) -> int:
        """As int64, in steps of input scale x weight scale."""
        source = node.inputs[0]
        if source is None:
            raise ValueError(f"node {node.name!r} has no input")
        scale = np.float64(self.steps(source).scale[0]) * self._convolution(node).weight_scale.astype(np.float64)
        steps = np.rint(weights_of(node)[1].astype(np.float64) / scale).astype(np.int64)
        quantization = Quantization(tuple(scale.tolist()), (0,) * len(scale))
        return self.assembly.constant(f"{node.name}.bias", steps, quantization)

    def _version(self, op: str, inputs: Sequence[int], tensor: int) -> int:
        return INT16_VERSIONS.get(op, 1)


def _wide(plan: TensorPlan) -> Quantization:
    reach = max(abs(bound) for bound in plan.bounds)
    return Quantization((float(np.float32(reach / _HIGHEST)),), (0,))
