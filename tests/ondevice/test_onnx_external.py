import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from yolo_edge.ondevice.runtimes.onnx_external import has_external_data


def tensor(external: bool) -> TensorProto:
    if not external:
        return numpy_helper.from_array(np.arange(300, dtype=np.float32), "w")
    result = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[300], data_location=TensorProto.EXTERNAL)
    entry = result.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return result


def model(place: str, external: bool) -> bytes:
    """A model with one tensor somewhere."""
    value = tensor(external)
    nodes, initializers, functions, sparse = [], [], [], []
    if place == "initializer":
        initializers = [value]
    elif place == "constant":
        nodes = [helper.make_node("Constant", [], ["w"], value=value)]
    elif place == "subgraph":
        inner = helper.make_graph([helper.make_node("Constant", [], ["v"], value=value)], "inner", [], [])
        nodes = [helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)]
    elif place == "function":
        body = [helper.make_node("Constant", [], ["w"], value=value)]
        functions = [helper.make_function("d", "F", [], ["w"], body, [helper.make_opsetid("", 17)])]
    else:
        indices = numpy_helper.from_array(np.arange(300), "i")
        sparse = [helper.make_sparse_tensor(value, indices, [300])]
    graph = helper.make_graph(nodes, "g", [], [], initializers, sparse_initializer=sparse)
    return helper.make_model(graph, functions=functions).SerializeToString()


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph", "function", "sparse"])
@pytest.mark.parametrize("external", [False, True])
def test_wherever_the_tensor_is(place: str, external: bool) -> None:
    assert has_external_data(model(place, external)) is external


def test_an_exported_file_has_none(onnx_bytes: bytes) -> None:
    assert not has_external_data(onnx_bytes)
    loaded = onnx.load_from_string(onnx_bytes)
    loaded.graph.initializer[-1].CopyFrom(tensor(True))
    assert has_external_data(loaded.SerializeToString())


@given(data=st.binary(max_size=200), cut=st.integers(0, 300))
@settings(max_examples=300)
def test_any_bytes_are_walked_or_refused(data: bytes, cut: int) -> None:
    for candidate in (data, model("subgraph", True)[:cut] + data):
        try:
            assert has_external_data(candidate) in (False, True)
        except ValueError:
            continue
