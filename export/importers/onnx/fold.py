"""From a model as it was exported to a network without shape arithmetic: fixed sizes, constants computed."""

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from yolo_edge.export.importers.onnx.network import OnnxNetwork, Shape, attribute, inputs_of, integer
from yolo_edge.export.importers.size import MAX_SIDE
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line, printable

_MAX_NODES = 20_000
_MAX_ELEMENTS = 1 << 28  # of a constant
_MAX_COMPUTED = 1 << 24  # of a constant that is computed
# of looking for shapes: exports that were not simplified need two for each Reshape behind another, as ShuffleNets have
_MIN_ROUNDS, _MAX_ROUNDS, _MAX_LOOKS = 12, 200, 200_000
_BIG = 4096  # elements of a constant that shape inference need not see
# whose outputs may be much larger than their inputs
_GROWING = frozenset({"ConstantOfShape", "EyeLike", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def fold(model: ModelProto, path: str, size: tuple[int, int] | None = None) -> OnnxNetwork:
    """Fix batch and size, then compute whatever does not depend on the picture.

    Args:
        model: As it was read.
        path: Of the file, for error messages.
        size: Input (width, height); None: the model's own.

    Raises:
        InputError: Not one image input, a size that is not fixed, or a damaged graph.
    """
    network = _start(model, path)
    network.shapes[network.input] = _input_shape(model, network, size)
    for _ in range(min(max(_MAX_LOOKS // len(model.graph.node), _MIN_ROUNDS), _MAX_ROUNDS)):
        infer_shapes(network)
        if not _fold_once(network):
            break
    network.nodes = network.needed_for(network.outputs)
    used = {name for node in network.nodes for name in inputs_of(node)} | set(network.outputs)
    network.constants = {name: array for name, array in network.constants.items() if name in used}
    return network


def _start(model: ModelProto, path: str) -> OnnxNetwork:
    graph = model.graph
    if len(graph.node) > _MAX_NODES:
        raise InputError(f"{path}: {len(graph.node)} nodes, more than the {_MAX_NODES} that a detector may have")
    constants = {}
    for tensor in graph.initializer:
        constants[tensor.name] = _array(tensor, path)
    inputs = [value for value in graph.input if value.name not in constants]  # old exporters list weights as inputs
    images = [value for value in inputs if len(value.type.tensor_type.shape.dim) == 4]
    if len(inputs) != 1 or len(images) != 1:
        names = ", ".join(printable(value.name)[:40] for value in inputs[:5]) or "none"
        remedy = "; export it without the others, or cut it off before they are read (onnx.utils.extract_model)"
        raise InputError(
            f"{path}: expected one input, a picture [1, 3, height, width]; its inputs are: {names}"
            + (remedy if len(images) == 1 else "")
        )
    if images[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(images[0].type.tensor_type.elem_type)
        raise InputError(f"{path}: its input is {kind}; export the model with a FLOAT input (--input float32)")
    nodes = []
    for node in graph.node:
        if node.output:
            nodes.append(NodeProto())
            nodes[-1].CopyFrom(node)  # changed further on; the model stays as it is
    opsets = {item.domain: item.version for item in model.opset_import}
    network = OnnxNetwork(
        path,
        opsets.get("", opsets.get("ai.onnx", 0)),
        images[0].name,
        [value.name for value in graph.output],
        nodes,
        constants,
        {},
        set(),
        opsets,
    )
    for node in nodes:
        _check_node(network, node)
    network.nodes = _in_order(network)
    return network


def _check_node(network: OnnxNetwork, node: NodeProto) -> None:
    """Check what ONNX says of an operator: how many inputs and outputs, and the types of its attributes."""
    if node.domain not in ("", "ai.onnx"):
        return  # what it is, is asked when it is met
    try:
        schema = onnx.defs.get_schema(node.op_type, network.opset, "")
    except Exception as error:  # an error of the C++ part
        raise InputError(f"{network.where(node)}: no operator of opset {network.opset}") from error
    for what, given, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= given <= most:
            raise InputError(f"{network.where(node)}: {given} {what}; the file is damaged")
    if not all(node.input[: schema.min_input]):
        raise InputError(f"{network.where(node)}: an input is missing; the file is damaged")
    for item in node.attribute:
        wanted = schema.attributes.get(item.name)
        if wanted is None or wanted.type.value != item.type:  # type: ignore[attr-defined]  # an enum of the C++ part
            name = printable(item.name)[:40]
            raise InputError(f"{network.where(node)}: attribute {name!r} is not one of it, or of another type")


def _array(tensor: TensorProto, path: str) -> np.ndarray:
    count = int(np.prod([max(side, 0) for side in tensor.dims], dtype=object)) if tensor.dims else 1
    if count > _MAX_ELEMENTS or any(side < 0 for side in tensor.dims):
        raise InputError(f"{path}: tensor {printable(tensor.name)[:80]!r} has the shape {list(tensor.dims)}")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # whatever a damaged tensor brings about
        name = printable(tensor.name)[:80]
        raise InputError(f"{path}: tensor {name!r} is damaged ({type(error).__name__})") from error


def _in_order(network: OnnxNetwork) -> list[NodeProto]:
    """Nodes in an order that they can be computed in.

    Raises:
        InputError: There is none: a cycle, or a value that nothing computes.
    """
    known = {network.input, *network.constants, ""}
    if len({name for node in network.nodes for name in node.output if name}) < sum(
        1 for node in network.nodes for name in node.output if name
    ):
        raise InputError(f"{network.path}: two nodes compute values of one name; the file is damaged")
    missing = {id(node): {name for name in inputs_of(node) if name not in known} for node in network.nodes}
    waiting: dict[str, list[NodeProto]] = {}
    for node in network.nodes:
        for name in missing[id(node)]:
            waiting.setdefault(name, []).append(node)
    ready = [node for node in network.nodes if not missing[id(node)]]
    ordered = []
    for node in ready:  # grows while it is gone through
        ordered.append(node)
        for name in node.output:
            for reader in waiting.pop(name, []):
                missing[id(reader)].discard(name)
                if not missing[id(reader)]:
                    ready.append(reader)
    if len(ordered) < len(network.nodes):
        done = {id(node) for node in ordered}
        stuck = next(node for node in network.nodes if id(node) not in done)
        name = printable(sorted(missing[id(stuck)])[0])[:80]
        raise InputError(f"{network.where(stuck)}: nothing computes its input {name!r}, or it depends on itself")
    computed = {name for node in ordered for name in node.output} | known
    for name in network.outputs:
        if name not in computed:
            raise InputError(f"{network.path}: nothing computes the output {printable(name)[:80]!r}")
    return ordered


def _input_shape(model: ModelProto, network: OnnxNetwork, size: tuple[int, int] | None) -> Shape:
    value = next(value for value in model.graph.input if value.name == network.input)
    sides = [item.dim_value if item.HasField("dim_value") else 0 for item in value.type.tensor_type.shape.dim]
    if sides[1] not in (0, 3):
        layout = "; models with channels last are not read" if sides[3] == 3 else ""
        raise InputError(f"{network.path}: its input is {sides}: expected [1, 3, height, width]{layout}")
    if sides[0] not in (0, 1):
        raise InputError(f"{network.path}: batch {sides[0]}; export the model with batch 1")
    width, height = size or (sides[3], sides[2])
    if not (width > 0 and height > 0):
        raise InputError(f"{network.path}: its input has no fixed size; say one with --size, such as --size 640")
    for side in (width, height):
        if side > MAX_SIDE:
            raise InputError(f"{network.path}: size {width}x{height}: expected 1..{MAX_SIDE} pixels a side")
    return 1, 3, height, width


def infer_shapes(network: OnnxNetwork) -> None:
    """Let onnx infer shapes; weights are shown to it by their shape only.

    Raises:
        InputError: They contradict each other.
    """
    small = {name: array for name, array in network.constants.items() if array.size <= _BIG}
    inputs = [helper.make_tensor_value_info(network.input, TensorProto.FLOAT, network.shapes[network.input])]
    for name, array in network.constants.items():
        if name not in small:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
    outputs = [helper.make_empty_tensor_value_info(name) for name in network.outputs]
    initializers = [numpy_helper.from_array(array, name) for name, array in small.items()]
    graph = helper.make_graph(network.nodes, "shapes", inputs, outputs, initializers)
    imports = [helper.make_opsetid(domain, version) for domain, version in network.opsets.items()]
    try:
        model = helper.make_model(graph, opset_imports=imports)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # the C++ part raises types of its own
        raise InputError(f"{network.path}: its shapes contradict each other ({first_line(error)})") from error
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        tensor = value.type.tensor_type
        sides = [item.dim_value if item.HasField("dim_value") else 0 for item in tensor.shape.dim]
        if tensor.HasField("shape") and all(side > 0 for side in sides):
            network.shapes[value.name] = tuple(sides)
            if tensor.elem_type == TensorProto.FLOAT:
                network.floats.add(value.name)
    for name, array in network.constants.items():
        network.shapes[name] = array.shape


def _fold_once(network: OnnxNetwork) -> bool:
    """Compute what can be computed; returns whether anything was."""
    kept: list[NodeProto] = []
    renamed: dict[str, str] = {}
    changed = False
    for node in network.nodes:
        for i, name in enumerate(node.input):
            if name in renamed:
                node.input[i] = renamed[name]
        if _passes_through(node, network):
            if node.output[0] in network.outputs:
                kept.append(node)
            else:
                renamed[node.output[0]] = node.input[0]
                changed = True
            continue
        arrays = _evaluate(network, node)
        if arrays is None:
            kept.append(node)
            continue
        changed = True
        for name, array in zip(node.output, arrays, strict=False):
            if name:
                network.constants[name] = array
                network.shapes[name] = array.shape
    network.nodes = kept
    return changed


def _passes_through(node: NodeProto, network: OnnxNetwork) -> bool:
    """Whether a node gives its input on as it is, at inference."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Dropout":
        return not (len(node.output) > 1 and node.output[1])
    if node.op_type == "Cast" and node.input[0] not in network.constants:
        # among the values of a network, those with a picture in them are float32
        return integer(node, "to", 0) == TensorProto.FLOAT and node.input[0] in network.floats
    return node.op_type == "Identity" and node.input[0] not in network.constants


def _evaluate(network: OnnxNetwork, node: NodeProto) -> list[np.ndarray] | None:
    """The outputs of a node that does not depend on the picture; None for any other."""
    if node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx"):
        shape = network.shapes.get(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Size":
            return [np.array(np.prod(shape), np.int64)]
        start, end = integer(node, "start", 0), integer(node, "end", len(shape))
        return [np.array(shape[start:end], np.int64)]
    if node.op_type == "Constant":
        return [_constant(network, node)]
    inputs = list(inputs_of(node))
    if not all(name in network.constants for name in inputs) or node.op_type in _RANDOM:
        return None
    if node.op_type == "DequantizeLinear":
        return [_dequantized(network, node)]
    if any(attribute.g.node or attribute.graphs for attribute in node.attribute):
        return None
    if node.op_type in _GROWING and _grown_size(network, node) > _MAX_COMPUTED:
        raise InputError(f"{network.where(node)}: computes a constant of more than {_MAX_COMPUTED} elements")
    values = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in dict.fromkeys(inputs)]
    outputs = [name for name in node.output if name]
    results = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    imports = [helper.make_opsetid(domain, version) for domain, version in network.opsets.items()]
    model = helper.make_model(helper.make_graph([node], "node", values, results), opset_imports=imports)
    feeds = {name: network.constants[name] for name in inputs}
    try:
        arrays = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # whatever a damaged node brings about
        raise InputError(f"{network.where(node)}: cannot be computed ({first_line(error, 160)})") from error
    found = iter(arrays)
    return [np.asarray(next(found)) if name else np.empty(0) for name in node.output]


def _constant(network: OnnxNetwork, node: NodeProto) -> np.ndarray:
    for name, kind in (("value", None), ("value_float", np.float32), ("value_int", np.int64)):
        value = attribute(node, name)
        if value is not None:
            return np.asarray(value) if kind is None else np.array(value, kind)
    for name, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
        value = attribute(node, name)
        if value is not None:
            return np.array(value, kind)
    raise InputError(f"{network.where(node)}: a constant without a value that is read here")


def _dequantized(network: OnnxNetwork, node: NodeProto) -> np.ndarray:
    """(x − zero-point) · scale, for all of it or along an axis."""
    arrays = [network.constants[name] if name else None for name in node.input]
    x, scale, zero = arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None
    if x is None or scale is None or integer(node, "block_size", 0):
        raise InputError(f"{network.where(node)}: this way of quantizing is not folded back; export the float model")
    sides = [1] * x.ndim
    if scale.size > 1:
        axis = integer(node, "axis", 1)
        if not -x.ndim <= axis < x.ndim or scale.size != x.shape[axis]:
            raise InputError(f"{network.where(node)}: {scale.size} scales for the shape {list(x.shape)}")
        sides[axis] = -1
    exact = x.astype(np.float64) - (0 if zero is None else zero.astype(np.float64).reshape(sides))
    return np.asarray(exact * scale.astype(np.float64).reshape(sides), np.float32)


def _grown_size(network: OnnxNetwork, node: NodeProto) -> int:
    arrays: list[Any] = [network.constants[name] if name else None for name in node.input]
    try:
        if node.op_type == "Range":
            start, limit, delta = (float(array) for array in arrays[:3])
            return int(abs(limit - start) / abs(delta)) + 1 if delta else _MAX_COMPUTED + 1
        if node.op_type == "ConstantOfShape":
            return int(np.prod(arrays[0].astype(object)))
        if node.op_type == "Expand":
            pairs = zip(_padded(arrays[0].shape, arrays[1]), _padded(arrays[1], arrays[0].shape), strict=True)
            return int(np.prod([max(pair) for pair in pairs], dtype=object))
        if node.op_type == "Tile":
            return int(arrays[0].size * np.prod(arrays[1].astype(object)))
    except (TypeError, ValueError, OverflowError):
        return _MAX_COMPUTED + 1
    shape = network.shapes.get(node.output[0])
    return int(np.prod(shape, dtype=object)) if shape is not None else _MAX_COMPUTED + 1


def _padded(shape: Any, other: Any) -> list[int]:
    sides = [int(side) for side in shape]
    return [1] * (len(other) - len(sides)) + sides
