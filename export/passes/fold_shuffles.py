"""Fold channel shuffles into the weights around them.

A Gather of channels moves every number of a map. Nothing has to move where what computes the channels can compute them
in another order, and what reads them can read them so: a convolution's filters and the channels of its weights are put
into the order that makes the channels of each reader neighbours. What is left are slices of neighbours, put together.
Networks without a Gather are left alone.

The same products are summed up, in another order: outputs keep to a relative error of 1e-5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from yolo_edge.export.canonical import ACTIVATIONS
from yolo_edge.export.graph import (
    Attribute,
    add_constant,
    constant_of,
    drop_unused_constants,
    drop_unused_nodes,
    shape_of,
)

# what works on each channel by itself
_CHANNELWISE = ACTIVATIONS | {"AveragePool", "BilinearUpsample", "GlobalAveragePool", "MaxPool", "Resize"}
_MOST_RUNS = 3  # a source in more pieces is cheaper to read whole, with weights of 0


@dataclass(frozen=True)
class _Content:
    """The channels of a map: which sources they come from, and which channels of them."""

    sources: np.ndarray
    channels: np.ndarray

    def taken(self, picked: np.ndarray | slice) -> "_Content":
        return _Content(self.sources[picked], self.channels[picked])


@dataclass(eq=False)
class _Reader:
    """A node that reads a map, other than to move its channels; `node` None: an output of the graph."""

    value: ir.Value
    node: ir.Node | None
    index: int
    content: _Content

    @property
    def numbers(self) -> set[int]:
        """The sources that it reads."""
        return set(map(int, self.content.sources))

    @property
    def is_free(self) -> bool:
        """It can read channels in any order."""
        node = self.node
        return node is not None and node.op_type == "Conv" and self.index == 0 and _groups(node) == 1

    @property
    def is_channelwise(self) -> bool:
        """It gives channels on in the order in which it reads them."""
        node = self.node
        if node is None or self.index != 0:
            return False
        if node.op_type == "Conv":
            channels = shape_of(self.value)[1]
            return _groups(node) == channels == shape_of(node.outputs[0])[1]
        return node.op_type in _CHANNELWISE


@dataclass
class _Source:
    """A map that is computed, with the order in which its channels lie: `layout` lists them."""

    value: ir.Value
    layout: np.ndarray


class FoldShuffles(ir.passes.InPlacePass):
    """Removes every Gather of channels."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold them all; weights are replaced, never written into."""
        found = any(node.op_type == "Gather" for node in model.graph)
        if found:
            _Shuffles(model.graph).fold()
            drop_unused_nodes(model.graph)
            drop_unused_constants(model.graph)
        return ir.passes.PassResult(model, found)


def _groups(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1) or 1


def _is_map(value: ir.Value | None) -> bool:
    return value is not None and constant_of(value) is None and len(shape_of(value)) == 4


def _moves(node: ir.Node) -> bool:
    """Whether a node only picks channels of maps, or puts them together."""
    if not _is_map(node.outputs[0]):
        return False
    if node.op_type == "Slice":
        axis = constant_of(node.inputs[3])
        return axis is not None and axis.tolist() == [1]
    return node.op_type in ("Concat", "Gather") and node.attributes.get_int("axis") == 1


