"""From a trained model to deployable files.

`write_onnx` and `write_tflite` give the bytes of a file, which nothing has compared with its source; `yolo-edge export`
does that, calibrates, and measures.

Examples:
    >>> source = load_model("model.cfg")
    >>> data = write_tflite(canonicalize(source.graph), source.spec, FileOptions("fp16", head="decoded"))
    >>> Path("model.tflite").write_bytes(data)
"""

from yolo_edge.export.canonical import NotCanonicalError, check_canonical
from yolo_edge.export.graph import Graph
from yolo_edge.export.load import load_model
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.options import FileOptions
from yolo_edge.export.source import SourceModel, canonicalize
from yolo_edge.export.tflite import write_tflite

__all__ = [
    "FileOptions",
    "Graph",
    "NotCanonicalError",
    "SourceModel",
    "canonicalize",
    "check_canonical",
    "load_model",
    "write_onnx",
    "write_tflite",
]
