"""The derivative of the raw heads with respect to every tensor, as an ONNX graph of its own.

For a vector v at the heads the graph gives vᵀ·∂heads/∂x for each tensor x (reverse mode). With v of random signs its
square is, on average, the noise energy that noise of variance 1 on an element of x makes at the heads
(Hutchinson 1989): with weights √w · ±1, the energy weighted with w.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from yolo_edge.export.graph import Graph, add_constant, constant_of, drop_unused_constants, shape_of
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.export.quantization.structure import clip_bounds, computed_inputs, name_of

_STEP = 1e-2  # of the difference quotient of activations without a derivative of their own


class Gradients:
    """The derivative of a network, loaded."""

    def __init__(self, graph: Graph):
        """Build the derivative of `graph`, canonical with expanded activations."""
        model = graph.clone()
        tape = _Tape(model)
        directions = []
        for value in list(model.graph.outputs):
            direction = ir.Value(name=f"{value.name}.direction", shape=value.shape, type=value.type)
            directions.append(direction)
            tape.add(value, direction)
        nodes = [node for node in model.graph if node not in tape.own]
        within = set(nodes)
        for node in reversed(nodes):
            total = tape.total(node.outputs[0])
            if total is not None:
                _RULES.get(node.op_type, _unknown)(tape, node, total)
        tape.total(model.graph.inputs[0])
        self._slopes = {name: name_of(total) for name, total in tape.totals.items()}
        # what the network itself computes is given: it has been run already
        used: dict[str, ir.Value] = {}
        for own in (node for node in model.graph if node in tape.own):
            for place, read in enumerate(own.inputs):
                if read is not None and read.producer() in within:
                    given = ir.Value(name=read.name, shape=read.shape, type=read.type)
                    own.replace_input_with(place, used.setdefault(name_of(read), given))
        model.graph.outputs.clear()
        for node in reversed(nodes):
            model.graph.remove(node, safe=True)
        model.graph.inputs.extend([*used.values(), *directions])
        for name, total in tape.totals.items():
            if not total.is_graph_output() and not total.is_graph_input():
                total.shape, total.type = tape.values[name].shape, ir.TensorType(ir.DataType.FLOAT)
                model.graph.outputs.append(total)
        drop_unused_constants(model.graph)
        self._given = [name_of(value) for value in model.graph.inputs if value not in directions]
        self._session = GraphSession(model) if model.graph.outputs else None

    def __call__(
        self,
        values: Mapping[str, np.ndarray],
        directions: Mapping[str, np.ndarray],
        names: Collection[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """The derivative of each tensor in a direction at the heads.

        Args:
            values: Of the input and of every tensor of the network, by name.
            directions: Name of a head → the direction, of its shape.
            names: Of tensors; None: all that have a derivative.
        """
        slopes = {name: slope for name, slope in self._slopes.items() if names is None or name in names}
        feed = {name: values[name] for name in self._given}
        feed.update({f"{name}.direction": array for name, array in directions.items()})
        wanted = set(slopes.values())
        found = dict(feed)
        if self._session is not None:  # None: sums alone lead to the heads
            found.update(self._session(feed, [name for name in self._session.outputs if name in wanted]))
        return {name: found[slope] for name, slope in slopes.items()}


class _Tape:
    """Appends nodes, and adds up what reaches each value."""

    def __init__(self, model: Graph):
        self.model, self.graph = model, model.graph
        self.own: set[ir.Node] = set()
        self.totals: dict[str, ir.Value] = {}
        self.values: dict[str, ir.Value] = {}
        self._parts: dict[int, list[ir.Value]] = {}
        self._count = 0

    def __call__(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        domain: str = "",
    ) -> ir.Value:
        return self.many(op, inputs, 1, attributes, domain)[0]

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        outputs: int,
        attributes: Mapping[str, object] | None = None,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """The outputs of a new node."""
        self._count += 1
        name = f"slope.{self._count}"
        node = ir.node(op, inputs, attributes or {}, domain=domain, num_outputs=outputs, name=name)  # type: ignore[arg-type]
        for i, value in enumerate(node.outputs):
            value.name = f"{name}.{i}"
        self.graph.append(node)
        self.own.add(node)
        return node.outputs

    def constant(self, array: object, dtype: type = np.float32) -> ir.Value:
        self._count += 1
        return add_constant(self.graph, f"slope.c{self._count}", np.array(array, dtype))

    def add(self, value: ir.Value | None, part: ir.Value) -> None:
        """Say that `part` reaches `value`."""
        if value is not None and constant_of(value) is None:
            self._parts.setdefault(id(value), []).append(part)

    def total(self, value: ir.Value) -> ir.Value | None:
        """All that reaches a value."""
        parts = self._parts.get(id(value))
        if not parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self("Add", [total, part])
        self.totals[name_of(value)], self.values[name_of(value)] = total, value
        return total

    def fitted(self, slope: ir.Value, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        """A derivative of `shape`, summed over the axes along which `value` was repeated."""
        own = shape_of(value)
        axes = [i for i in range(len(shape)) if i < len(own) and own[i] == 1 and shape[i] != 1]
        if len(own) != len(shape) or not axes:
            return slope
        return self("ReduceSum", [slope, self.constant(axes, np.int64)], {"keepdims": 1})


_Rule: TypeAlias = Callable[[_Tape, ir.Node, ir.Value], None]


def _unknown(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    """Nothing is known of what leads to an operator without a rule: nothing reaches it this way."""


def _geometry(node: ir.Node) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides, pads and dilations."""
    kernel, strides, pads, dilations = (
        list(node.attributes.get_ints(name) or default)
        for name, default in (("kernel_shape", (1, 1)), ("strides", (1, 1)), ("pads", (0,) * 4), ("dilations", (1, 1)))
    )
    return kernel, strides, pads, dilations