class _Shuffles:
    def __init__(self, graph: ir.Graph):
        self._graph = graph
        self._sources: list[_Source] = []
        self._number: dict[int, int] = {}  # id of a value → its source
        self._contents: dict[int, _Content] = {}
        self._made: dict[tuple[object, ...], ir.Value] = {}
        self._count = 0
        self._behind: set[int] = set()  # ids of values that a Gather made, or that were cut from or joined with such
        for value in graph.inputs:
            self._add_source(value)
        for node in graph:
            for value in node.outputs:
                if _moves(node):
                    if node.op_type == "Gather" or any(id(item) in self._behind for item in node.inputs):
                        self._behind.add(id(value))
                    self._contents[id(value)] = self._moved(node)
                elif _is_map(value):
                    self._add_source(value)
        self._readers = list(self._find_readers())

    def fold(self) -> None:
        """Order the channels of the sources, and let the readers read them so."""
        touched = self._touched()
        fixed = self._fixed(touched)
        given = {self._given(reader) for reader in touched if reader.is_channelwise and id(reader) not in fixed}
        pinned = {number for reader in touched if id(reader) in fixed for number in reader.numbers}
        for number in sorted({number for reader in touched for number in reader.numbers} - given - pinned):
            self._arrange(self._sources[number], touched)
        for reader in touched:
            self._rewire(reader, id(reader) in fixed)

    def _given(self, reader: _Reader) -> int:
        """The source that a channelwise reader gives."""
        if reader.node is None:
            raise ValueError("an output of the graph gives nothing")
        return self._number[id(reader.node.outputs[0])]

    def _add_source(self, value: ir.Value) -> None:
        channels = shape_of(value)[1]
        number = len(self._sources)
        self._sources.append(_Source(value, np.arange(channels)))
        self._number[id(value)] = number
        self._contents[id(value)] = _Content(np.full(channels, number), np.arange(channels))

    def _moved(self, node: ir.Node) -> _Content:
        parts = [self._contents[id(value)] for value in node.inputs if id(value) in self._contents]
        if node.op_type == "Concat":
            sources, channels = [part.sources for part in parts], [part.channels for part in parts]
            return _Content(np.concatenate(sources), np.concatenate(channels))
        if node.op_type == "Gather":
            return parts[0].taken(np.asarray(constant_of(node.inputs[1])))
        start, end = (int(np.asarray(constant_of(value)).reshape(())) for value in node.inputs[1:3])
        return parts[0].taken(slice(start, end))

    def _find_readers(self) -> list[_Reader]:
        found = []
        for node in self._graph:
            if _moves(node):
                continue
            for index, value in enumerate(node.inputs):
                if value is not None and id(value) in self._contents:
                    found.append(_Reader(value, node, index, self._contents[id(value)]))
        given = [value for value in self._graph.outputs if id(value) in self._contents]
        return [*found, *(_Reader(value, None, 0, self._contents[id(value)]) for value in given)]

    def _touched(self) -> list[_Reader]:
        """The readers of sources that a Gather moves, of what is read together with such, or through the same nodes."""
        sources = {
            int(source)
            for node in self._graph
            if node.op_type == "Gather" and _moves(node)
            for source in self._contents[id(node.outputs[0])].sources
        }
        while True:
            touched = [
                reader for reader in self._readers if sources & reader.numbers or id(reader.value) in self._behind
            ]
            # those read together with them, and those that get their order from them
            wider = {number for reader in touched for number in reader.numbers}
            wider |= {self._given(reader) for reader in touched if reader.is_channelwise}
            if wider <= sources:
                return touched
            sources |= wider

    def _fixed(self, touched: Sequence[_Reader]) -> set[int]:
        """The readers (by id) that want channels in their own order."""
        fixed = {id(reader) for reader in touched if not (reader.is_free or reader.is_channelwise)}
        while True:
            pinned = {number for reader in touched if id(reader) in fixed for number in reader.numbers}
            more = {id(reader) for reader in touched if reader.is_channelwise and self._given(reader) in pinned}
            if more <= fixed:
                return fixed
            fixed |= more

    def _arrange(self, source: _Source, touched: Sequence[_Reader]) -> None:
        """Put the channels of each reader side by side, when a convolution gives them."""
        conv = source.value.producer()
        chain = source.value
        while conv is not None and conv.op_type in ACTIVATIONS:
            chain = conv.inputs[0]  # type: ignore[assignment]  # activations have one
            if len(chain.uses()) != 1 or chain.is_graph_output():
                return
            conv = chain.producer()
        if conv is None or conv.op_type != "Conv" or _groups(conv) != 1 or source.value.is_graph_output():
            return
        number = self._number[id(source.value)]
        keys: list[list[int]] = [[] for _ in source.layout]
        for i, reader in enumerate(touched):
            mine = reader.content.channels[reader.content.sources == number]
            for channel in np.unique(mine):
                keys[channel].append(i)
        source.layout = np.array(sorted(range(len(keys)), key=lambda channel: (keys[channel], channel)))
        _permute(self._graph, conv, source.layout, 0)

    def _rewire(self, reader: _Reader, fixed: bool) -> None:
        """Let a reader read the channels as they lie now."""
        content, node = reader.content, reader.node
        if node is None and id(reader.value) not in self._behind:
            return  # nothing of it has moved
        places = np.array([self._place(s, c) for s, c in zip(content.sources, content.channels, strict=True)])
        order = np.arange(len(places))
        if not fixed:
            first = {int(number): i for i, number in reversed(list(enumerate(content.sources)))}
            order = np.array(sorted(order, key=lambda i: (first[int(content.sources[i])], places[i])))
        runs = _runs(content.sources[order], places[order])
        if len(runs) > _MOST_RUNS * len(reader.numbers):
            self._read_whole(reader, places)
            return
        value = self._joined(reader, runs)
        if node is None:
            self._give_out(reader.value, value)
            return
        node.replace_input_with(reader.index, value)
        if fixed:
            return
        if reader.is_free:
            _permute(self._graph, node, order, 1)
            return
        if node.op_type == "Conv":
            _permute(self._graph, node, order, 0)
        self._sources[self._given(reader)].layout = order

    def _read_whole(self, reader: _Reader, places: np.ndarray) -> None:
        """Read whole sources, and pick channels by weights of 1 and 0."""
        whole = list(dict.fromkeys(map(int, reader.content.sources)))
        sizes = [len(self._sources[number].layout) for number in whole]
        start = dict(zip(whole, np.cumsum([0, *sizes[:-1]]), strict=True))
        columns = np.array([start[int(s)] for s in reader.content.sources]) + places
        value = self._joined(reader, [(number, 0, size) for number, size in zip(whole, sizes, strict=True)])
        node = reader.node
        if node is not None and reader.is_free:
            weight = _constant(node, 1)
            wide = np.zeros((len(weight), sum(sizes), *weight.shape[2:]), np.float32)
            for column, part in zip(columns, np.moveaxis(weight, 1, 0), strict=True):
                wide[:, column] += part
            node.replace_input_with(reader.index, value)
            node.replace_input_with(1, add_constant(self._graph, f"{node.name}.w", wide))
            return
        picks = np.zeros((len(columns), sum(sizes), 1, 1), np.float32)
        picks[np.arange(len(columns)), columns] = 1
        constants = [
            add_constant(self._graph, f"{value.name}.{role}", array)
            for role, array in (("picks", picks), ("zero", np.zeros(len(columns), np.float32)))
        ]
        attributes: dict[str, Attribute] = {
            "kernel_shape": [1, 1],
            "strides": [1, 1],
            "pads": [0] * 4,
            "dilations": [1, 1],
            "group": 1,
        }
        picked = self._insert(reader, "Conv", [value, *constants], len(columns), attributes)
        if node is None:
            self._give_out(reader.value, picked)
        else:
            node.replace_input_with(reader.index, picked)

    def _place(self, number: int, channel: int) -> int:
        """Where a channel of a source lies."""
        return int(np.flatnonzero(self._sources[number].layout == channel)[0])

    def _joined(self, reader: _Reader, runs: Sequence[tuple[int, int, int]]) -> ir.Value:
        """Runs of neighbours (source, start, end), put together; what was made before is used again."""
        parts = []
        for number, start, end in runs:
            source = self._sources[number]
            part = source.value
            if end - start < len(source.layout):
                part = self._made.get((number, start, end)) or self._slice(reader, part, start, end)
                self._made[number, start, end] = part
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        key = tuple(runs)
        if key not in self._made:
            channels = sum(end - start for _, start, end in runs)
            self._made[key] = self._insert(reader, "Concat", parts, channels, {"axis": 1})
        return self._made[key]

    def _slice(self, reader: _Reader, x: ir.Value, start: int, end: int) -> ir.Value:
        bounds = [
            add_constant(self._graph, f"{x.name}.{role}", np.array([number], np.int64))
            for role, number in (("start", start), ("end", end), ("axis", 1), ("step", 1))
        ]
        return self._insert(reader, "Slice", [x, *bounds], end - start, {})

    def _insert(
        self, reader: _Reader, op: str, inputs: Sequence[ir.Value], channels: int, attributes: dict[str, Attribute]
    ) -> ir.Value:
        """A new node before a reader; its output has so many channels."""
        self._count += 1
        name = f"{inputs[0].name}.{op.lower()}_{self._count}"
        node = ir.node(op, inputs, attributes, name=name, num_outputs=1)
        value = node.outputs[0]
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([1, channels, *shape_of(reader.value)[2:]])
        if reader.node is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(reader.node, node)
        return value

    def _give_out(self, old: ir.Value, new: ir.Value) -> None:
        index = next(i for i, value in enumerate(self._graph.outputs) if value is old)
        old.name, new.name = f"{old.name}.moved", old.name
        self._graph.outputs[index] = new


def _runs(sources: np.ndarray, places: np.ndarray) -> list[tuple[int, int, int]]:
    """Neighbours that follow each other: source, start, end."""
    runs: list[tuple[int, int, int]] = []
    for number, place in zip(map(int, sources), map(int, places), strict=True):
        if runs and runs[-1][0] == number and runs[-1][2] == place:
            runs[-1] = (number, runs[-1][1], place + 1)
        else:
            runs.append((number, place, place + 1))
    return runs


def _constant(node: ir.Node, index: int) -> np.ndarray:
    array = constant_of(node.inputs[index])
    if array is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}): input {index} is not a constant")
    return array


def _permute(graph: ir.Graph, conv: ir.Node, order: np.ndarray, axis: int) -> None:
    """Give a convolution its filters (axis 0), or the channels that it reads (axis 1), in another order."""
    if np.array_equal(order, np.arange(len(order))):
        return
    weight = np.take(_constant(conv, 1), order, axis=axis)
    conv.replace_input_with(1, add_constant(graph, f"{conv.name}.w", weight))
    if axis == 0:
        conv.replace_input_with(2, add_constant(graph, f"{conv.name}.b", _constant(conv, 2)[order]))
