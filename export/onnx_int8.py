"""A plan as QuantizeLinear and DequantizeLinear in an ONNX graph: uint8 activations, int8 weights.

Every tensor that int8 nodes touch goes through a pair of both. onnxruntime makes one integer operator of an operator
between such pairs; an activation behind a convolution needs a pair of its own, or it stays float
(0.59 times the speed was measured so).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import INPUT_NAME, Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.qdq import dequantize, dequantizer_of, remove_unread
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.quantization.plan import LOWEST, TensorPlan
from yolo_edge.export.quantization.structure import clip_bounds, name_of
from yolo_edge.ondevice.spec import ModelSpec, TensorQuantization

_EXACT = 1e-6
_WEIGHED = {"Conv", "ConvTranspose", "Gemm"}
UNSIGNED = 128  # q + 128 is what the files hold


def quantize_onnx(quantized: QuantizedGraph, integers: bool = False, keep_floats: bool = True) -> Graph:
    """The network as a QDQ model with a float32 input; a copy.

    Args:
        quantized: The network and its plan.
        integers: Raw heads are int8, as the plan has them, instead of float32; what float nodes give stays float32.
        keep_floats: Whether onnxruntime is kept from rounding float convolutions; without, each tensor has one pair.
    """
    model = quantized.graph.clone()
    lowering = _Lowering(model, quantized)
    for node in list(model.graph):
        if quantized.structure.is_int8(node):
            lowering.quantize(node)
    if keep_floats:
        lowering.keep_floats()
    if integers:
        lowering.narrow_heads()
    else:
        lowering.restore_heads()
    drop_unused_constants(model.graph)
    return model


def accept_int8(model: Graph, quantized: QuantizedGraph, spec: ModelSpec) -> ModelSpec:
    """Let a QDQ model take the integers that the network begins with, int8 [1, 3, height, width], in place."""
    plan = quantized.plan.tensors[INPUT_NAME]
    old = model.graph.inputs[0]
    source = _replace_input(model, ir.DataType.INT8, shape_of(old))
    scale, zero = (
        add_constant(model.graph, f"{INPUT_NAME}.{name}", array)
        for name, array in (("step", np.array(plan.scale, np.float32)), ("none", np.array(plan.zero_point, np.int8)))
    )
    up = ir.node("DequantizeLinear", [source, scale, zero], name=f"{INPUT_NAME}.floats")
    up.outputs[0].name = up.name
    old.replace_all_uses_with(up.outputs[0])
    model.graph.insert_before(model.graph[0], up)
    quantization = TensorQuantization(plan.scale, plan.zero_point)
    return replace(spec, input=replace(spec.input, dtype="int8", quantization=quantization))


def accept_pixels_as_integers(model: Graph, quantized: QuantizedGraph, spec: ModelSpec) -> ModelSpec | None:
    """Let a QDQ model take pixels, uint8 [1, height, width, 3] RGB, in place, where they are its integers already.

    Returns:
        The spec of the new input; None, and nothing changed, where pixels would have to be computed with.
    """
    image, plan = spec.input, quantized.plan.tensors.get(INPUT_NAME)
    old = model.graph.inputs[0]
    users = [use.node for use in old.uses()]
    steps = [scale / plan.scale for scale in image.scale] if plan is not None else []
    exact = plan is not None and plan.zero_point == LOWEST and max(abs(step - 1) for step in steps) < _EXACT
    if not exact or any(image.mean) or [node.op_type for node in users] != ["QuantizeLinear"]:
        return None
    pair = users[0]
    _, channels, height, width = shape_of(old)
    pixels = _replace_input(model, ir.DataType.UINT8, (1, height, width, channels))
    chain = [ir.node("Transpose", [pixels], {"perm": [0, 3, 1, 2]}, name="pixels.planes")]
    if image.color == "BGR":
        order = add_constant(model.graph, "pixels.order", np.array([2, 1, 0], np.int64))
        chain.append(ir.node("Gather", [chain[-1].outputs[0], order], {"axis": 1}, name="pixels.ordered"))
    for node in chain:
        node.outputs[0].name = node.name
    pair.outputs[0].replace_all_uses_with(chain[-1].outputs[0])
    model.graph.remove(pair, safe=True)
    for node in reversed(chain):
        model.graph.insert_before(model.graph[0], node)
    changes = {"dtype": "uint8", "layout": "NHWC", "color": "RGB", "mean": (0.0,) * 3, "scale": (1.0,) * 3}
    return replace(spec, input=replace(image, **changes))  # type: ignore[arg-type]


def describe_integers(quantized: QuantizedGraph, spec: ModelSpec, outputs: Collection[str]) -> ModelSpec:
    """The spec of raw heads, some of which are int8.

    Args:
        quantized: The network and its plan.
        spec: Of the heads.
        outputs: The names of those that are int8.
    """
    heads = []
    for head in spec.heads:
        found = {}
        for name in head.tensors.values():
            if name in outputs:
                plan, own = quantized.plan.tensors[name], quantized.plan.heads.get(name)
                sides = (own.factor, own.offset) if own is not None else ((), ())
                found[name] = TensorQuantization(plan.scale, plan.zero_point, *sides)
        heads.append(replace(head, quantization=found))
    return replace(spec, heads=tuple(heads))


def _replace_input(model: Graph, dtype: ir.DataType, shape: Sequence[int]) -> ir.Value:
    value = ir.Value(name=INPUT_NAME, shape=ir.Shape(shape), type=ir.TensorType(dtype))
    model.graph.inputs[0].name = f"{INPUT_NAME}.old"
    model.graph.inputs.clear()
    model.graph.inputs.append(value)
    return value


class _Lowering:
    def __init__(self, model: Graph, quantized: QuantizedGraph):
        self._graph = model.graph
        self._quantized = quantized
        self._restored: dict[int, ir.Value] = {}  # value → what its pair gives
        # of the network itself: the names of values change here
        structure = quantized.structure
        self._integers = {name_of(node): quantized.convolution(node) for node in structure.int8_convolutions()}

    def quantize(self, node: ir.Node) -> None:
        """Put a node between pairs."""
        if node.op_type == "Conv":
            self._quantize_weights(node)
        else:
            self._quantize_constants(node)
        for place, value in enumerate(list(node.inputs)):
            producer = value.producer() if value is not None else None
            paired = producer is not None and producer.op_type == "DequantizeLinear"
            if value is not None and constant_of(value) is None and not paired:
                node.replace_input_with(place, self._pair(value))
        following = self._quantized.structure.fused.get(name_of(node.outputs[0]))
        result = node.outputs[0] if following is None else self._fuse(node)
        pair = self._pair(result)
        for use in list(result.uses()):
            if use.node.op_type != "QuantizeLinear":
                use.node.replace_input_with(use.idx, pair)
        if result.is_graph_output():
            self._replace_output(result, pair)

    def keep_floats(self) -> None:
        """Let what computes in float read integers by as many scales as channels, all the same.

        Where a float convolution stands between a DequantizeLinear of one scale and a QuantizeLinear, onnxruntime's
        `WeightBiasQuantization` rounds its weights to integers of a single scale, unasked.
        """
        for node in self._graph:
            up = dequantizer_of(node.inputs[0]) if node.op_type in _WEIGHED else None
            if up is None or constant_of(node.inputs[1]) is None or not up.outputs[0].shape:
                continue
            channels = shape_of(up.outputs[0])[1]
            scale, zero = (np.full(channels, constant_of(value)) for value in up.inputs[1:])
            name = f"{name_of(up.outputs[0])}.channels.{node.name}"
            own = dequantize(self._graph, up.inputs[0], scale, zero, name, axis=1)
            own.outputs[0].shape, own.outputs[0].type = up.outputs[0].shape, up.outputs[0].type
            self._graph.insert_before(node, own)
            node.replace_input_with(0, own.outputs[0])
            remove_unread(up)

    def narrow_heads(self) -> None:
        """Let heads that are restored from integers be those integers, int8."""
        for value in list(self._graph.outputs):
            name, producer = name_of(value), value.producer()
            if producer is None or producer.op_type != "DequantizeLinear":
                continue
            plan = self._quantized.plan.tensors[name]
            scale = add_constant(self._graph, f"{name}.step", np.array(plan.scale, np.float32))
            zero = add_constant(self._graph, f"{name}.none", np.array(plan.zero_point, np.int8))
            node = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.integers")
            node.outputs[0].shape, node.outputs[0].type = value.shape, ir.TensorType(ir.DataType.INT8)
            self._graph.append(node)
            self._replace_output(value, node.outputs[0])

    def restore_heads(self) -> None:
        """Bring the channels of heads back to their own ranges, in float."""
        for name, head in self._quantized.plan.heads.items():
            value = next(output for output in self._graph.outputs if output.name == name)
            sides = {"Mul": head.factor, "Add": head.offset}
            for op, numbers in sides.items():
                array = np.array(numbers, np.float32).reshape(1, -1, 1, 1)
                constant = add_constant(self._graph, f"{name}.{op.lower()}_by", array)
                node = ir.node(op, [value, constant], name=f"{name}.{op.lower()}")
                node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
                self._graph.append(node)
                self._replace_output(value, node.outputs[0])
                value = node.outputs[0]

    def _replace_output(self, old: ir.Value, new: ir.Value) -> None:
        name = name_of(old)
        outputs = list(self._graph.outputs)
        place = next(i for i, value in enumerate(outputs) if value is old)
        self._graph.outputs[place] = new
        producer = old.producer()
        old.name = f"{name}.{producer.op_type if producer is not None else 'inner'}"
        new.name = name

    def _pair(self, value: ir.Value) -> ir.Value:
        if id(value) not in self._restored:
            plan = self._quantized.tensor(value)
            restored = self._insert_pair(value, plan)
            self._restored[id(value)] = restored
        return self._restored[id(value)]

    def _insert_pair(self, value: ir.Value, plan: TensorPlan) -> ir.Value:
        name = name_of(value)
        scale = add_constant(self._graph, f"{name}.scale", np.array(plan.scale, np.float32))
        zero = add_constant(self._graph, f"{name}.zero", np.array(plan.zero_point + UNSIGNED, np.uint8))
        down = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}.quantize")
        up = ir.node("DequantizeLinear", [down.outputs[0], scale, zero], name=f"{name}.dequantize")
        down.outputs[0].name, up.outputs[0].name = f"{name}.q", f"{name}.dq"
        up.outputs[0].shape, up.outputs[0].type = value.shape, value.type
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], [down, up])
        else:
            self._graph.insert_after(producer, [down, up])
        return up.outputs[0]

    def _fuse(self, node: ir.Node) -> ir.Value:
        """Leave a Relu or Clip to the saturation of what holds its result, where that saturates in time."""
        following = next(use.node for use in node.outputs[0].uses())
        plan, (low, high) = self._quantized.tensor(following.outputs[0]), clip_bounds(following)
        reached, tolerance = plan.bounds, plan.scale / 2
        if reached[0] < low - tolerance or reached[1] > high + tolerance:
            return following.outputs[0]
        result, old = node.outputs[0], following.outputs[0]
        name = name_of(old)
        if old.is_graph_output():
            self._replace_output(old, result)
        old.replace_all_uses_with(result)
        self._graph.remove(following, safe=True)
        result.name = name
        return result

    def _quantize_weights(self, node: ir.Node) -> None:
        found = self._integers[name_of(node)]
        pairs = ((1, found.weight, found.weight_scale), (2, found.bias, found.bias_scale))
        for place, integers, scale in pairs:
            self._dequantized(node, place, integers, scale, axis=0)

    def _quantize_constants(self, node: ir.Node) -> None:
        """The constant operand of a sum or product."""
        for place, value in enumerate(list(node.inputs)):
            array = constant_of(value)
            if value is None or array is None or node.op_type not in ("Add", "Mul"):
                continue
            plan = TensorPlan.of_constant(array)
            self._dequantized(node, place, plan.quantize(array), np.array(plan.scale, np.float32), plan.zero_point)

    def _dequantized(
        self, node: ir.Node, place: int, integers: np.ndarray, scale: np.ndarray, zero: int = 0, axis: int | None = None
    ) -> None:
        old = node.inputs[place]
        name = f"{node.name}.{place}" if old is None or old.name is None else old.name
        if integers.dtype == np.int8 and axis is None:
            integers, zero = (integers.astype(np.int16) + UNSIGNED).astype(np.uint8), zero + UNSIGNED
        zeros = np.full(scale.shape, zero, integers.dtype)
        up = dequantize(self._graph, add_constant(self._graph, f"{name}.q", integers), scale, zeros, name, axis)
        self._graph.insert_before(node, up)
        node.replace_input_with(place, up.outputs[0])
