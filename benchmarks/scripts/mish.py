"""Mish three ways: as yolo-edge writes it, as Softplus · Tanh · Mul, and as ONNX's own operator.

    python benchmarks/scripts/mish.py --size 64x104x104 --threads 1

The first is the function of yolo_edge.export.functions, put into the graph as files have it. Each is timed alone and in
a small network, two residual blocks of CSPDarknet53 (1x1 convolution, Mish, 3x3 convolution, Mish, sum), all three in
one interleaved run. That they give the same values is checked first. ONNX's operator comes with opset 18, the others
need no more than 17.

Prints what onnxruntime runs for each activation, medians, in brackets half the interquartile range as a fraction of the
median (how noisy it was), and ratios of medians with their 95 % intervals. Above some 10 % other programs had the
processor in between, which hits long calls more than short ones: run it again.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx_ir.passes import common

from yolo_edge.export import functions
from yolo_edge.export.graph import IR_VERSION
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.timing import Seconds, interleave, median_ratio

MAX_DIFFERENCE = 1e-5

Activation = Callable[[ir.Value], list[ir.Node]]
Size = tuple[int, int, int]


def ours(x: ir.Value) -> list[ir.Node]:
    """The function that importers use."""
    return [ir.node("Mish", [x], domain=functions.FUNCTION_DOMAIN)]


def textbook(x: ir.Value) -> list[ir.Node]:
    """Term by term: what PyTorch's exporter writes below opset 18."""
    softplus = ir.node("Softplus", [x])
    tanh = ir.node("Tanh", [softplus.outputs[0]])
    return [softplus, tanh, ir.node("Mul", [x, tanh.outputs[0]])]


def operator(x: ir.Value) -> list[ir.Node]:
    """ONNX's own."""
    return [ir.node("Mish", [x])]


FORMS: dict[str, tuple[Activation, int]] = {
    "yolo-edge": (ours, 17),
    "Softplus·Tanh·Mul": (textbook, 17),
    "Mish, opset 18": (operator, 18),
}


def build(form: str, size: Size, blocks: int) -> bytes:
    """An ONNX file: the activation alone, or `blocks` residual blocks with it (the same weights in every form)."""
    activation, opset = FORMS[form]
    channels = size[0]
    rng = np.random.default_rng(0)
    x = ir.Value(name="x", shape=ir.Shape((1, *size)), type=ir.TensorType(ir.DataType.FLOAT))
    nodes: list[ir.Node] = []
    weights: list[ir.Value] = []

    def convolve(value: ir.Value, inputs: int, outputs: int, side: int) -> ir.Value:
        scale = np.sqrt(2 / (inputs * side * side))
        array = rng.normal(0, scale, (outputs, inputs, side, side)).astype(np.float32)
        name = f"weight_{len(weights)}"
        weights.append(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
        attributes = {"kernel_shape": [side, side], "pads": [side // 2] * 4}
        nodes.append(ir.node("Conv", [value, weights[-1]], attributes))
        nodes.extend(activation(nodes[-1].outputs[0]))
        return nodes[-1].outputs[0]

    value = x
    for _ in range(blocks):
        inner = convolve(convolve(value, channels, channels // 2, 1), channels // 2, channels, 3)
        nodes.append(ir.node("Add", [value, inner]))
        value = nodes[-1].outputs[0]
    if not blocks:
        nodes.extend(activation(x))
        value = nodes[-1].outputs[0]
    value.name, value.shape, value.type = "y", x.shape, x.type
    imports = {"": opset, functions.FUNCTION_DOMAIN: 1}
    graph = ir.Graph([x], [value], nodes=nodes, initializers=weights, opset_imports=imports, name="mish")
    model = ir.Model(graph, ir_version=IR_VERSION, functions=[functions.mish()] if activation is ours else [])
    # as write_onnx does
    common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    model.graph.opset_imports.pop(functions.FUNCTION_DOMAIN, None)
    data: bytes = ir.to_proto(model).SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def what_runs(data: bytes) -> str:
    """The operators that onnxruntime makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        new_session(data, optimized_model_filepath=str(path))
        counts = Counter(node.op_type for node in onnx.load(path).graph.node)
    return ", ".join(op if count == 1 else f"{count} {op}" for op, count in counts.items())


def mish(x: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    wide = x.astype(np.float64)
    return np.asarray(wide * np.tanh(np.logaddexp(0, wide)))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1))


def cell(samples: Seconds) -> str:
    """The median in milliseconds and half the interquartile range."""
    low, median, high = np.percentile(samples, [25, 50, 75])
    return f"{median * 1e3:9.3f} ms (±{(high - low) / 2 / median * 100:2.0f} %)"


def parse_size(text: str) -> Size:
    """CxHxW, with an even number of channels."""
    channels, height, width = map(int, text.split("x"))
    if min(channels, height, width) < 1 or channels % 2:
        raise ValueError(text)
    return channels, height, width


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(64, 104, 104), metavar="CxHxW", help="even C")
    parser.add_argument("--seconds", type=float, default=5, help="for each of the two comparisons")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    x = np.random.default_rng(1).normal(0, 4, (1, *options.size)).astype(np.float32)
    size = "x".join(map(str, options.size))
    print(f"{size}, threads {options.threads}, onnxruntime {ort.__version__}")
    for what, blocks in (("alone", 0), ("two residual blocks", 2)):
        files = {form: build(form, options.size, blocks) for form in FORMS}
        sessions = {form: new_session(data, options.threads) for form, data in files.items()}
        results = {form: np.asarray(session.run(["y"], {"x": x})[0]) for form, session in sessions.items()}
        expected = mish(x) if not blocks else results["Softplus·Tanh·Mul"].astype(np.float64)
        worst = max(difference(found, expected) for found in results.values())
        if not worst <= MAX_DIFFERENCE:
            raise SystemExit(f"{what}: the forms differ by {worst:.2g}, the limit is {MAX_DIFFERENCE:g}")
        samples = interleave(
            {form: partial(session.run, ["y"], {"x": x}) for form, session in sessions.items()},
            seconds=options.seconds,
        )
        rounds = len(samples["yolo-edge"])
        print(f"{what}: values within {worst:.1e}, {rounds} rounds")
        for form, values in samples.items():
            ratio = "" if form == "yolo-edge" else f"   yolo-edge / this: {median_ratio(samples['yolo-edge'], values)}"
            print(f"  {form:<18} {cell(values)}{ratio}")
        if not blocks:
            for form, data in files.items():
                print(f"  {form:<18} runs as {what_runs(data)}")


if __name__ == "__main__":
    main()
