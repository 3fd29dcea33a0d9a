"""Damaged and hostile ONNX files: an error of one line, or a model; never anything else."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.export import foreign
from yolo_edge.export import canonicalize
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.ondevice.errors import InputError

MAKERS = (foreign.yolov5, foreign.yolov8, foreign.yolox)


def attempt(path: Path) -> str:
    """Import a file; the error's text, or nothing."""
    message = ""
    try:
        canonicalize(import_onnx(path).graph)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert not message or str(path) in message
    return message


def cut_names(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    node.input[rng.randrange(len(node.input))] = rng.choice(["", "nothing", "\x1b[2J", "v3_0"])


def make_cycle(model: onnx.ModelProto, rng: random.Random) -> None:
    first, second = sorted(rng.sample(range(len(model.graph.node)), 2))
    model.graph.node[first].input[0] = model.graph.node[second].output[0]


def drop_initializer(model: onnx.ModelProto, rng: random.Random) -> None:
    del model.graph.initializer[rng.randrange(len(model.graph.initializer))]


def change_type(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_type = rng.choice([0, 1, 6, 7, 8, 9, 10, 11, 13, 16, 17, 22, 99])


def change_dims(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    sides = list(tensor.dims) or [1]
    sides[rng.randrange(len(sides))] = rng.choice([0, -1, 7, 1 << 20, 1 << 40, (1 << 63) - 1])
    del tensor.dims[:]
    tensor.dims.extend(sides)


def change_input(model: onnx.ModelProto, rng: random.Random) -> None:
    side = rng.choice(model.graph.input[0].type.tensor_type.shape.dim)
    side.dim_value = rng.choice([0, -5, 1, 2, 4, 100, 1 << 20, 1 << 40])


def change_operator(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    kinds = ["Relu", "Conv", "Loop", "If", "Expand", "Tile", "NonZero", "Evil", "Resize", "Split", ""]
    node.op_type = rng.choice(kinds)


def change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([node for node in model.graph.node if node.attribute])
    item = rng.choice(node.attribute)
    value: object = rng.choice([0, -1, 1 << 40, [0, 0], [-1] * 4, [1 << 40] * 2, "text", 1e30])
    item.CopyFrom(helper.make_attribute(item.name, value))


def fill_with_nan(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice([t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT])
    array = numpy_helper.to_array(tensor).copy()
    array[...] = rng.choice([np.nan, np.inf, 1e38])
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_outputs(model: onnx.ModelProto, rng: random.Random) -> None:
    model.graph.output[0].name = rng.choice(["", "nothing", "picture", rng.choice(model.graph.node).output[0]])


def change_domain(model: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(model.graph.node).domain = "evil"


MUTATIONS = (
    cut_names, make_cycle, drop_initializer, change_type, change_dims, change_input, change_operator,
    change_attribute, fill_with_nan, change_outputs, change_domain,
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_mutated(mutation: object, tmp_path: Path) -> None:
    rng = random.Random(mutation.__name__)  # type: ignore[attr-defined]  # noqa: S311 - a seed, no secret
    path = tmp_path / "model.onnx"
    refused = 0
    for i in range(15):
        model = MAKERS[i % 3](17)
        mutation(model, rng)  # type: ignore[operator]
        path.write_bytes(model.SerializeToString())
        refused += bool(attempt(path))
    assert refused >= 3


def test_cut_and_scrambled_bytes(tmp_path: Path) -> None:
    rng = random.Random(0)  # noqa: S311
    data = foreign.yolov8().SerializeToString()
    path = tmp_path / "model.onnx"
    refused = 0
    for i in range(60):
        if i % 2:
            changed = bytearray(data)
            for _ in range(rng.randint(1, 30)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        else:
            changed = bytearray(data[: rng.randrange(1, len(data))])
        path.write_bytes(bytes(changed))
        refused += bool(attempt(path))
    assert refused >= 30


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ConstantOfShape", [[1 << 20, 1 << 20]]),
        ("Expand", [np.float32([[1]]), [1 << 20, 1 << 20]]),
        ("Tile", [np.float32([[1]]), [1 << 20, 1 << 20]]),
        ("Range", [np.int64(0), np.int64(1 << 50), np.int64(1)]),
    ],
)
def test_constants_that_would_fill_the_memory(kind: str, inputs: list[object], tmp_path: Path) -> None:
    model = foreign.yolov5()
    names = []
    for i, value in enumerate(inputs):
        array = np.array(value) if not isinstance(value, list) else np.array(value, np.int64)
        model.graph.initializer.append(numpy_helper.from_array(array, f"bomb{i}"))
        names.append(f"bomb{i}")
    model.graph.node.insert(0, helper.make_node(kind, names, ["boom"]))
    last = model.graph.output[0].name
    shape = helper.make_node("Shape", ["boom"], ["size"])
    model.graph.node.extend([shape, helper.make_node("Reshape", [last, "size"], ["end"])])
    model.graph.output[0].name = "end"
    path = tmp_path / "bomb.onnx"
    path.write_bytes(model.SerializeToString())
    error = attempt(path)
    assert "computes a constant of more than" in error or "contradict" in error


def test_what_is_no_file(tmp_path: Path) -> None:
    no_model = "not an ONNX file"
    for data, message in ((b"", "the file is empty"), (b"hello", no_model), (b"\x08\x07", no_model)):
        path = tmp_path / "a.onnx"
        path.write_bytes(data)
        assert message in attempt(path)
    assert "no such file" in attempt(tmp_path / "nothing.onnx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04 and more", "looks like a zip archive"),
        (b"\x1c\0\0\0TFL3\0\0\0\0", "looks like a TFLite file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "looks like a Git LFS pointer"),
        (b"some words", "its first bytes are not those of one"),
        (b"\0" * 1000, "its first bytes are not those of one"),
        (b"\x08\x07" + b"\xff" * 100, "begins like one and is damaged"),
        (b"\x08\x07\x0f", "begins like one and is damaged"),
    ],
)
def test_what_a_broken_file_is_said_to_be(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(data)
    assert f"{path}: not an ONNX file (it" in attempt(path)
    assert message in attempt(path)


@pytest.mark.parametrize("lost", [1, 1000])
def test_a_download_that_was_cut_short(tmp_path: Path, lost: int) -> None:
    model = foreign.yolov8()
    del model.metadata_props[:], model.opset_import[:]  # so that the graph stands last
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString()[:-lost])
    assert f"cut short by {lost} bytes or more: copy or download it again" in attempt(path)


def test_inputs_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    for shape, message in (
        ([1, 96, 64, 3], "channels last"),
        ([4, 3, 96, 64], "batch 4"),
        ([1, 1, 96, 64], "expected [1, 3, height, width]"),
    ):
        model = foreign.yolov5()
        for side, value in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
            side.dim_value = value
        path.write_bytes(model.SerializeToString())
        assert message in attempt(path)
    model = foreign.yolov5()
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 2]))
    path.write_bytes(model.SerializeToString())
    assert "expected one input" in attempt(path)
    model = foreign.yolov5()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path.write_bytes(model.SerializeToString())
    assert "its input is UINT8" in attempt(path)
