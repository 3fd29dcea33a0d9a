"""From a trained model to deployable files."""

from yolo_edge.export.canonical import NotCanonicalError, check_canonical
from yolo_edge.export.graph import Graph
from yolo_edge.export.onnx_writer import write_onnx
from yolo_edge.export.source import SourceModel, canonicalize
from yolo_edge.export.tflite import write_tflite

__all__ = ["Graph", "NotCanonicalError", "SourceModel", "canonicalize", "check_canonical", "write_onnx", "write_tflite"]
