"""What is in pictures, and what a detector found in them, as arrays over all pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_edge.datasets import Dataset
from yolo_edge.ondevice.detections import Detections

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """Labels of n pictures: m boxes.

    Attributes:
        images: n.
        classes: Class ids are 0..classes − 1.
        image: int64 [m].
        class_id: int64 [m].
        xyxy: float64 [m, 4], pixels.
        area: float64 [m], what COCO's sizes go by.
        crowd: bool [m]: matched by what share of a detection lies in it, by any number of them, and not counted.
        ignored: bool [m]: matched as others, and not counted: VOC's `difficult`.
    """

    images: int
    classes: int
    image: Integers
    class_id: Integers
    xyxy: Floats
    area: Floats
    crowd: Flags
    ignored: Flags

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "Truth":
        """The labels of a dataset."""
        return cls(
            images=len(dataset.paths),
            classes=len(dataset.names),
            image=dataset.image,
            class_id=dataset.class_id,
            xyxy=dataset.xyxy,
            area=dataset.area,
            crowd=dataset.crowd,
            ignored=dataset.difficult | dataset.crowd,
        )

    @classmethod
    def of_detections(cls, labels: "Found", classes: int) -> "Truth":
        """Detections taken as labels."""
        sides = labels.xyxy[:, 2:] - labels.xyxy[:, :2]
        nothing = np.zeros(len(labels.image), bool)
        return cls(
            images=labels.images,
            classes=classes,
            image=labels.image,
            class_id=labels.class_id,
            xyxy=labels.xyxy,
            area=sides.prod(axis=1),
            crowd=nothing,
            ignored=nothing,
        )


@dataclass(frozen=True)
class Found:
    """The detections of n pictures: d boxes, picture by picture.

    Attributes:
        images: n.
        image: int64 [d], rising.
        class_id: int64 [d].
        xyxy: float64 [d, 4], pixels.
        confidence: float64 [d].
    """

    images: int
    image: Integers
    class_id: Integers
    xyxy: Floats
    confidence: Floats

    @classmethod
    def of_detections(cls, pictures: Sequence[Detections]) -> "Found":
        """Put together what was found, one entry a picture."""
        none = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
        parts = [*pictures, none]
        return cls(
            images=len(pictures),
            image=np.repeat(np.arange(len(pictures)), [len(found) for found in pictures]),
            class_id=np.concatenate([found.class_id for found in parts]).astype(np.int64),
            xyxy=np.concatenate([found.xyxy for found in parts]).astype(np.float64),
            confidence=np.concatenate([found.confidence for found in parts]).astype(np.float64),
        )

    def select(self, keep: Flags | Integers) -> "Found":
        """Some of the detections of the same pictures, or all in another order."""
        return Found(self.images, self.image[keep], self.class_id[keep], self.xyxy[keep], self.confidence[keep])

    def in_classes(self, to_class: Integers) -> "Found":
        """The detections with other class ids; those whose new id is -1 are left out.

        Args:
            to_class: int64 [classes]: old id → new id.
        """
        class_id = to_class[self.class_id]
        keep = class_id >= 0
        return Found(self.images, self.image[keep], class_id[keep], self.xyxy[keep], self.confidence[keep])


def iou(detections: Floats, labels: Floats, crowd: Flags | bool = False) -> Floats:
    """Intersection over union, pair by pair.

    Args:
        detections: Corners x1, y1, x2, y2, [n, 4].
        labels: The same, [n, 4], or [1, 4] for all.
        crowd: Which labels are crowds: there it is the intersection over the area of the detection, as COCO has it.

    Returns:
        [n], 0..1; 0 where nothing is in both.
    """
    sides = np.minimum(detections[:, 2:], labels[:, 2:]) - np.maximum(detections[:, :2], labels[:, :2])
    intersection = np.clip(sides, 0, None).prod(axis=1)
    own = (detections[:, 2:] - detections[:, :2]).prod(axis=1)
    other = (labels[:, 2:] - labels[:, :2]).prod(axis=1)
    union = np.where(crowd, own, own + other - intersection)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(intersection > 0, intersection / union, 0.0)
