"""Channels of an int8 ONNX file, filled up with zeros to the numbers that onnxruntime's integer kernels take.

MLAS (`MlasConvSymPackWSize` of onnxruntime's convsym.cpp) has direct kernels for convolutions that read a multiple of 4
channels and give 16 or more, a multiple of 8 (of 4 with AVX-512), and for depthwise ones of a multiple of 16 channels
(of 8 on ARM64). Any other is copied together place by place and multiplied as a matrix, which takes two to three times
as long. Channels of zeros that only weights of zero read change no result.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from yolo_edge.export.channels import Layout
from yolo_edge.export.graph import Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.qdq import IntegerConv, dequantize, dequantizer_of, is_constant, remove_unread
from yolo_edge.export.quantization.structure import name_of
from yolo_edge.export.unions import Unions

_READ, _MADE, _FEWEST_MADE, _DEPTHWISE = 4, 8, 16, 16
_LARGE_MAP = 1024  # places; below, cutting a head off its zeros costs what they gain
_EACH_BY_ITSELF = {"AveragePool", "Clip", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", "Resize", "Sigmoid"}
_SUMS = {"Add", "Mul"}


def align_channels(model: Graph) -> dict[str, Layout]:
    """Fill up the channels of a QDQ model, in place, where that makes a convolution fit.

    Returns:
        Quantized tensor → where its channels are; only those with more than the network has.
    """
    aligner = _Aligner(model.graph)
    aligner.rewrite()
    drop_unused_constants(model.graph)
    return aligner.filled()


class _Aligner:
    def __init__(self, graph: ir.Graph):
        self._graph = graph
        self._unions: Unions[ir.Value] = Unions()
        self._kept: set[ir.Value] = set()
        self._ends: list[ir.Node] = []
        self._joined: dict[ir.Value, list[ir.Value]] = {}  # result of a Concat → what it joins
        self._convolutions: list[IntegerConv] = []
        self._keep(*graph.inputs)
        for node in graph:
            self._look_at(node)
        self._layouts: dict[ir.Value, Layout] = {}
        self._widened: dict[str, Layout] = {}
        self._solve()

    def rewrite(self) -> None:
        """Change the graph."""
        for convolution in self._convolutions:
            self._rewrite(convolution)
        for end in self._ends:
            layout = self._layout(end.inputs[0])
            if layout.is_padded:
                self._cut(end, layout.blocks[0][0])
        for value in self._unions:
            if self._layout(value).is_padded:
                value.shape = None

    def filled(self) -> dict[str, Layout]:
        """Integer tensors → their layouts, where these are padded."""
        found = dict(self._widened)
        for value in self._unions:
            producer = value.producer()
            integers = producer is not None and producer.op_type == "QuantizeLinear"
            if integers and self._layout(value).is_padded:
                found[name_of(value)] = self._layout(value)
        return found

    def _look_at(self, node: ir.Node) -> None:
        result, op = node.outputs[0], node.op_type
        inputs = [value for value in node.inputs if value is not None and not is_constant(value)]
        convolution = IntegerConv.of(node)
        if convolution is not None and (convolution.is_dense or convolution.is_depthwise):
            self._convolutions.append(convolution)
            self._unions.find(result)
            if convolution.is_depthwise:
                self._unions.join(inputs[0], result)
        elif op == "DequantizeLinear":
            if not inputs:
                return
            if self._is_end(node):
                self._ends.append(node)
                self._keep(result)
            else:
                self._unions.join(inputs[0], result)
        elif op == "QuantizeLinear" or _treats_channels_alike(node, inputs):
            self._unions.join(*inputs, result)
        elif op == "Concat" and node.attributes.get_int("axis") == 1 and len(inputs) == len(node.inputs) > 1:
            self._unions.find(result)
            self._joined[result] = inputs
        else:
            self._keep(*inputs, *node.outputs)
        if result.is_graph_output():
            self._keep(result)

    def _is_end(self, node: ir.Node) -> bool:
        """Whether what is dequantized goes to nothing that could have more channels."""
        result = node.outputs[0]
        known = {"Concat", "Conv", *_EACH_BY_ITSELF}
        for use in result.uses():
            computed = [value for value in use.node.inputs if value is not None and not is_constant(value)]
            if use.node.op_type in known or (use.node.op_type in _SUMS and len(computed) > 1):
                return False
        return True

    def _keep(self, *values: ir.Value) -> None:
        self._kept.update(values)

    def _solve(self) -> None:
        """Decide how many channels each tensor has."""
        self._kept = {self._unions.find(value) for value in self._kept}
        members: dict[ir.Value, list[ir.Value]] = {}
        for value in self._unions:
            members.setdefault(self._unions.find(value), []).append(value)
        joins: dict[ir.Value, list[ir.Value]] = {}
        for result, inputs in self._joined.items():
            root = self._unions.find(result)
            if root in joins:
                self._kept.add(root)
            joins[root] = inputs
        ended = {self._unions.find(end.inputs[0]) for end in self._ends if end.inputs[0] is not None}
        self._kept |= ended & joins.keys()
        sizes = {}
        for root, values in members.items():
            count = self._channels(values)
            if count is None:
                self._kept.add(root)
            elif root not in joins:
                sizes[root] = count, self._wanted(count, values, root in ended)
        changed = True
        while changed:
            kept = {
                self._unions.find(value)
                for result, inputs in self._joined.items()
                if self._unions.find(result) in self._kept
                for value in inputs
            }
            changed = bool(kept - self._kept)
            self._kept |= kept
        for root in members:
            if root not in self._kept:
                self._layouts[root] = self._resolve(root, joins, sizes)

    def _resolve(
        self, root: ir.Value, joins: Mapping[ir.Value, list[ir.Value]], sizes: Mapping[ir.Value, tuple[int, int]]
    ) -> Layout:
        if root not in joins:
            return Layout((sizes[root],))
        parts: list[tuple[int, int]] = []
        for value in joins[root]:
            source = self._unions.find(value)
            count = self._channels([value]) or 0
            parts += [(count, count)] if source in self._kept else self._resolve(source, joins, sizes).blocks
        return Layout(tuple(parts))

    def _wanted(self, count: int, values: Sequence[ir.Value], ended: bool) -> int:
        """How many channels tensors of one layout shall have; `ended`: they are cut off their zeros somewhere."""
        inside = set(values)
        made = [c for c in self._convolutions if c.node.outputs[0] in inside]
        depthwise, dense = any(c.is_depthwise for c in made), any(c.is_dense for c in made)
        if ended:
            large = any(np.prod(shape_of(value)[2:]) >= _LARGE_MAP for value in values if value.shape is not None)
            if depthwise or count < _FEWEST_MADE or not large:
                return count
        if depthwise:
            return _up(count, _DEPTHWISE)
        if dense:
            return max(_up(count, _MADE), _FEWEST_MADE)
        return _up(count, _READ) if any(c.node.inputs[0] in inside for c in self._convolutions) else count

    def _channels(self, values: Iterable[ir.Value]) -> int | None:
        """How many tensors of one layout have in the network; None where no shape is known."""
        for value in values:
            producer = value.producer()
            source = None if producer is None else producer.inputs[0]
            # a QuantizeLinear knows no shape of its own
            for known in (value, source if producer is not None and producer.op_type == "QuantizeLinear" else None):
                if known is not None and known.shape is not None and len(known.shape) == 4:
                    return shape_of(known)[1]
        return None

    def _layout(self, value: ir.Value | None) -> Layout:
        if value is None:
            return Layout(())
        return self._layouts.get(self._unions.find(value), Layout(()))

    def _rewrite(self, convolution: IntegerConv) -> None:
        node, count = convolution.node, convolution.weight.shape
        into, out = self._layout(node.inputs[0]), self._layout(node.outputs[0])
        fits = convolution.is_dense and max(count[0], out.padded) >= _FEWEST_MADE
        if fits and not into.is_padded and count[1] < _READ:
            into = self._widen_input(node, count[1])
        if not into.is_padded and not out.is_padded:
            return
        weight, *sides = convolution.constants(1)
        if out.is_padded:
            weight = out.spread(weight, 0, 0)
            sides = [out.spread(array, 0, array[0]) for array in sides]
        if into.is_padded and convolution.is_dense:
            weight = into.spread(weight, 1, 0)
        if convolution.is_depthwise:
            node.attributes["group"] = ir.AttrInt64("group", out.padded)
        convolution.replace(1, (weight, *sides))
        if out.is_padded and len(node.inputs) > 2 and node.inputs[2] is not None:
            bias, *sides = convolution.constants(2)
            convolution.replace(2, (out.spread(bias, 0, 0), *(out.spread(array, 0, array[0]) for array in sides)))

    def _widen_input(self, node: ir.Node, count: int) -> Layout:
        """Give a convolution of few channels, the first, channels of zeros to read."""
        up = dequantizer_of(node.inputs[0])
        if up is None or up.inputs[0] is None:
            return Layout(())
        name = name_of(up.outputs[0])
        scale, zero = (np.array(constant_of(value)) for value in up.inputs[1:])
        sides = np.array([0, 0, 0, 0, 0, _READ - count, 0, 0], np.int64)
        constants = [add_constant(self._graph, f"{name}.{what}", n) for what, n in (("sides", sides), ("fill", zero))]
        wide = ir.node("Pad", [up.inputs[0], *constants], name=f"{name}.wide")
        wide.outputs[0].name = f"{name}.wide"
        again = dequantize(self._graph, wide.outputs[0], scale, zero, f"{name}.wide")
        self._graph.insert_after(up, [wide, again])
        node.replace_input_with(0, again.outputs[0])
        remove_unread(up)
        layout = self._widened[f"{name}.wide"] = Layout(((count, _READ),))
        return layout

    def _cut(self, end: ir.Node, count: int) -> None:
        """Take the zeros off before numbers leave the integers."""
        name = name_of(end.outputs[0])
        numbers = {"first": 0, "last": count, "axis": 1}
        limits = [add_constant(self._graph, f"{name}.{what}", np.array([n], np.int64)) for what, n in numbers.items()]
        cut = ir.node("Slice", [end.inputs[0], *limits], name=f"{name}.cut")
        cut.outputs[0].name = cut.name
        self._graph.insert_before(end, cut)
        end.replace_input_with(0, cut.outputs[0])


def _treats_channels_alike(node: ir.Node, inputs: Sequence[ir.Value]) -> bool:
    """Whether a node makes each channel of its result from the same one of its inputs, whatever their number."""
    if node.op_type == "Resize":  # by its scales, not to a size
        return len(node.inputs) < 4 or node.inputs[3] is None
    if node.op_type in _SUMS:
        channels = {value.shape[1] if value.shape is not None and len(value.shape) == 4 else None for value in inputs}
        constants = [value for value in node.inputs if value is not None and is_constant(value)]
        sizes = [array.size for array in map(_array_of, constants) if array is not None]
        return len(channels) == 1 and None not in channels and all(size == 1 for size in sizes)
    return node.op_type in _EACH_BY_ITSELF


def _array_of(value: ir.Value) -> np.ndarray | None:
    up = dequantizer_of(value)
    return constant_of(value if up is None else up.inputs[0])


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
