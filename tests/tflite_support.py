"""What tests of TFLite files share: running them, reading them with LiteRT's own schema reader, random windows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

from yolo_edge.export import Graph
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.runtimes.tflite import load_interpreter

OPERATOR_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def run_tflite(data: bytes, tensor: np.ndarray, *, delegates: bool = True) -> dict[str, np.ndarray]:
    """One inference in LiteRT; without delegates its own kernels do all."""
    kind = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = load_interpreter(data, experimental_op_resolver_type=kind)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return {item["name"]: interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()}


def run_onnx(data: bytes, tensor: np.ndarray) -> dict[str, np.ndarray]:
    """One inference in onnxruntime, as its optimizer leaves the graph."""
    session = new_session(data)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": tensor}), strict=True))


def nhwc(tensor: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))


def assert_same_maps(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], limit: float = 1e-4) -> None:
    """TFLite's raw maps are those of ONNX, in the same order, within `limit` of the largest value."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == nhwc(array).shape
        error = np.abs(found[name] - nhwc(array)).max() / max(np.abs(array).max(), 1e-30)
        assert error <= limit, f"{name}: {error:.2g}"


def read_model(data: bytes) -> Any:
    """The file as LiteRT's own reader sees it."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))


def operators(data: bytes) -> list[str]:
    """The names of the operators of a file, in order; custom ones by their own."""
    model = read_model(data)
    codes = [
        code.customCode.decode() if code.customCode else OPERATOR_NAMES[code.builtinCode]
        for code in model.operatorCodes
    ]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def random_windows(seed: int) -> tuple[Graph, str]:
    """A convolution or pool of a random geometry behind a 1x1 convolution, and what it is in words."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["Conv", "Conv", "MaxPool", "AveragePool"]))
    while True:
        size, kernel, stride = rng.integers(1, 20, 2), rng.integers(1, 6, 2), rng.integers(1, 4, 2)
        dilation = rng.integers(1, 4, 2) if kind == "Conv" and rng.random() < 0.4 else np.ones(2, np.int64)
        pads = rng.integers(0, kernel, (2, 2)) if rng.random() < 0.8 else np.zeros((2, 2), np.int64)  # before, after
        if rng.random() < 0.3:
            pads[1] = pads[0]
        count = (size + pads.sum(axis=0) - (kernel - 1) * dilation - 1) // stride + 1
        if (count >= 1).all():
            break
    channels = int(rng.choice([1, 2, 4, 6]))
    builder = GraphBuilder("windows", int(size[1]), int(size[0]))
    x = convolve(builder, builder.input, rng, channels, 3, "first")
    attributes: dict[str, Any] = {
        "kernel_shape": kernel.tolist(),
        "pads": pads.reshape(-1).tolist(),
        "strides": stride.tolist(),
    }
    label = f"{kind} {size} kernel {kernel} stride {stride} dilation {dilation} pads {pads.tolist()} on {channels}"
    if kind != "Conv":
        x = builder.node(kind, [x], (1, channels, *count.tolist()), "pooled", attributes)
        return builder.build({"head_0": x}), label
    groups = int(rng.choice([group for group in (1, 2, channels) if channels % group == 0]))
    outputs = groups * int(rng.integers(1, 4))
    attributes |= {"dilations": dilation.tolist(), "group": groups}
    weight = rng.normal(0, 1, (outputs, channels // groups, *kernel)).astype(np.float32)
    constants = [builder.constant("w", weight), builder.constant("b", rng.normal(0, 1, outputs).astype(np.float32))]
    x = builder.node("Conv", [x, *constants], (1, outputs, *count.tolist()), "convolved", attributes)
    activation = str(rng.choice(["none", "Relu", "LeakyRelu", "Clip"]))
    if activation == "Clip":
        bounds = [builder.constant(f"bound{i}", np.array(v, np.float32)) for i, v in enumerate(_bounds(rng))]
        x = builder.node("Clip", [x, *bounds], (1, outputs, *count.tolist()), "activated")
    elif activation != "none":
        alpha = {"alpha": 0.1} if activation == "LeakyRelu" else {}
        x = builder.node(activation, [x], (1, outputs, *count.tolist()), "activated", alpha)
    return builder.build({"head_0": x}), f"{label} groups {groups} → {outputs} {activation}"


def _bounds(rng: np.random.Generator) -> Sequence[float]:
    choices: list[Sequence[float]] = [(0, 6), (-1, 1), (0, 1), (-0.5, 2.5)]
    return choices[int(rng.integers(len(choices)))]


def convolve(builder: GraphBuilder, x: Any, rng: np.random.Generator, outputs: int, inputs: int, name: str) -> Any:
    """Add a 1x1 convolution with random weights."""
    weight = rng.normal(0, inputs**-0.5, (outputs, inputs, 1, 1)).astype(np.float32)
    bias = rng.normal(0, 1, outputs).astype(np.float32)
    constants = [builder.constant(f"{name}.w", weight), builder.constant(f"{name}.b", bias)]
    attributes = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]}
    return builder.node("Conv", [x, *constants], (1, outputs, *x.shape[2:]), name, attributes)
