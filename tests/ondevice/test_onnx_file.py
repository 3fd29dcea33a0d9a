"""What an ONNX file says of itself, read without a package for it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from yolo_edge.ondevice.runtimes.onnx_file import read_signature

NAMES = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}


def assert_as_onnx_has_it(data: bytes) -> None:
    model, found = onnx.load_from_string(data), read_signature(data)
    weights = {tensor.name for tensor in model.graph.initializer}
    for values, tensors in ((model.graph.input, found.inputs), (model.graph.output, found.outputs)):
        expected = [
            (
                value.name,
                NAMES[value.type.tensor_type.elem_type],
                tuple(side.dim_value or -1 for side in value.type.tensor_type.shape.dim),
            )
            for value in values
            if value.name not in weights
        ]
        assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors] == expected
    assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert found.operators == {node.op_type for node in model.graph.node}


def test_a_file_of_ours(onnx_bytes: bytes) -> None:
    assert_as_onnx_has_it(onnx_bytes)


def test_released_files(assets: Path) -> None:
    # nanodet is of IR version 6, and lists its weights among the inputs
    for name in ("nanodet_m_416", "FastestDet", "yolox_nano", "yolov5n", "yolov8n_int8_dynamic"):
        assert_as_onnx_has_it((assets / f"onnx/{name}.onnx").read_bytes())


@given(
    shape=st.lists(st.one_of(st.integers(1, 1 << 30), st.just("N")), max_size=5),
    kind=st.sampled_from(sorted(NAMES)),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=300), max_size=3),
)
@settings(max_examples=50)
def test_any_signature(shape: list[int | str], kind: int, metadata: dict[str, str]) -> None:
    values = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph)
    helper.set_model_props(model, metadata)
    assert_as_onnx_has_it(model.SerializeToString())


@given(data=st.binary(max_size=200), at=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=200)
def test_damage_is_told(onnx_bytes: bytes, data: bytes, at: int, value: int) -> None:
    damaged = bytearray(onnx_bytes)
    damaged[at % len(damaged)] = value
    for candidate in (data, onnx_bytes[: at % len(onnx_bytes)] + data, bytes(damaged)):
        try:
            read_signature(candidate)
        except ValueError:
            continue


def test_what_is_no_model() -> None:
    for data in (b"", b"\x00", np.random.default_rng(0).bytes(100)):
        with pytest.raises(ValueError, match=r"it has no graph|wire type|does not end|longer than"):
            read_signature(data)