def _conv(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    _spread(tape, node, slope, node.inputs[1], node.attributes.get_int("group", 1) or 1)


def _spread(tape: _Tape, node: ir.Node, slope: ir.Value, weight: ir.Value | None, groups: int) -> None:
    """What windows give goes back to what they read, weighted."""
    source = computed_inputs(node)[0]
    kernel, strides, pads, dilations = _geometry(node)
    extra = []
    for axis in range(2):
        full = (shape_of(node.outputs[0])[2 + axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        # what the last window did not reach
        extra.append(shape_of(source)[2 + axis] - (full - pads[axis] - pads[2 + axis]))
    attributes = {
        "group": groups,
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "output_padding": extra,  # less than a stride, or there would be one more window
    }
    tape.add(source, tape("ConvTranspose", [slope, weight], attributes))


def _conv_transpose(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    kernel, strides, pads, dilations = _geometry(node)
    attributes = {
        "group": node.attributes.get_int("group", 1) or 1,
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
    }
    tape.add(computed_inputs(node)[0], tape("Conv", [slope, node.inputs[1]], attributes))


def _through_mask(bounds: Callable[[ir.Node], tuple[float, float]], outside: Callable[[ir.Node], float]) -> _Rule:
    def rule(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
        x, (low, high) = node.inputs[0], bounds(node)
        inside = tape("Greater", [x, tape.constant(low)])
        if np.isfinite(high):
            inside = tape("And", [inside, tape("Less", [x, tape.constant(high)])])
        factor = tape("Where", [inside, tape.constant(1.0), tape.constant(outside(node))])
        tape.add(x, tape("Mul", [slope, factor]))

    return rule


def _sigmoid(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    y = node.outputs[0]
    own = tape("Mul", [y, tape("Sub", [tape.constant(1.0), y])])
    tape.add(node.inputs[0], tape("Mul", [slope, own]))


def _mish(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    x = node.inputs[0]
    sides = [tape("Mish", [tape("Add", [x, tape.constant(step)])], domain=node.domain) for step in (_STEP, -_STEP)]
    quotient = tape("Mul", [tape("Sub", sides), tape.constant(0.5 / _STEP)])
    tape.add(x, tape("Mul", [slope, quotient]))


def _mul(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    a, b = node.inputs
    shape = shape_of(node.outputs[0])
    for value, other in ((a, b), (b, a)):
        if value is not None and constant_of(value) is None:
            tape.add(value, tape.fitted(tape("Mul", [slope, other]), value, shape))


def _add(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    for value in computed_inputs(node):
        tape.add(value, tape.fitted(slope, value, shape_of(node.outputs[0])))


def _concat(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    axis, start = node.attributes.get_int("axis") or 0, 0
    for value in computed_inputs(node):
        end = start + shape_of(value)[axis]
        bounds = [tape.constant([number], np.int64) for number in (start, end, axis)]
        tape.add(value, tape("Slice", [slope, *bounds]))
        start = end


def _slice(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    source = computed_inputs(node)[0]
    shape, rank = shape_of(source), len(shape_of(source))
    start, end, axis, step = (int(np.asarray(constant_of(value)).reshape(())) for value in node.inputs[1:])
    if step != 1:
        return
    sides = [0] * (2 * rank)
    sides[axis], sides[rank + axis] = start, shape[axis] - min(end, shape[axis])
    tape.add(source, tape("Pad", [slope, tape.constant(sides, np.int64)]))


def _max_pool(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    """Each window's derivative goes to the place of its maximum."""
    source = computed_inputs(node)[0]
    shape = shape_of(source)
    place = tape.many("MaxPool", [source], 2, dict(node.attributes))[1]
    flat = tape.constant([-1], np.int64)
    nothing = tape.constant(np.zeros(int(np.prod(shape))))
    inputs = [nothing, tape("Reshape", [place, flat]), tape("Reshape", [slope, flat])]
    total = tape("ScatterElements", inputs, {"axis": 0, "reduction": "add"})
    tape.add(source, tape("Reshape", [total, tape.constant(shape, np.int64)]))


def _resize(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    source = computed_inputs(node)[0]
    by = [after // before for before, after in zip(shape_of(source)[2:], shape_of(node.outputs[0])[2:], strict=True)]
    mean = tape("AveragePool", [slope], {"kernel_shape": by, "strides": by})
    tape.add(source, tape("Mul", [mean, tape.constant(float(np.prod(by)))]))


def _bilinear_upsample(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    """Each pixel is in four of each axis; what lies beyond the edge repeats the outermost."""
    source = computed_inputs(node)[0]
    channels = shape_of(source)[1]
    share = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25])
    weight = tape.constant(np.tile(share[None, None], (channels, 1, 1, 1)))
    padded = tape("Pad", [slope, tape.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)], {"mode": "edge"})
    tape.add(source, tape("Conv", [padded, weight], {"strides": [2, 2], "group": channels}))


def _average_pool(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    before, after = shape_of(computed_inputs(node)[0]), shape_of(node.outputs[0])
    kernel, strides, pads, _ = _geometry(node)
    counts = []
    for axis in range(2):
        start = np.arange(after[2 + axis]) * strides[axis] - pads[axis]
        counts.append(np.minimum(start + kernel[axis], before[2 + axis]) - np.maximum(start, 0))
    share = tape("Mul", [slope, tape.constant(1 / np.outer(*counts)[None, None])])
    _spread(tape, node, share, tape.constant(np.ones((before[1], 1, *kernel))), before[1])


def _space_to_depth(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    side = node.attributes.get_int("blocksize") or 1
    tape.add(node.inputs[0], tape("DepthToSpace", [slope], {"blocksize": side, "mode": "DCR"}))


def _global_average_pool(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    source = computed_inputs(node)[0]
    share = np.full((1, 1, *shape_of(source)[2:]), 1 / np.prod(shape_of(source)[2:]))
    tape.add(source, tape("Mul", [slope, tape.constant(share)]))


def _reshape(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    source = computed_inputs(node)[0]
    tape.add(source, tape("Reshape", [slope, tape.constant(shape_of(source), np.int64)]))


def _transpose(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    back = np.argsort(list(node.attributes.get_ints("perm") or ()))
    tape.add(node.inputs[0], tape("Transpose", [slope], {"perm": [int(axis) for axis in back]}))


def _mat_mul(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    a, b = computed_inputs(node)
    flipped = []
    for value in (a, b):
        axes = list(range(len(shape_of(value))))
        flipped.append(tape("Transpose", [value], {"perm": [*axes[:-2], axes[-1], axes[-2]]}))
    tape.add(a, tape("MatMul", [slope, flipped[1]]))
    tape.add(b, tape("MatMul", [flipped[0], slope]))


def _softmax(tape: _Tape, node: ir.Node, slope: ir.Value) -> None:
    y = node.outputs[0]
    product = tape("Mul", [slope, y])
    last = tape.constant([len(shape_of(y)) - 1], np.int64)
    total = tape("ReduceSum", [product, last], {"keepdims": 1})
    tape.add(node.inputs[0], tape("Sub", [product, tape("Mul", [y, total])]))


_RULES: dict[str, _Rule] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "BilinearUpsample": _bilinear_upsample,
    "Clip": _through_mask(clip_bounds, lambda node: 0.0),
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_average_pool,
    "LeakyRelu": _through_mask(lambda node: (0.0, np.inf), lambda node: node.attributes.get_float("alpha") or 0.0),
    "MatMul": _mat_mul,
    "MaxPool": _max_pool,
    "Mish": _mish,
    "Mul": _mul,
    "Relu": _through_mask(clip_bounds, lambda node: 0.0),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Softmax": _softmax,
    "Transpose": _transpose,
}
