"""The layers of an ONNX file: float, QDQ (`QuantizeLinear` → `DequantizeLinear`), or QLinear operators."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import ModelProto, NodeProto, numpy_helper

from yolo_edge.export.channels import channels_of
from yolo_edge.export.comparison.trace import (
    ACTIVATION,
    CONVOLUTION,
    INPUT,
    JOIN,
    Builder,
    Layer,
    Storage,
    Trace,
    Weights,
    dequantized,
)
from yolo_edge.export.graph import Graph
from yolo_edge.export.importers.onnx.read import read_onnx
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import first_line
from yolo_edge.ondevice.runtimes.base import check_one_input
from yolo_edge.ondevice.runtimes.onnx import new_session

_MOVES = {"Cast", "DequantizeLinear", "Flatten", "Identity", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_KINDS = {
    CONVOLUTION: ("Conv", "ConvTranspose", "FusedConv", "QLinearConv"),
    JOIN: ("Add", "Concat", "QLinearAdd", "QLinearConcat", "Sum"),
    ACTIVATION: (
        "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Mul", "PRelu", "QLinearLeakyRelu",
        "QLinearMul", "QLinearSigmoid", "Relu", "Sigmoid", "SiLU", "Softmax", "Softplus", "Tanh",
    ),
}  # fmt: skip
# operator → where the scale and the zero-point of its result are among its inputs
_RESULTS = {
    "QLinearAdd": (6, 7),
    "QLinearAveragePool": (3, 4),
    "QLinearConcat": (0, 1),
    "QLinearConv": (6, 7),
    "QLinearGlobalAveragePool": (3, 4),
    "QLinearLeakyRelu": (3, 4),
    "QLinearMatMul": (6, 7),
    "QLinearMul": (6, 7),
    "QLinearSigmoid": (3, 4),
}
_TYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.UINT16: "uint16",
}


class OnnxTrace(Trace):
    """An ONNX file, run by onnxruntime without its own optimisations."""

    def __init__(self, model: ModelProto, where: str):
        """Load a model that has been read.

        Args:
            model: With all weights inside.
            where: What it is, for error messages.

        Raises:
            InputError: It does not run, or has not a single input.
        """
        try:
            model = onnx.shape_inference.infer_shapes(model)
        except Exception as error:  # the C++ part raises types of its own
            raise InputError(f"{where}: its shapes cannot be inferred ({first_line(error)})") from error
        reader = _Reader(model, where)
        inputs = [value for value in model.graph.input if value.name not in reader.constants]
        check_one_input(len(inputs), where)
        reader.read(inputs[0].name)
        self.layers = tuple(reader.builder.layers)
        self.outputs = reader.builder.inputs([value.name for value in model.graph.output])
        self.input_shape, self.input_dtype = reader.shapes[inputs[0].name], reader.types[inputs[0].name]
        self.layouts = reader.layouts
        self.moves = sum(node.op_type == "Transpose" for node in reader.nodes)
        self._input = inputs[0].name
        wanted = [layer.tensor for layer in self.layers if layer.kind != INPUT]
        there = {value.name for value in model.graph.output}
        changed = ModelProto()
        changed.CopyFrom(model)
        changed.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, reader.codes[name], None) for name in wanted if name not in there
        )
        try:
            self._session = new_session(
                changed.SerializeToString(), optimize=False, spin=False, enable_cpu_mem_arena=False
            )
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise InputError(f"{where}: onnxruntime does not load it ({first_line(error)})") from error

    def compute(self, tensor: np.ndarray, names: Sequence[str]) -> Sequence[np.ndarray]:
        """As of `Trace`."""
        arrays: list[np.ndarray] = self._session.run(list(names), {self._input: tensor})
        return arrays


def trace_onnx(path: Path) -> OnnxTrace:
    """Read an ONNX file; errors as of `OnnxTrace` and `read_onnx`."""
    model, _ = read_onnx(path)
    return OnnxTrace(model, str(path))


def trace_graph(graph: Graph) -> OnnxTrace:
    """The trace of a graph of ours."""
    return OnnxTrace(onnx.inliner.inline_local_functions(ir.to_proto(graph)), "the network")


class _Reader:
    def __init__(self, model: ModelProto, where: str):
        graph = model.graph
        self._where, self.layouts = where, channels_of({item.key: item.value for item in model.metadata_props}, where)
        self.builder = Builder(_KINDS)
        self.nodes = list(graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self.stored: dict[str, tuple[str, int]] = {}  # constant → type in the file, number of its scales
        values = [*graph.input, *graph.value_info, *graph.output]
        self.codes = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types = {name: _TYPES.get(code, "") for name, code in self.codes.items()}
        self.shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.readers.update(value.name for value in graph.output)

    def read(self, source: str) -> None:
        self.builder.add(Layer(source, "input", INPUT, self.shapes[source], (), source))
        for node in self.nodes:
            if not node.output or self._fold(node):
                continue
            result = node.output[0]
            layout = self.layouts.get(node.input[0])
            if layout is not None and node.op_type == "DequantizeLinear":
                self.layouts[result] = layout
            if node.op_type == "QuantizeLinear":
                storage = self._storage(node, 1, 2)
                if storage is not None:
                    self.builder.store(result, node.input[0], storage, self.readers[node.input[0]], result)
            elif (node.op_type == "Slice" and layout is not None) or self._cuts_integers(node):  # takes the zeros off
                self.builder.alias(result, node.input[0])
            elif node.op_type in _MOVES or not self.types.get(result) or 0 in self.shapes.get(result, (0,)):
                self.builder.alias(result, next((name for name in node.input if name in self.builder.of), ""))
            else:
                self._add(node, result)
        self.builder.layers = [self._without_zeros(layer) for layer in self.builder.layers]

    def _cuts_integers(self, node: NodeProto) -> bool:
        """Whether a node cuts stored integers off at a bound, as our form of a LeakyRelu does."""
        return node.op_type == "Clip" and self.types.get(node.output[0], "float32") != "float32"

    def _is_leaky(self, node: NodeProto) -> bool:
        """Whether a sum is alpha · x + (1 - alpha) · max(x, 0) of integers x."""
        ups = [self.makers.get(name) for name in node.input]
        stored = [up.input[0] if up is not None and up.op_type == "DequantizeLinear" else "" for up in ups]
        cuts = [self.makers.get(name) for name in stored]
        pairs = zip(cuts, stored[::-1], strict=True)
        return any(cut is not None and self._cuts_integers(cut) and cut.input[0] == other for cut, other in pairs)

    def _without_zeros(self, layer: Layer) -> Layer:
        """A layer with the network's channels alone."""
        layout, weights = self.layouts.get(layer.tensor), layer.weights
        if layout is None:
            return layer
        if len(layer.shape) != 4 or layer.shape[1] != layout.padded:
            raise InputError(f"{self._where}: the channels that its metadata name are not those of {layer.tensor!r}")
        if weights is not None and len(weights.array) == layout.padded:
            weights = replace(weights, array=weights.array[layout.places])
        batch, _, *sides = layer.shape
        return replace(layer, shape=(batch, len(layout.places), *sides), weights=weights)

    def _fold(self, node: NodeProto) -> bool:
        """Constants behind operators that only say how they are stored."""
        if node.op_type == "Constant":
            value = next((item.t for item in node.attribute if item.name == "value"), None)
            if value is not None:
                self.constants[node.output[0]] = numpy_helper.to_array(value)
            return True
        given = [self.constants.get(name) for name in node.input if name]
        if node.op_type not in _MOVES or not given or any(array is None for array in given):
            return False
        array, dtype = self.constants[node.input[0]], self.constants[node.input[0]].dtype.name
        if node.op_type == "DequantizeLinear":
            axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
            scale = self.constants[node.input[1]]
            zero = self.constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale)
            self.stored[node.output[0]] = (dtype, int(scale.size))
            array = dequantized(array, scale, zero, axis)
        elif node.op_type in ("Cast", "Identity"):
            self.stored[node.output[0]] = self.stored.get(node.input[0], (dtype, 0))
            array = array.astype(np.float32)
        else:
            return False
        self.constants[node.output[0]] = array
        return True

    def _storage(self, node: NodeProto, scale: int, zero: int) -> Storage | None:
        scales = self.constants.get(node.input[scale])
        has_zero = len(node.input) > zero and bool(node.input[zero])
        zeros = self.constants.get(node.input[zero]) if has_zero else np.zeros(1, np.uint8)
        if scales is None or zeros is None or scales.size != 1 or zeros.size != 1:
            return None
        return Storage(zeros.dtype.name, float(scales.reshape(())), int(zeros.reshape(())))

    def _add(self, node: NodeProto, result: str) -> None:
        op, inputs = node.op_type, self.builder.inputs(list(node.input))
        if not inputs:
            return
        storage = None
        if op in _RESULTS:
            storage = self._storage(node, *_RESULTS[op])
        elif self.types[result] != "float32":  # what passes integers on
            storage = self.builder.layers[inputs[0]].storage
        if storage is None and self.types[result] != "float32":
            self.builder.alias(result, node.input[0])
            return
        if op == "Add" and self._is_leaky(node):
            op = "LeakyRelu"
        kind = self.builder.kind(op)
        weights = self._weights(node) if kind == CONVOLUTION else None
        self.builder.add(Layer(result, op, kind, self.shapes[result], inputs, result, storage, weights))

    def _weights(self, node: NodeProto) -> Weights | None:
        if node.op_type == "QLinearConv":
            array, scale, zero = (self.constants.get(node.input[i]) for i in (3, 4, 5))
            if array is None or scale is None or zero is None:
                return None
            return Weights(dequantized(array, scale, zero), array.dtype.name, int(scale.size))
        found = self.constants.get(node.input[1])
        if found is None:
            return None
        dtype, scales = self.stored.get(node.input[1], (found.dtype.name, 0))
        layout = self.layouts.get(node.input[0])
        if layout is not None and found.shape[1] == layout.padded:
            found = found[:, layout.places]
        return Weights(found.astype(np.float32), dtype, scales)
