"""ONNX files of other trainers: recognised by topology and numbers, whatever exporter wrote them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.export import foreign
from tests.export.onnx_parts import STRIDES, OnnxWriter
from yolo_edge.export import canonicalize
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.source import SourceModel
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.runtimes.onnx import new_session
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

Make = Callable[..., onnx.ModelProto]


def load(folder: Path, model: onnx.ModelProto, size: tuple[int, int] | None = None, **options: object) -> SourceModel:
    path = folder / "foreign.onnx"
    onnx.save(model, path)
    return import_onnx(path, size, **options)  # type: ignore[arg-type]


CASES = [
    (foreign.yolov5, opset, form) for opset in (11, 12, 13, 17, 18, 20, 22) for form in ("decoded", "corners", "nms")
]
CASES += [(foreign.yolov8, opset, form) for opset in (13, 17, 20, 22) for form in ("decoded", "corners", "raw", "nms")]
CASES += [(foreign.yolox, opset, form) for opset in (11, 13, 17, 22) for form in ("offsets", "decoded", "raw", "nms")]
FAMILY = {foreign.yolov5: "yolov5", foreign.yolov8: "dfl", foreign.yolox: "yolox"}


@pytest.mark.parametrize(("make", "opset", "form"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_families(make: Make, opset: int, form: str, tmp_path: Path) -> None:
    source = load(tmp_path, make(opset, form=form, seed=opset))
    assert [head.family for head in source.spec.heads] == [FAMILY[make]] * 3
    assert [head.stride for head in source.spec.heads] == [8, 16, 32]
    assert len(source.spec.names) == 3
    if make is foreign.yolov5:
        assert [head.anchors for head in source.spec.heads] == [tuple(map(tuple, level)) for level in foreign.ANCHORS]
    assert (len(source.notes) > 0) == (form == "raw")
    canonicalize(source.graph)


@pytest.mark.parametrize("classes", [1, 2, 20, 80])
@pytest.mark.parametrize("make", FAMILY, ids=lambda make: make.__name__)
def test_numbers_of_classes(make: Make, classes: int, tmp_path: Path) -> None:
    spec = load(tmp_path, make(classes=classes)).spec
    assert len(spec.names) == classes
    assert spec.names_from == {20: "voc assumed", 80: "coco assumed"}.get(classes, "none")


@pytest.mark.parametrize("activation", ["silu", "mish", "hswish", "hardsigmoid", "leaky", "relu"])
def test_activations_become_one_node_each(activation: str, tmp_path: Path) -> None:
    graph = canonicalize(load(tmp_path, foreign.yolov8(activation=activation)).graph)
    kinds = {node.op_type for node in graph.graph}
    names = {"silu": "SiLU", "mish": "Mish", "hswish": "HardSwish", "hardsigmoid": "HardSwish"}
    assert kinds & {"SiLU", "Mish", "HardSwish", "LeakyRelu", "Relu"} == {
        names.get(activation, {"leaky": "LeakyRelu", "relu": "Relu"}.get(activation))
    }
    assert not kinds & {"Sigmoid", "Tanh", "Softplus", "Clip", "BatchNormalization"}


@pytest.mark.parametrize(
    "model",
    [
        foreign.yolov5(implicit=True),
        foreign.yolov5(constants=True),
        foreign.yolov8(constants=True),
        foreign.yolov8(12, sums="matmul"),
        foreign.yolov8(sums="matmul"),
        foreign.yolov8(bins=8),
        foreign.yolov8(attention=True),
        foreign.yolov8(learned=(2, 0)),
        foreign.yolov5(form="plugin"),
    ],
    ids=["implicit", "constants-5", "constants-8", "opset-12", "matmul", "bins", "attention", "transposed", "plugin"],
)
def test_what_exporters_vary(model: onnx.ModelProto, tmp_path: Path) -> None:
    source = load(tmp_path, model)
    assert len(source.spec.heads) == 3
    kinds = {node.op_type for node in canonicalize(source.graph).graph}
    assert "Mul" not in kinds or "MatMul" in kinds  # only attention has a product of its own


def test_focus_and_colours_are_one_convolution(tmp_path: Path) -> None:
    source = load(tmp_path, foreign.yolox())
    assert source.spec.input.color == "RGB"
    assert source.spec.input.scale == (1 / 255,) * 3
    assert (source.spec.input.pad_position, source.spec.input.pad_value) == ("top_left", 114)
    graph = canonicalize(source.graph).graph
    (first,) = [use.node for use in graph.inputs[0].uses()]
    assert first.op_type == "Conv"
    assert first.attributes.get_ints("kernel_shape") == (6, 6)
    assert first.attributes.get_ints("strides") == (2, 2)
    assert not any(node.op_type == "Slice" and node is first for node in graph)


@pytest.mark.parametrize("size", [(32, 32), (128, 64), (64, 160)])
@pytest.mark.parametrize(
    "model",
    [foreign.yolov5(), foreign.yolov5(seed=1), foreign.yolov8(), foreign.yolox()],
    ids=["v5", "focus", "v8", "x"],
)
def test_other_sizes(model: onnx.ModelProto, size: tuple[int, int], tmp_path: Path) -> None:
    # that the raw heads are those of the file's own operators at that size is checked by the importer
    source = load(tmp_path, model, size)
    assert (source.spec.input.width, source.spec.input.height) == size
    rows = [value.shape for value in canonicalize(source.graph).graph.outputs]
    assert {tuple(shape)[2:] for shape in rows if shape} == {(size[1] // s, size[0] // s) for s in (8, 16, 32)}


def test_attention_has_the_size_that_it_was_exported_for(tmp_path: Path) -> None:
    # the file has it written into it, so nothing could be compared with
    with pytest.raises(InputError, match=r"foreign\.onnx: does not run at 128x64"):
        load(tmp_path, foreign.yolov8(attention=True), (128, 64))


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"size 70x64: foreign.onnx needs multiples of 32, such as 64 or 96"):
        load(tmp_path, foreign.yolov8(), (70, 64))
    with pytest.raises(InputError, match=r"expected 1\.\.2048 pixels"):
        load(tmp_path, foreign.yolov8(), (4096, 64))


def test_dynamic_sizes(tmp_path: Path) -> None:
    model = foreign.yolov8(form="raw")
    del model.graph.value_info[:]
    sides = model.graph.input[0].type.tensor_type.shape.dim
    for name, side in zip(("batch", "", "height", "width"), sides, strict=True):
        if name:
            side.Clear()
            side.dim_param = name
    flat = foreign.yolov8(form="raw")
    with pytest.raises(InputError, match="its input has no fixed size; say one with --size"):
        load(tmp_path, model)
    dynamic, fixed = load(tmp_path, model, (64, 96)), load(tmp_path, flat)
    assert (dynamic.spec.heads, dynamic.spec.input) == (fixed.spec.heads, fixed.spec.input)
    helper.set_model_props(model, {"imgsz": "[96, 64]"})
    assert load(tmp_path, model).spec.input.height == 96


def test_metadata_is_read_and_checked(tmp_path: Path) -> None:
    good = load(tmp_path, foreign.yolov8(names="{0: 'cat', 1: 'dog', 2: 'bird'}", stride="32", license="MIT"))
    assert good.spec.names == ("cat", "dog", "bird")
    assert good.spec.provenance.licence == "MIT"
    assert good.notes == ()
    for names in ("{0: 'cat'}", "['a', 'b', 'c', 'd']", "{0: 1, 1: 2, 2: 3}"):
        source = load(tmp_path, foreign.yolov8(names=names, stride="64"))
        assert source.spec.names == ("class_0", "class_1", "class_2")
        assert any("class names for 3 classes: not used" in note for note in source.notes)
        assert any("the file says stride 64" in note for note in source.notes)
    wrong = load(tmp_path, foreign.yolov8(imgsz="[640, 640]"))
    assert any("the file says imgsz 640x640, its input is 96x64" in note for note in wrong.notes)
    assert load(tmp_path, foreign.yolov8(names="__import__('os').system('x')")).spec.names_from == "none"


def test_weights_listed_as_inputs(tmp_path: Path) -> None:
    model = foreign.yolov5()
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert len(load(tmp_path, model).spec.heads) == 3


def test_raw_anchors_are_never_guessed(tmp_path: Path) -> None:
    model = foreign.yolov5(form="raw")
    with pytest.raises(InputError, match=r"ends at raw heads with anchors, .* say it with --spec FILE.*16 channels"):
        load(tmp_path, model)
    values = [node.input[0] for node in model.graph.node if node.op_type == "Reshape"]
    heads = tuple(
        Head("yolov5", stride, {"map": name}, tuple((float(w), float(h)) for w, h in level), scale_xy=2)
        for stride, name, level in zip(STRIDES, values, foreign.ANCHORS, strict=True)
    )
    spec = ModelSpec(InputSpec(64, 96, resize="letterbox", pad_value=114), heads, ("a", "b", "c"))
    source = load(tmp_path, model, spec=spec)
    decoded = load(tmp_path, foreign.yolov5())
    assert [head.anchors for head in source.spec.heads] == [head.anchors for head in decoded.spec.heads]
    wrong = ModelSpec(InputSpec(64, 96), (Head("yolov5", 8, {"map": "nothing"}, ((1, 1),)),), ("a",))
    with pytest.raises(InputError, match=r"spec\.heads\[0\]\.tensors\.map: .*foreign\.onnx has no value 'nothing'"):
        load(tmp_path, model, spec=wrong)
    with pytest.raises(InputError, match=r"spec: the input is 32x32, that of .* 64x96"):
        load(tmp_path, model, spec=ModelSpec(InputSpec(32, 32), heads, ("a", "b", "c")))


def test_specs_that_leave_something_out_or_contradict_the_file(tmp_path: Path) -> None:
    model = foreign.yolov5()
    found = load(tmp_path, model)
    names = [node.input[0] for node in model.graph.node if node.op_type == "Reshape"][::2]
    heads = tuple(
        Head("yolov5", head.stride, {"map": name}, head.anchors, scale_xy=2)
        for head, name in zip(found.spec.heads, names, strict=True)
    )
    spec = ModelSpec(InputSpec(64, 96), heads, ("a", "b", "c"))
    assert load(tmp_path, model, spec=spec, where="my.json").notes == ()
    with pytest.raises(InputError, match=r"my\.json\.heads: the outputs of .* depend on heads that are not listed: v"):
        load(tmp_path, model, spec=dataclasses.replace(spec, heads=heads[:2]), where="my.json")
    other = (dataclasses.replace(heads[0], anchors=((1, 1), (2, 2))), *heads[1:])
    with pytest.raises(InputError, match=r"my\.json\.heads: .* itself decodes \('yolov5', 8, .*the spec says"):
        load(tmp_path, model, spec=dataclasses.replace(spec, heads=other), where="my.json")
    with pytest.raises(
        InputError, match=r"my\.json\.heads\[0\]\.tensors: output 'v.*' should be .* with 2 anchors and 1 classes"
    ):
        load(tmp_path, model, spec=dataclasses.replace(spec, names=("a",)), where="my.json")


def test_quantized_files_are_taken_back_to_float(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(foreign.yolov8(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", weight_type=QuantType.QUInt8)
    source = import_onnx(tmp_path / "dynamic.onnx")
    assert "taken back to float" in source.notes[0]
    exact = import_onnx(tmp_path / "float.onnx")
    pixels = np.random.default_rng(0).random((1, 3, 96, 64), dtype=np.float32)
    for a, b in zip(run(exact, pixels), run(source, pixels), strict=True):
        assert np.abs(a - b).max() < 0.2 * np.abs(a).max()


def test_qdq_files_are_taken_back_to_float(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{"picture": np.random.default_rng(i).random((1, 3, 96, 64), np.float32)} for i in range(2)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    onnx.save(foreign.yolov5(13), tmp_path / "float.onnx")
    quantize_static(tmp_path / "float.onnx", tmp_path / "qdq.onnx", Reader(), quant_format=QuantFormat.QDQ)
    source = import_onnx(tmp_path / "qdq.onnx")
    assert "taken back to float" in source.notes[0]
    exact = import_onnx(tmp_path / "float.onnx")
    for head, other in zip(source.spec.heads, exact.spec.heads, strict=True):
        # the file has its anchors in 8 bits
        assert np.array(head.anchors) == pytest.approx(np.array(other.anchors), rel=0.01)
    pixels = np.random.default_rng(0).random((1, 3, 96, 64), dtype=np.float32)
    for a, b in zip(run(exact, pixels), run(source, pixels), strict=True):
        assert np.abs(a - b).max() < 0.2 * np.abs(a).max()


def run(source: SourceModel, pixels: np.ndarray) -> list[np.ndarray]:
    session = new_session(ir.to_proto(source.graph).SerializeToString())
    return list(session.run(None, {"images": pixels}))


def with_external_data(folder: Path, location: str, **entries: str) -> Path:
    model = foreign.yolov8()
    tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    data = tensor.raw_data
    (folder / "weights.bin").write_bytes(b"\0" * 64 + data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "64", "length": str(len(data)), **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "external.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    source = import_onnx(with_external_data(tmp_path, "weights.bin"))
    inside = load(tmp_path, foreign.yolov8())
    pixels = np.random.default_rng(0).random((1, 3, 96, 64), dtype=np.float32)
    for a, b in zip(run(source, pixels), run(inside, pixels), strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(source.spec.provenance.sha256) == {"external.onnx", "weights.bin"}


@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "", "link.bin", "a\0b"])
def test_external_data_outside(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InputError, match="expected a file in the folder of the model"):
        import_onnx(with_external_data(folder, location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "-1"}, "bytes -1 to"),
        ({"offset": "x"}, "offset and length are whole numbers"),
        ({"length": "99999999"}, "bytes 64 to 100000063 of weights.bin"),
        ({"location": "nothing.bin"}, "nothing.bin: no such file"),
    ],
)
def test_damaged_external_data(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        import_onnx(with_external_data(tmp_path, **{"location": "weights.bin", **entries}))


def test_not_detectors(tmp_path: Path) -> None:
    w = OnnxWriter(17, np.random.default_rng(0))
    x = w.activation(w.conv("picture", 3, 8, 3, 2), "relu")
    flat = w.op("Flatten", w.op("GlobalAveragePool", x))
    with pytest.raises(InputError, match="not a detector of a family that is known"):
        load(tmp_path, w.model([w.op("MatMul", flat, w.array(np.ones((8, 10))))]))
    w = OnnxWriter(17, np.random.default_rng(0))
    with pytest.raises(InputError, match="no convolution leads to its outputs"):
        load(tmp_path, w.model([w.op("Relu", "picture")]))
    model = foreign.yolov5()
    model.opset_import[0].version = 9
    with pytest.raises(InputError, match="opset 9; 11 to"):
        load(tmp_path, model)


def test_other_decoders_are_not_taken_for_known_ones(tmp_path: Path) -> None:
    # a YOLOv5 whose boxes are a tenth larger than its formulas say
    model = foreign.yolov5()
    (place, *_) = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 5]
    place.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(place) * np.float32(1.1), place.name))
    with pytest.raises(InputError, match="not a detector of a family that is known"):
        load(tmp_path, model)
