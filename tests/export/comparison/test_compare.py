"""Two files of one network: which layer is which, what each lost, and whether the reason is found."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import numpy_helper

from tests.export.quantization.support import PLAIN, Prepared, depthwise_darknet
from tests.support import random_darknet, random_picture
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export import canonicalize, write_onnx, write_tflite
from yolo_edge.export.channels import CHANNELS_KEY
from yolo_edge.export.comparison.compare import Compared, compare
from yolo_edge.export.comparison.match import match
from yolo_edge.export.comparison.sides import open_trace
from yolo_edge.export.comparison.trace_onnx import trace_graph
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.apply import apply_plan, channel_scale, weights_of
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.plan import QuantizationPlan, TensorPlan
from yolo_edge.ondevice.detector import Detector
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.quantized import to_floats


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), random_picture(90, 70, i))
    return paths


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return depthwise_darknet(tmp_path_factory.mktemp("net"), 3, "leaky", spread=0.3)


@pytest.fixture(scope="module")
def prepared(cfg: Path) -> Prepared:
    return Prepared.of(cfg, 4)


def write(prepared: Prepared, plan: QuantizationPlan, path: Path) -> Path:
    network = apply_plan(prepared.graph, plan)
    writer = write_tflite if path.suffix == ".tflite" else write_onnx
    path.write_bytes(writer(network, prepared.spec, "int8"))
    return path


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_layers_are_found_by_what_they_give(tmp_path: Path, seed: int, suffix: str) -> None:
    """Files of ours keep the names of layers, which the match never looks at."""
    source = load_model(random_darknet(tmp_path, seed))
    graph = canonicalize(source.graph)
    path = tmp_path / f"file{suffix}"
    path.write_bytes((write_onnx if suffix == ".onnx" else write_tflite)(graph, source.spec))
    first, second = trace_graph(expand_activations(graph)), open_trace(path)
    spec = source.spec.input
    other = replace(spec, layout="NHWC" if suffix == ".tflite" else "NCHW")
    values = []
    for number in range(2):
        picture = random_picture(80, 60, number)
        values.append(
            (first.run(Preprocessor(spec)(picture)[0].copy()), second.run(Preprocessor(other)(picture)[0].copy()))
        )
    pairs = match(first, second, values)
    names = {layer.name for layer in second.layers}
    for pair in pairs:
        name = first.layers[pair.first].name
        if name in names:
            found = second.layers[pair.second]
            same = [
                np.ptp(b[pair.second]) == 0 or snr_db(b[_number(second, name)], b[pair.second]) > 60
                for _, b in values
                if b[pair.second].shape == b[_number(second, name)].shape
            ]
            assert found.name == name or all(same), (seed, name, found.name)
    convolutions = [layer for layer in first.layers if layer.kind == "convolution"]
    matched = {first.layers[pair.first].name for pair in pairs}
    assert len([layer for layer in convolutions if layer.name in matched]) >= len(convolutions) - 2


def _number(trace: object, name: str) -> int:
    return next(i for i, layer in enumerate(trace.layers) if layer.name == name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_float_file_is_fine(cfg: Path, pictures: list[Path], tmp_path: Path, suffix: str) -> None:
    source = load_model(cfg)
    path = tmp_path / f"same{suffix}"
    path.write_bytes((write_onnx if suffix == ".onnx" else write_tflite)(canonicalize(source.graph), source.spec))
    result = compare(cfg, path, pictures, layer_images=3).result
    assert [finding.key for finding in result.findings] == ["fine"]
    assert min(layer.sqnr_db for layer in result.layers) > 90
    assert all(layer.stored is None for layer in result.layers)
    assert result.unmatched == ()
    assert (result.images, result.layer_images, result.detections_by) == (6, 3, "file")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_figures_are_those_of_the_file(
    cfg: Path, prepared: Prepared, pictures: list[Path], tmp_path: Path, suffix: str
) -> None:
    path = write(prepared, prepared.draft(), tmp_path / f"int8{suffix}")
    result = compare(cfg, path, pictures, layer_images=6).result
    (head,) = [layer for layer in result.layers if layer.role is not None]
    first, second = Detector(write_onnx(canonicalize(load_model(cfg).graph), prepared.spec)), Detector(path)
    expected, found = [], []
    for picture in pictures:
        image = read_image(picture)
        expected.append(first.runtime.run(first.preprocess(image)[0])["head_0"])
        array = to_floats(second.spec, second.runtime.run(second.preprocess(image)[0]))["head_0"]
        found.append(array.transpose(0, 3, 1, 2) if suffix == ".tflite" else array)
    # the runtime's own kernels may round otherwise here and there
    assert head.sqnr_db == pytest.approx(snr_db(np.stack(expected), np.stack(found)), abs=1.0)
    assert head.range[0] == pytest.approx(min(float(array.min()) for array in expected))
    assert result.quantized_file.int8 == result.quantized_file.convolutions == 11
    assert result.quantized_file.weights == {"int8": 11}
    assert result.kernels_sqnr_db is not None
    assert result.kernels_sqnr_db > 20


def planted(prepared: Prepared, name: str, factor: float) -> QuantizationPlan:
    """The plan with another range of one tensor."""
    plan = prepared.draft()
    old = plan.tensors[name]
    tensor = TensorPlan(old.scale * factor, old.zero_point)
    return structs.replace(plan, tensors={**plan.tensors, name: tensor})


def culprit(compared: Compared) -> str:
    finding = next(finding for finding in compared.result.findings if finding.severity != "note")
    return f"{finding.key} {finding.layers[0]}"


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_a_range_that_is_too_short(
    cfg: Path, prepared: Prepared, pictures: list[Path], tmp_path: Path, suffix: str
) -> None:
    path = write(prepared, planted(prepared, "conv_5_norm", 0.08), tmp_path / f"short{suffix}")
    compared = compare(cfg, path, pictures)
    assert compared.result.layers[0].name in ("conv_5_norm", "conv_5")
    assert compared.result.layers[0].saturated > 0.2
    assert culprit(compared).startswith("cut-off conv_5")
    assert "too short" in compared.result.findings[0].title


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_steps_that_are_too_large(
    cfg: Path, prepared: Prepared, pictures: list[Path], tmp_path: Path, suffix: str
) -> None:
    path = write(prepared, planted(prepared, "conv_5_norm", 60), tmp_path / f"coarse{suffix}")
    compared = compare(cfg, path, pictures)
    layer = next(layer for layer in compared.result.layers if layer.name == "conv_5_norm")
    assert layer.saturated == 0
    assert layer.lost_small > 0.3
    assert culprit(compared) == "vanished conv_5_norm"


def test_weights_with_one_scale(cfg: Path, prepared: Prepared, pictures: list[Path], tmp_path: Path) -> None:
    """A convolution whose rows are of very different size, with one scale for all."""
    plan = prepared.draft()
    node = next(node for node in prepared.graph.graph if node.name == "conv_7")
    weight, bias = weights_of(node)
    scales = channel_scale(weight, bias)
    one = structs.replace(plan.convolutions["conv_7"], weight_scale=(float(scales.max()) * 10,) * len(scales))
    coarse = structs.replace(plan, convolutions={**plan.convolutions, "conv_7": one})
    compared = compare(cfg, write(prepared, coarse, tmp_path / "weights.onnx"), pictures)
    layer = next(layer for layer in compared.result.layers if layer.name == "conv_7_norm")
    assert layer.weight_sqnr_db is not None
    assert layer.weight_sqnr_db < 20
    assert culprit(compared) == "weights conv_7_norm"


def test_scaled_channels_are_undone(cfg: Path, prepared: Prepared, pictures: list[Path], tmp_path: Path) -> None:
    """Equalised files hold other numbers in their channels, and are none the worse."""
    plan = prepared.draft(replace(PLAIN, name="equalised", rescale=True, equalize=True, dense=True))
    result = compare(cfg, write(prepared, plan, tmp_path / "equalised.onnx"), pictures).result
    assert sum(layer.rescaled for layer in result.layers) >= 5
    assert not [finding for finding in result.findings if finding.severity == "broken"]
    assert min(layer.sqnr_db for layer in result.layers) > 8


def test_channels_are_not_undone_where_nobody_does(cfg: Path, prepared: Prepared, tmp_path: Path) -> None:
    """A file that says nothing of its heads: what is scaled there is wrong."""
    source = load_model(cfg)
    model = onnx.load_model_from_string(write_onnx(canonicalize(source.graph), source.spec))
    del model.metadata_props[:]
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    for name in last.input[1:]:
        tensor = next(item for item in model.graph.initializer if item.name == name)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(0.2), name))
    path = tmp_path / "scaled.onnx"
    onnx.save(model, path)
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), random_picture(64, 64))
    result = compare(cfg, path, [picture]).result
    (head,) = [layer for layer in result.layers if layer.role is not None]
    assert not head.rescaled
    assert head.sqnr_db == pytest.approx(-20 * np.log10(0.8), abs=0.1)
    assert result.findings[0].severity == "broken"
    assert "says nothing of its input: RGB 0..1 fits best" in result.notes[0]


def test_what_cannot_be_compared(cfg: Path, pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an \.onnx or \.tflite file"):
        compare(cfg, cfg, pictures)
    with pytest.raises(InputError, match="needs pictures"):
        compare(cfg, cfg, [])
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0\0\0\0TFL3" + bytes(range(200)))
    with pytest.raises(InputError, match="TFLite file"):
        compare(cfg, broken, pictures)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07")
    with pytest.raises(InputError, match="ONNX"):
        compare(cfg, broken, pictures)
    source = load_model(depthwise_darknet(tmp_path, 8, "swish"))
    other = tmp_path / "other.onnx"
    other.write_bytes(write_onnx(canonicalize(source.graph), source.spec))
    with pytest.raises(InputError, match="are these files of one network"):
        compare(cfg, other, pictures)


def test_yolox_with_broken_boxes(assets: Path, tmp_path: Path) -> None:
    """A real file of another exporter; its name must not matter."""
    path = tmp_path / "a.tflite"
    path.write_bytes((assets / "tflite/yolox_nano_int8_quantize.tflite").read_bytes())
    paths = sorted((assets / "coco128/images/val2017").glob("*.jpg"))[:4]
    result = compare(assets / "onnx/yolox_nano.onnx", path, paths, layer_images=2).result
    worst = result.findings[0]
    assert (worst.key, worst.severity) == ("shared-scale", "broken")
    assert set(worst.layers) == {"head_0_box", "head_1_box", "head_2_box"}
    for said in ("boxes", "cut off", "from 0 to 0.996", "CONCATENATION joins them", "shares one scale"):
        assert said in worst.text + worst.title
    assert "scale of its own" in worst.advice
    assert {finding.key for finding in result.findings} >= {"float-inside", "moves"}
    assert (result.quantized_file.convolutions, result.quantized_file.int8) == (113, 0)
    boxes = [layer for layer in result.layers if layer.role == "box"]
    assert [layer.name for layer in result.layers[:3]] == [layer.name for layer in boxes]
    assert all(layer.saturated > 0.4 for layer in boxes)
    # everything else is as it was
    assert min(layer.sqnr_db for layer in result.layers if layer.role != "box") > 60
    assert result.detections_by == "layers"
    assert result.agreement is not None
    assert result.agreement < 0.7
    assert any("BGR 0..255 fits best" in note for note in result.notes)
    assert result.pictures[0].agreement < 0.3


@pytest.mark.parametrize("activation", ["leaky", "swish"])
def test_forms_that_are_fast_are_read_as_the_network(tmp_path: Path, activation: str) -> None:
    """Channels of zeros are no channels of the network, and LeakyRelus as sums are what they were."""
    prepared = Prepared.of(depthwise_darknet(tmp_path, 3, activation))
    path = tmp_path / "fast.onnx"
    path.write_bytes(write_onnx(prepared.quantized(), prepared.spec, "int8"))
    assert channels_of(path)
    first, second = trace_graph(prepared.graph), open_trace(path)
    values = [(first.run(tensor), second.run(tensor)) for tensor in prepared.tensors[:2]]
    pairs = {first.layers[pair.first].name: second.layers[pair.second] for pair in match(first, second, values)}
    for layer in first.layers:
        if layer.kind in ("convolution", "activation") and layer.op != "Sigmoid":
            found = pairs[layer.name]
            name = found.name.removesuffix(".Conv")  # of a head
            assert (name, found.kind, found.shape) == (layer.name, layer.kind, layer.shape)
        if layer.weights is not None:
            assert pairs[layer.name].weights.array.shape == layer.weights.array.shape  # type: ignore[union-attr]
            assert snr_db(layer.weights.array, pairs[layer.name].weights.array) > 30  # type: ignore[union-attr]


def channels_of(path: Path) -> str | None:
    return next((item.value for item in onnx.load(path).metadata_props if item.key == CHANNELS_KEY), None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "cannot be read"),
        ('{"8/24": ["conv_0_norm.q"]}', "not those of"),
        ('{"8/16": ["images.q"]}', "not those of"),
    ],
)
def test_channels_that_are_not_the_file_s(tmp_path: Path, text: str, problem: str) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path, 3))
    model = onnx.load_model_from_string(write_onnx(prepared.quantized(), prepared.spec, "int8"))
    next(item for item in model.metadata_props if item.key == CHANNELS_KEY).value = text
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    with pytest.raises(InputError, match=problem):
        open_trace(path)
