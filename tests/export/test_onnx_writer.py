import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from yolo_edge import Detector
from yolo_edge.export import canonicalize, write_onnx
from yolo_edge.export.canonical import NotCanonicalError
from yolo_edge.export.functions import FUNCTIONS
from yolo_edge.export.graph import Graph, GraphBuilder
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec


def activation_only(op: str) -> tuple[Graph, ModelSpec]:
    builder = GraphBuilder("activation", 64, 64)
    constants = []
    if op == "Clip":
        constants = [builder.constant(name, np.array(bound, np.float32)) for name, bound in (("low", 0), ("high", 6))]
    side = 128 if op == "BilinearUpsample" else 64
    graph = builder.build({"head_0": builder.node(op, [builder.input, *constants], (1, 3, side, side), "activation")})
    return graph, ModelSpec(InputSpec(64, 64), (Head("x", 1, {"map": "head_0"}),), ("a",))


@pytest.mark.parametrize(
    ("op", "formula"),
    [
        ("SiLU", lambda x: x / (1 + np.exp(-x))),
        ("Mish", lambda x: x * np.tanh(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))),
        ("Clip", lambda x: np.clip(x, 0, 6)),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_activations_equal_their_formula(op: str, formula: object) -> None:
    data = write_onnx(*activation_only(op))
    x = np.linspace(-80, 80, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    found = ort.InferenceSession(data).run(None, {"images": x})[0]
    expected = formula(x.astype(np.float64))  # type: ignore[operator]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("op", sorted(FUNCTIONS))
def test_functions_are_inlined(op: str) -> None:
    model = onnx.load_from_string(write_onnx(*activation_only(op)))
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_constants_of_inlined_functions_are_shared() -> None:
    builder = GraphBuilder("two", 8, 8)
    first = builder.node("Mish", [builder.input], (1, 3, 8, 8), "a")
    graph = builder.build({"head_0": builder.node("Mish", [first], (1, 3, 8, 8), "b")})
    spec = ModelSpec(InputSpec(8, 8), (Head("x", 1, {"map": "head_0"}),), ("a",))
    assert len(onnx.load_from_string(write_onnx(graph, spec)).graph.initializer) == 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_file_keeps_its_promises(cfg: Path, precision: str) -> None:
    source = load_model(cfg)
    data = write_onnx(canonicalize(source.graph), source.spec, precision)
    onnx.checker.check_model(data, full_check=True)
    model = onnx.load_from_string(data)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert (model.producer_name, model.producer_version) == ("yolo-edge", "0.1.0")
    session = ort.InferenceSession(data)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("images", "tensor(float)", list(source.spec.input.shape))
    for i, (output, head) in enumerate(zip(session.get_outputs(), source.spec.heads, strict=True)):
        rows, columns = source.spec.grid(head)
        channels = len(head.anchors) * (5 + len(source.spec.names))
        assert (output.name, output.type, output.shape) == (f"head_{i}", "tensor(float)", [1, channels, rows, columns])
    spec = Detector(data).spec
    assert spec.precision == precision
    assert spec.provenance.tool == "yolo-edge 0.1.0"
    assert spec.heads == source.spec.heads
    types = {initializer.data_type for initializer in model.graph.initializer if len(initializer.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT if precision == "fp32" else onnx.TensorProto.FLOAT16}


def test_weights_beyond_float16_stay_float32() -> None:
    builder = GraphBuilder("large", 8, 8)
    inputs = [
        builder.input,
        builder.constant("w", np.full((2, 3, 1, 1), 1e5, np.float32)),
        builder.constant("b", np.zeros(2, np.float32)),
    ]
    attributes = {"kernel_shape": [1, 1], "pads": [0] * 4, "strides": [1, 1], "group": 1}
    graph = builder.build({"head_0": builder.node("Conv", inputs, (1, 2, 8, 8), "conv", attributes)})
    spec = ModelSpec(InputSpec(8, 8), (Head("x", 1, {"map": "head_0"}),), ("a",))
    session = ort.InferenceSession(write_onnx(graph, spec, "fp16"))
    found = session.run(None, {"images": np.ones((1, 3, 8, 8), np.float32)})[0]
    np.testing.assert_allclose(found, 3e5)


def test_the_same_input_gives_the_same_bytes(cfg: Path) -> None:
    # in processes of their own, whose hashes differ
    script = (
        "import hashlib, sys; from pathlib import Path; from yolo_edge.export import canonicalize, write_onnx; "
        "from yolo_edge.export.load import load_model; s = load_model(Path(sys.argv[1])); g = canonicalize(s.graph); "
        "print(*(hashlib.sha256(write_onnx(g, s.spec, p)).hexdigest() for p in ('fp32', 'fp16', 'fp32')))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script, cfg], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0][0] == runs[0][2] != runs[0][1]


def test_writing_leaves_the_graph_as_it_was(cfg: Path) -> None:
    source = load_model(cfg)
    graph = canonicalize(source.graph)
    first = write_onnx(graph, source.spec)
    write_onnx(graph, source.spec, "fp16")
    assert write_onnx(graph, source.spec) == first


def test_only_canonical_graphs_are_written(cfg: Path) -> None:
    source = load_model(cfg)
    with pytest.raises(NotCanonicalError, match="node 'conv_0'"):
        write_onnx(source.graph, source.spec)


def test_unknown_precision(cfg: Path) -> None:
    source = load_model(cfg)
    with pytest.raises(InputError, match="precision 'int4': there is fp32 and fp16"):
        write_onnx(canonicalize(source.graph), source.spec, "int4")
