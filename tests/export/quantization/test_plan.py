"""Plans that are kept, edited, damaged, and given back."""

import base64
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.export.quantization.support import PLAIN, Prepared, depthwise_darknet, run_heads
from tests.int8_support import run_qdq
from tests.support import DarknetWriter
from tests.tflite_support import nhwc, run_tflite
from yolo_edge import Detector, InputError
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.apply import apply_plan
from yolo_edge.export.quantization.choose import from_plan
from yolo_edge.export.quantization.plan import (
    NodePlan,
    QuantizationPlan,
    TensorPlan,
    decode_weights,
    encode_weights,
    json_schema,
    read_plan,
)
from yolo_edge.export.quantization.recipe import RECIPES, Recipe, finish
from yolo_edge.export.quantization.structure import Structure
from yolo_edge.ondevice.quantized import to_floats
from yolo_edge.ondevice.runtimes.onnx import new_session

FULL = Recipe("full", dense=True, rounding=True, affine="slope")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("plan"), 2, "relu"), 3)


@pytest.fixture(scope="module")
def silu(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.of(depthwise_darknet(tmp_path_factory.mktemp("plan"), 2, "swish"), 2)


def full(prepared: Prepared) -> QuantizationPlan:
    draft = prepared.draft(FULL)
    importance = prepared.calibration.importance_of_places(prepared.tensors)
    return finish(prepared.graph, draft, FULL, prepared.tensors, importance)


@pytest.fixture(scope="module")
def plan(prepared: Prepared) -> QuantizationPlan:
    return full(prepared)


def test_json_and_back(plan: QuantizationPlan) -> None:
    text = plan.to_json()
    assert QuantizationPlan.from_json(text) == plan
    assert QuantizationPlan.from_json(text).to_json() == text
    assert any(item.weights for item in plan.convolutions.values())
    assert plan.heads


def test_the_schema_describes_it(plan: QuantizationPlan) -> None:
    import jsonschema

    jsonschema.validate(msgspec.json.decode(plan.to_json()), json_schema())


def test_a_plan_given_back_gives_the_same_bytes(prepared: Prepared, plan: QuantizationPlan, tmp_path: Path) -> None:
    kept = tmp_path / "kept.plan.json"
    kept.write_bytes(plan.to_json())
    first = apply_plan(prepared.graph, plan)
    again = from_plan(prepared.graph, read_plan(kept), str(kept)).network
    assert again.plan == first.plan == plan
    for write in (write_onnx, write_tflite):
        assert write(again, prepared.spec, "int8") == write(first, prepared.spec, "int8")


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=20)
def test_weights_and_back(out: int, each: int, seed: int) -> None:
    integers = np.random.default_rng(seed).integers(-127, 128, (out, each, 3, 3)).astype(np.int8)
    np.testing.assert_array_equal(decode_weights(encode_weights(integers), integers.shape, "w"), integers)


# hostile and edited plans


def edited(plan: QuantizationPlan, change: Callable[[dict], object]) -> bytes:  # type: ignore[type-arg]
    document = msgspec.json.decode(plan.to_json())
    change(document)
    return msgspec.json.encode(document)


