"""darknet: a cfg text and a weights file."""

from yolo_edge.export.importers.darknet.network import import_darknet

__all__ = ["import_darknet"]
