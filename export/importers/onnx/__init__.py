"""ONNX files of other trainers: YOLOv5, v7, v8, 11, X."""

from yolo_edge.export.importers.onnx.importer import import_onnx

__all__ = ["import_onnx"]
