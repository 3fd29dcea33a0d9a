"""k-means dimension clusters, as in YOLOv2: anchors for the next training."""

from yolo_edge.anchors.heads import HeadAnchors, assign, default_strides, region_fragment, yolo_fragment
from yolo_edge.anchors.kmeans import STARTS, UPDATES, Clusters, cluster, score

__all__ = [
    "STARTS",
    "UPDATES",
    "Clusters",
    "HeadAnchors",
    "assign",
    "cluster",
    "default_strides",
    "region_fragment",
    "score",
    "yolo_fragment",
]
