"""TFLite files, written directly."""

from yolo_edge.export.tflite.writer import write_tflite

__all__ = ["write_tflite"]
