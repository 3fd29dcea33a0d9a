"""Labelled pictures of machine-readable codes, made of nothing but a seed: `scene(seed, index)`, `write_dataset`."""

from yolo_edge.sample.scenes.compose import scene
from yolo_edge.sample.scenes.dataset import Part, write_dataset
from yolo_edge.sample.scenes.scan import Scene

__all__ = ["Part", "Scene", "scene", "write_dataset"]