BOMB = base64.b64encode(zlib.compress(bytes(1 << 24), 9)).decode()
WRONG = {
    "another version": (lambda p: p.update(version=2), "version"),
    "a key too many": (lambda p: p.update(extra=1), "extra"),
    "nodes": (lambda p: p["nodes"].update(ghost={"precision": "int8", "reason": ""}), "no node 'ghost'"),
    "precision": (lambda p: p["nodes"]["conv_0"].update(precision="int4"), "int4"),
    "tensors": (lambda p: p["tensors"].update(ghost={"scale": 1, "zero_point": 0}), "no tensor 'ghost'"),
    "zero-point": (lambda p: p["tensors"]["images"].update(zero_point=128), "zero_point"),
    "scale 0": (lambda p: p["tensors"]["images"].update(scale=0), "scale"),
    "scale below 0": (lambda p: p["tensors"]["images"].update(scale=-1), "scale"),
    "scale beyond float32": (lambda p: p["tensors"]["images"].update(scale=1e300), "scale"),
    "scale that is none in float32": (lambda p: p["tensors"]["images"].update(scale=1e-60), "scale"),
    "scale as text": (lambda p: p["tensors"]["images"].update(scale="1"), "scale"),
    "no scale": (lambda p: p["tensors"].pop("images"), "'images' has no scale"),
    "convolutions": (lambda p: p["convolutions"].update(ghost={"weight_scale": [1]}), "no convolution 'ghost'"),
    "no weight_scale": (lambda p: p["convolutions"].pop("conv_0"), "'conv_0' is int8 and has no weight_scale"),
    "short weight_scale": (
        lambda p: p["convolutions"]["conv_0"]["weight_scale"].pop(),
        r"convolutions.conv_0.weight_scale: expected 8 numbers, got 7",
    ),
    "weight_scale 0": (lambda p: p["convolutions"]["conv_0"]["weight_scale"].__setitem__(0, 0), "weight_scale"),
    "tiny weight_scale": (
        lambda p: p["convolutions"]["conv_0"]["weight_scale"].__setitem__(3, 1e-14),
        r"conv_0.weight_scale: too small in channel 3",
    ),
    "short output_factor": (
        lambda p: p["convolutions"]["conv_0"].update(output_factor=[1.0] * 3),
        r"conv_0.output_factor: expected 8 numbers, got 3",
    ),
    "long input_factor": (
        lambda p: p["convolutions"]["conv_0"].update(input_factor=[1.0] * 4),
        r"conv_0.input_factor: expected 3 numbers, got 4",
    ),
    "short bias_shift": (lambda p: p["convolutions"]["conv_1"].update(bias_shift=[0.5]), "conv_1.bias_shift"),
    "infinite factor": (
        lambda p: p["convolutions"]["conv_0"].update(output_factor=[1e300] * 8),
        "conv_0: its factors lead beyond float32",
    ),
    "weights that are no base64": (lambda p: p["convolutions"]["conv_0"].update(weights="?"), "conv_0.*damaged"),
    "weights that are no zlib": (lambda p: p["convolutions"]["conv_0"].update(weights="AAAA"), "conv_0.*damaged"),
    "weights of another layer": (
        lambda p: p["convolutions"]["conv_0"].update(weights=encode_weights(np.ones(5))),
        "conv_0.*expected 216 weights, got 5",
    ),
    "weights without end": (lambda p: p["convolutions"]["conv_0"].update(weights=BOMB), "conv_0.*got more"),
    "a weight of -128": (
        lambda p: p["convolutions"]["conv_0"].update(weights=encode_weights(np.full(216, -128))),
        "conv_0.*got -128",
    ),
    "a head that is none": (lambda p: p["heads"].update(ghost={"factor": [1], "offset": [0]}), "no head 'ghost'"),
    "a head of another width": (
        lambda p: p["heads"]["head_0"].update(factor=[1.0], offset=[0.0]),
        "no head 'head_0' with 1 channels",
    ),
    "sides of a head": (lambda p: p["heads"]["head_0"].update(offset=[0.0]), "no head 'head_0'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_plans_that_are_wrong(prepared: Prepared, plan: QuantizationPlan, name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(InputError, match=f"kept.json.*{message}"):
        apply_plan(prepared.graph, QuantizationPlan.from_json(edited(plan, change), "kept.json"), "kept.json")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'{"version": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"tensors": {"a": 1e999}}']
)
def test_texts_that_are_no_plans(text: bytes) -> None:
    with pytest.raises(InputError, match=r"kept\.json: not a quantization plan"):
        QuantizationPlan.from_json(text, "kept.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(plan: QuantizationPlan, number: str) -> None:
    document = plan.to_json().replace(b'"output_factor": [', f'"output_factor": [{number}, '.encode(), 1)
    assert number.encode() in document
    with pytest.raises(InputError, match="not a quantization plan"):
        QuantizationPlan.from_json(document)


def test_tensors_that_share(prepared: Prepared, plan: QuantizationPlan) -> None:
    structure = Structure.of(prepared.graph)
    name, group = next((name, group) for name, group in structure.group.items() if name != group)
    wrong = {**plan.tensors, name: TensorPlan(plan.tensors[name].scale * 1.01, plan.tensors[name].zero_point)}
    with pytest.raises(InputError, match=f"kept.tensors: '{name}' must have the scale and zero_point of '{group}'"):
        apply_plan(prepared.graph, structs.replace(plan, tensors=wrong), "kept")


def test_sigmoids_have_a_scale_of_their_own(silu: Prepared) -> None:
    plan = silu.draft()
    name = next(node.outputs[0].name or "" for node in silu.graph.graph if node.op_type == "Sigmoid")
    wrong = {**plan.tensors, name: TensorPlan(1 / 128, -128)}
    with pytest.raises(InputError, match=f"kept.tensors: '{name}' is a Sigmoid's"):
        apply_plan(silu.graph, structs.replace(plan, tensors=wrong), "kept")


def test_what_cannot_be_int8(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, 0, "mish"), 1)
    plan = prepared.draft()
    name = next(node.name or "" for node in prepared.graph.graph if node.op_type == "Mish")
    wrong = {**plan.nodes, name: NodePlan("int8")}
    with pytest.raises(InputError, match=f"kept.nodes: '{name}' cannot be int8: has no int8 form"):
        apply_plan(prepared.graph, structs.replace(plan, nodes=wrong), "kept")


def test_damaged_json(prepared: Prepared, plan: QuantizationPlan) -> None:
    """Bytes changed at random: an error that names the file, or a network."""
    text, refused = plan.to_json(), 0
    for seed in range(60):
        rng, data = np.random.default_rng(seed), bytearray(text)
        for place in rng.integers(0, len(text), 2):
            data[place] = rng.choice(list(b'0123456789.,:-{}[]"eE \n\\x\xff'))
        try:
            apply_plan(prepared.graph, QuantizationPlan.from_json(bytes(data), "kept.json"), "kept.json")
        except InputError as error:
            assert "kept.json" in str(error)  # noqa: PT017 - or there is none
            refused += 1
    assert refused > 30


