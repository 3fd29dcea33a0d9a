"""Canonical graph + spec → the bytes of a TFLite file, NHWC, with nothing in between.

fp16 files keep the weights of convolutions as float16 behind a DEQUANTIZE, which XNNPACK folds when it loads. int8
files are those of a plan: integers from the first convolution to the raw heads, floats between DEQUANTIZE and QUANTIZE
where the plan says so.
"""

from yolo_edge.export.canonical import check_canonical
from yolo_edge.export.graph import Graph
from yolo_edge.export.options import FileOptions
from yolo_edge.export.provenance import written
from yolo_edge.export.quantization.apply import QuantizedGraph
from yolo_edge.export.tflite import metadata
from yolo_edge.export.tflite.assembly import Assembly
from yolo_edge.export.tflite.flatbuffer import encode
from yolo_edge.export.tflite.heads import lower_heads
from yolo_edge.export.tflite.lowering import Lowering
from yolo_edge.export.tflite.pixels import lower_input
from yolo_edge.export.tflite.schema import SCHEMA
from yolo_edge.export.tflite.table import lower_nodes
from yolo_edge.ondevice.runtimes.tflite_file import IDENTIFIER
from yolo_edge.ondevice.spec import ModelSpec


def write_tflite(network: Graph | QuantizedGraph, spec: ModelSpec, options: FileOptions | str = "fp32") -> bytes:
    """Lower a network to TFLite. The same network and spec give the same bytes.

    Args:
        network: A graph in canonical form, or for int8 one with a plan put to it; not changed.
        spec: Goes into the file, with the precision and this program's name filled in.
        options: What the file shall be, or just its precision.

    Raises:
        NotCanonicalError: The graph is not in canonical form.
        InputError: An unknown option, or a network that cannot have it; the message names the layer.
        ValueError: A graph without a plan for int8, or with one for another precision.
    """
    if isinstance(options, str):
        options = FileOptions(options)
    options.check()
    options = options.resolved("tflite")
    quantized = network if isinstance(network, QuantizedGraph) else None
    if (quantized is not None) != (options.precision in ("int8", "int8x16")):
        raise ValueError(f"precision {options.precision} {'without' if quantized is None else 'with'} a plan")
    graph = network.graph if isinstance(network, QuantizedGraph) else network
    check_canonical(graph)
    assembly = Assembly()
    ctx = Lowering(assembly, options.precision)
    pixels = quantized if options.precision == "int8" else None
    source, spec = lower_input(ctx, graph.graph.inputs[0], spec, options.input or "float32", pixels)
    lower_nodes(ctx, graph.graph, quantized)
    raw = {value.name or "": value for value in graph.graph.outputs}
    outputs, spec = lower_heads(ctx, raw, spec, options, quantized)
    spec = written(spec, options.precision)
    tables = assembly.tables([source], outputs, spec.provenance.tool, {metadata.NAME: metadata.describe(spec)})
    return encode(SCHEMA, "Model", tables, IDENTIFIER, tail=metadata.archive(spec))
