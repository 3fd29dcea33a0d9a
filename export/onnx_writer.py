"""Canonical graph, or one with a plan, + spec → the bytes of an ONNX file.

fp16 files keep the weights of convolutions as float16 behind a Cast, which onnxruntime folds when it loads: half the
size, float32 arithmetic, float32 inputs and outputs. int8-weights keeps them as int8 behind a Cast and a Mul with a
scale an output channel, a quarter of the size; a DequantizeLinear would be computed anew at each inference.
"""

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from yolo_edge._version import __version__
from yolo_edge.export.canonical import check_canonical
from yolo_edge.export.channels import CHANNELS_KEY, channels_to_json
from yolo_edge.export.functions import FUNCTION_DOMAIN
from yolo_edge.export.graph import INPUT_NAME, IR_VERSION, Graph, add_constant, constant_of, drop_unused_constants
from yolo_edge.export.onnx_align import align_channels
from yolo_edge.export.onnx_blocks import gather_blocks
from yolo_edge.export.onnx_heads import append_head
from yolo_edge.export.onnx_input import accept_pixels
from yolo_edge.export.onnx_int8 import accept_int8, accept_pixels_as_integers, describe_integers, quantize_onnx
from yolo_edge.export.onnx_leaky import sum_leaky_relus
from yolo_edge.export.options import FileOptions
from yolo_edge.export.provenance import written
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.rounding import as_float16, as_int8
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.spec import METADATA_KEY, ModelSpec


def write_onnx(network: Graph | QuantizedGraph, spec: ModelSpec, options: FileOptions | str = "fp32") -> bytes:
    """Lower a network to ONNX. The same network and spec give the same bytes.

    Args:
        network: A graph in canonical form, or for int8 one with a plan put to it; not changed.
        spec: Goes into the file, with the precision and this program's name filled in.
        options: What the file shall be, or just its precision.

    Raises:
        NotCanonicalError: The graph is not in canonical form.
        InputError: An unknown option, or a network that cannot have it.
        ValueError: A graph without a plan for int8, or with one for another precision.
    """
    if isinstance(options, str):
        options = FileOptions(options)
    options.check()
    options = options.resolved("onnx")
    if isinstance(network, QuantizedGraph) != (options.precision == "int8"):
        raise ValueError(
            f"precision {options.precision} goes {'with' if options.precision == 'int8' else 'without'} a plan"
        )
    if isinstance(network, QuantizedGraph):
        check_canonical(network.graph)
        model, spec = _quantized(network, spec, options)
    else:
        check_canonical(network)
        model = network.clone()
        if options.input == "uint8":
            spec = accept_pixels(model, spec)
    if options.head != "raw":
        spec = append_head(model, spec, options.head, options.nms)
    common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if options.precision != "int8":  # onnxruntime's precise kernels for x86 do not load files that share zero-points
        common.DeduplicateInitializersPass()(model)
    model.graph.opset_imports.pop(FUNCTION_DOMAIN, None)
    if options.precision in _STORED:
        _store_weights(model, options.precision)
    _forget_inner_shapes(model)
    model.producer_name, model.producer_version = "yolo-edge", __version__
    model.metadata_props[METADATA_KEY] = written(spec, options.precision).to_json()
    proto = ir.to_proto(model)
    proto.ir_version = IR_VERSION
    data: bytes = proto.SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    return data


def _quantized(network: QuantizedGraph, spec: ModelSpec, options: FileOptions) -> tuple[Graph, ModelSpec]:
    model = quantize_onnx(network, integers=options.output_type == "int8")
    if options.output_type == "int8":
        narrow = [value.name or "" for value in model.graph.outputs if value.dtype == ir.DataType.INT8]
        spec = describe_integers(network, spec, narrow)
    if options.input == "int8":
        if INPUT_NAME not in network.plan.tensors:
            raise InputError("input 'int8': the plan lets the first layers compute in float; use uint8 or float32")
        spec = accept_int8(model, network, spec)
    elif options.input == "uint8":
        spec = accept_pixels_as_integers(model, network, spec) or accept_pixels(model, spec)
    sum_leaky_relus(model)
    gather_blocks(model)
    filled = align_channels(model)
    if filled:
        model.metadata_props[CHANNELS_KEY] = channels_to_json(filled)
    return model, spec


def _store_weights(model: ir.Model, precision: str) -> None:
    graph, store = model.graph, _STORED[precision]
    convolutions: dict[ir.Value, list[ir.Node]] = {}  # equal weights are one initializer by now
    for node in graph:
        if node.op_type == "Conv" and node.inputs[1] is not None:
            convolutions.setdefault(node.inputs[1], []).append(node)
    for weight, nodes in convolutions.items():
        array = constant_of(weight)
        chain = [] if array is None else store(graph, weight.name or "weights", array)
        if not chain:
            continue
        graph.insert_before(nodes[0], chain)
        for node in nodes:
            node.replace_input_with(1, chain[-1].outputs[0])
    drop_unused_constants(graph)


def _as_float16(graph: ir.Graph, name: str, array: np.ndarray) -> list[ir.Node]:
    """The operators that make float32 of weights kept as float16; none where they must stay as they are."""
    rounded = as_float16(array)
    return [] if rounded is None else [_widened(graph, name, "h", rounded, f"{name}.f")]


def _as_int8(graph: ir.Graph, name: str, array: np.ndarray) -> list[ir.Node]:
    """The same for int8."""
    integers, scale = as_int8(array)
    cast = _widened(graph, name, "q", integers, f"{name}.steps")
    factor = add_constant(graph, f"{name}.scale", scale.reshape(-1, *[1] * (array.ndim - 1)))
    product = ir.node("Mul", [cast.outputs[0], factor])
    product.outputs[0].name = f"{name}.f"
    return [cast, product]


def _widened(graph: ir.Graph, name: str, suffix: str, array: np.ndarray, result: str) -> ir.Node:
    cast = ir.node("Cast", [add_constant(graph, f"{name}.{suffix}", array)], {"to": ir.DataType.FLOAT.value})
    cast.outputs[0].name = result
    return cast


_STORED = {"fp16": _as_float16, "int8-weights": _as_int8}


def _forget_inner_shapes(model: ir.Model) -> None:
    """Leave out what shape inference finds again: up to a fifth of a small file."""
    outputs = {id(value) for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            if id(value) not in outputs:
                value.shape, value.type = None, None