# nodes made float by hand


def check_floats(prepared: Prepared, plan: QuantizationPlan, names: list[str], least: float) -> None:
    nodes = {**plan.nodes, **dict.fromkeys(names, NodePlan("float", "by hand"))}
    changed = QuantizationPlan.from_json(structs.replace(plan, nodes=nodes).to_json())
    quantized = apply_plan(prepared.graph, changed)
    assert all(not quantized.structure.is_int8(node) for node in quantized.graph.graph if node.name in names)
    tensor = prepared.tensors[0]
    expected = run_heads(prepared.graph, tensor)
    data = write_onnx(quantized, prepared.spec, "int8")
    session = new_session(data, precise=True)
    outputs = [output.name for output in session.get_outputs()]
    maps = dict(zip(outputs, session.run(outputs, {"images": tensor}), strict=True))
    lite = write_tflite(quantized, prepared.spec, "int8")
    detector = Detector(lite)
    image = detector.spec.input
    own = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
    if image.quantization is not None:
        own = TensorPlan(image.quantization.scale, image.quantization.zero_point).quantize(own)
    floats = to_floats(detector.spec, run_tflite(lite, own))
    inner = run_qdq(quantized, tensor)
    for name, array in expected.items():
        assert snr_db(array, maps[name]) >= least, (name, names)
        assert snr_db(nhwc(array), floats[name]) >= least, (name, names)
        assert snr_db(inner[name], maps[name]) > 18


@given(st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_nodes_in_float_by_hand(prepared: Prepared, plan: QuantizationPlan, data: st.DataObject) -> None:
    check_floats(prepared, plan, data.draw(st.lists(st.sampled_from(sorted(plan.nodes)), unique=True)), 12)


@given(st.data())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_nodes_in_float_by_hand_with_gates(silu: Prepared, data: st.DataObject) -> None:
    plan = silu.draft(RECIPES[1])
    check_floats(silu, plan, data.draw(st.lists(st.sampled_from(sorted(plan.nodes)), unique=True)), 8)


def test_all_in_float_by_hand_is_the_float_network(prepared: Prepared) -> None:
    plan = prepared.draft(RECIPES[1])
    check_floats(prepared, plan, sorted(plan.nodes), 60)


def test_a_convolution_whose_relu_is_fused(prepared: Prepared, plan: QuantizationPlan) -> None:
    structure = Structure.of(prepared.graph)
    name, following = next(iter(structure.fused.items()))
    node = next(node for node in prepared.graph.graph if node.outputs[0].name == name)
    assert following.name not in plan.nodes
    check_floats(prepared, plan, [node.name or ""], 12)
    # the Relu alone would part the two: the convolution needs a scale then
    nodes = {**plan.nodes, following.name or "": NodePlan("float")}
    with pytest.raises(InputError, match=f"plan.tensors: '{name}' has no scale, and '{node.name}' is int8"):
        apply_plan(prepared.graph, structs.replace(plan, nodes=nodes))
    low, high = prepared.statistics[name].low.min(), prepared.statistics[name].high.max()
    tensors = {**plan.tensors, name: TensorPlan.of_range(4 * low, 4 * high)}
    check_floats(prepared, structs.replace(plan, tensors=tensors), [following.name or ""], 8)


def test_channels_without_weights_keep_their_bias(tmp_path: Path) -> None:
    """Pruned channels: their scale would be so small that 32 bits do not hold the bias."""
    rng = np.random.default_rng(0)
    net = DarknetWriter(32, 32, rng)
    net.convolution(6, 3, 2)
    net.convolution(8, 1)
    net.yolo(1, 2, 1.0)
    bias, scale = net.floats[5], net.floats[6]
    bias[:4], scale[:3], scale[3] = [3, -2, 0.5, 5], 0, 1e-9
    prepared = Prepared.of(net.write(tmp_path / "pruned.cfg"), 2)
    for recipe in (PLAIN, RECIPES[1], FULL):
        quantized = prepared.quantized(recipe)
        expected = run_heads(prepared.graph, prepared.tensors[0])["head_0"]
        assert snr_db(expected, run_qdq(quantized, prepared.tensors[0])["head_0"]) > 25
        lite = write_tflite(quantized, prepared.spec, "int8")
        own = quantized.plan.tensors["images"].quantize(nhwc(prepared.tensors[0]))
        for delegates in (True, False):
            found = to_floats(Detector(lite).spec, run_tflite(lite, own, delegates=delegates))["head_0"]
            assert snr_db(nhwc(expected), found) > 25


def test_another_network(prepared: Prepared, plan: QuantizationPlan, tmp_path: Path) -> None:
    graph = canonicalize(load_model(depthwise_darknet(tmp_path, 2, "swish")).graph)
    with pytest.raises(InputError, match=r"kept\.json"):
        from_plan(graph, plan, "kept.json")
