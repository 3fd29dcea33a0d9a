"""Labelled pictures of machine-readable codes, made of nothing but a seed: `scene(seed, index)`, `write_dataset`."""

from yolo_edge.sample.scenes.compose import Scene, scene
from yolo_edge.sample.scenes.dataset import Part, write_dataset

__all__ = ["Part", "Scene", "scene", "write_dataset"]
