"""Canonical graph + spec → the bytes of an ONNX file.

fp16 files keep the weights of convolutions as float16 behind a Cast, which onnxruntime folds when it loads: half the
size, float32 arithmetic, float32 inputs and outputs.
"""

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from yolo_edge._version import __version__
from yolo_edge.export.canonical import check_canonical
from yolo_edge.export.graph import IR_VERSION, Graph, constant_of
from yolo_edge.export.rounding import FLOAT16_MAX, to_float16
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import METADATA_KEY, ModelSpec

PRECISIONS = ("fp32", "fp16")
TOOL = f"yolo-edge {__version__}"


def write_onnx(graph: Graph, spec: ModelSpec, precision: str = "fp32") -> bytes:
    """Lower a canonical graph to ONNX. The same graph and spec give the same bytes.

    Args:
        graph: In canonical form; not changed.
        spec: Goes into the file, with the precision and this program's name filled in.
        precision: "fp32" or "fp16".

    Raises:
        NotCanonicalError: The graph is not in canonical form.
        InputError: An unknown precision, or a network too large for one ONNX file.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: ONNX is written as {' or '.join(PRECISIONS)}")
    check_canonical(graph)
    model = graph.clone()
    common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    model.graph.opset_imports.pop("yolo_edge", None)
    if precision == "fp16":
        _store_weights_as_float16(model)
    _forget_inner_shapes(model)
    model.producer_name, model.producer_version = "yolo-edge", __version__
    spec = dataclasses.replace(spec, precision=precision, provenance=dataclasses.replace(spec.provenance, tool=TOOL))
    model.metadata_props[METADATA_KEY] = spec.to_json()
    proto = ir.to_proto(model)
    proto.ir_version = IR_VERSION
    data: bytes = proto.SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    return data


def _store_weights_as_float16(model: ir.Model) -> None:
    graph = model.graph
    for node in list(graph):
        if node.op_type != "Conv":
            continue
        weight = node.inputs[1]
        array = constant_of(weight)
        if weight is None or array is None or np.abs(array).max(initial=0) > FLOAT16_MAX:
            continue  # what float16 cannot hold stays float32
        name = weight.name
        half = ir.Value(
            name=f"{name}.h",
            const_value=ir.tensor(to_float16(array), name=f"{name}.h"),
        )
        graph.register_initializer(half)
        cast = ir.node("Cast", [half], {"to": ir.DataType.FLOAT.value}, num_outputs=1)
        graph.initializers.pop(str(name))
        cast.outputs[0].name = name
        node.replace_input_with(1, cast.outputs[0])
        graph.insert_before(node, cast)


def _forget_inner_shapes(model: ir.Model) -> None:
    """Leave out what shape inference finds again: up to a fifth of a small file."""
    outputs = {id(value) for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            if id(value) not in outputs:
                value.shape, value.type = None, None
