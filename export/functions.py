"""What ONNX (at our opset) has no operator for, or one of too many kinds, as model-local functions.

A graph holds each as a single node, so that passes and writers see an activation and not its parts. The bodies are
the forms that run fast; writing ONNX puts them in place of the node.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

FUNCTION_DOMAIN = "yolo_edge"
_OPSET = 17


def silu() -> ir.Function:
    """SiLU, darknet's "swish": x · σ(x) (Elfwing et al. 2017)."""
    x = ir.Value(name="x")
    sigmoid = ir.node("Sigmoid", [x])
    return _function("SiLU", x, [sigmoid, ir.node("Mul", [x, sigmoid.outputs[0]])])


def mish() -> ir.Function:
    """Mish: x · tanh(ln(1 + eˣ)) (Misra 2019), computed as x · (1 − t²)/(1 + t²) with t = σ(−x).

    Equal, since tanh(ln u) = (u² − 1)/(u² + 1) with u = 1 + eˣ = 1/t; it needs one exponential and cannot overflow.
    """
    x = ir.Value(name="x")
    one = ir.node("Constant", [], {"value": ir.tensor(np.float32(1), name="one")})
    negative = ir.node("Neg", [x])
    t = ir.node("Sigmoid", [negative.outputs[0]])
    square = ir.node("Mul", [t.outputs[0], t.outputs[0]])
    numerator = ir.node("Sub", [one.outputs[0], square.outputs[0]])
    denominator = ir.node("Add", [one.outputs[0], square.outputs[0]])
    ratio = ir.node("Div", [numerator.outputs[0], denominator.outputs[0]])
    result = ir.node("Mul", [x, ratio.outputs[0]])
    return _function("Mish", x, [one, negative, t, square, numerator, denominator, ratio, result])


def hard_swish() -> ir.Function:
    """Hard-swish: x · clip(x/6 + ½, 0, 1) (Howard et al. 2019)."""
    x = ir.Value(name="x")
    gate = ir.node("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5})
    return _function("HardSwish", x, [gate, ir.node("Mul", [x, gate.outputs[0]])])


def bilinear_upsample() -> ir.Function:
    """Twice the height and width, linear between the middles of the pixels, the outermost repeated beyond the edges.

    PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
    """
    x = ir.Value(name="x")
    scales = ir.node("Constant", [], {"value": ir.tensor(np.array([1, 1, 2, 2], np.float32), name="scales")})
    modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    resize = ir.node("Resize", [x, None, scales.outputs[0]], modes)
    return _function("BilinearUpsample", x, [scales, resize])


def _function(name: str, x: ir.Value, nodes: list[ir.Node]) -> ir.Function:
    for i, node in enumerate(nodes):
        node.outputs[0].name = f"{name}_{i}"
    graph = ir.Graph([x], [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": _OPSET}, name=name)
    return ir.Function(FUNCTION_DOMAIN, name, graph=graph, attributes=[])


FUNCTIONS: dict[str, Callable[[], ir.Function]] = {
    "BilinearUpsample": bilinear_upsample,
    "HardSwish": hard_swish,
    "Mish": mish,
    "SiLU": silu,
}
