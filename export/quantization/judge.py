"""How well a network detects, beside the float network: on pictures that stream by, with or without labels."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from yolo_edge.datasets import Dataset, Preparer, load_images, match_classes
from yolo_edge.evaluation import (
    LABEL_CONFIDENCE,
    MAX_DETECTIONS,
    RESAMPLES,
    Accuracy,
    Found,
    Truth,
    agreement_accuracy,
    bootstrap,
    differences,
    evaluate,
    intervals,
)
from yolo_edge.export.graph import Graph
from yolo_edge.export.quantization.session import GraphSession
from yolo_edge.ondevice.decode import decode
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import select
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.preprocess import Placement
from yolo_edge.ondevice.spec import ModelSpec

CANDIDATE_CONFIDENCE, IOU = 0.001, 0.45
_VALIDATE_IOU = 0.6  # as `validate`


def workers() -> int:
    """One a processor."""
    return os.cpu_count() or 1


def detect(
    spec: ModelSpec, outputs: Mapping[str, np.ndarray], placement: Placement, confidence: float, iou: float = IOU
) -> Detections:
    """Raw heads → detections in the picture."""
    boxes, scores, class_id = decode(spec, outputs, confidence)
    kept = select(spec, boxes, scores, class_id, iou, MAX_DETECTIONS)
    return Detections(placement.to_source(boxes[kept]), scores[kept], class_id[kept])


Interval: TypeAlias = tuple[float, float]


def likeness(labels: Found, found: Found) -> float | None:
    """Mean of AP50 and AP50-95 with other detections as labels, 0..1: finer than either; None: there are no labels."""
    accuracy = agreement_accuracy(labels, found)
    values = [accuracy.value(metric) for metric in ("mAP50", "mAP50_95")]
    return None if None in values else sum(value or 0.0 for value in values) / len(values)


@dataclass(frozen=True)
class Score:
    """How well a network detects; intervals are of 95 %, by a bootstrap over pictures.

    Attributes:
        agreement: AP50 with the float network's detections as labels; None: it finds nothing.
        drop: Points of mAP50 that are lost; None: there are no labels.
        agreement_interval: Of `agreement`; None: not asked for.
        interval: Of `drop`, paired; None: not asked for.
    """

    agreement: float | None
    drop: float | None
    agreement_interval: Interval | None = None
    interval: Interval | None = None


class StreamJudge:
    """Compares networks with the float network on pictures, of which it keeps detections only."""

    def __init__(self, graph: Graph, spec: ModelSpec, paths: Sequence[Path], dataset: Dataset | None = None):
        """Run the float network.

        Args:
            graph: The float network.
            spec: Of it.
            paths: Pictures.
            dataset: Their labels, in that order; None: without.

        Raises:
            InputError: The labels are of other classes.
        """
        self._spec, self._paths = spec, list(paths)
        self._truth: Truth | None = None
        self._to_dataset: np.ndarray | None = None
        if dataset is not None:
            match = match_classes(spec.names, dataset.names, named=dataset.names_known)
            self._truth, self._to_dataset = Truth.of_dataset(dataset), match.to_dataset
            self._classes = np.unique(match.to_dataset[match.to_dataset >= 0])
            if not np.isin(dataset.class_id, self._classes).any():
                raise InputError(f"{dataset.source}: none of its labels is of a class that the model knows")
        self._float = self._found(graph)
        labels = self._float
        self._labels = labels.select(labels.confidence > LABEL_CONFIDENCE)
        self._float_accuracy = self._accuracy(labels)

    @property
    def has_labels(self) -> bool:
        """Whether a drop of mAP can be told."""
        return self._truth is not None

    @property
    def can_agree(self) -> bool:
        """Whether the float network finds anything."""
        return len(self._labels.image) > 0

    def score(self, model: Graph, *, with_intervals: bool = True) -> Score:
        """How well a network detects."""
        found = self._found(model)
        before, after = self._float_accuracy, self._accuracy(found)
        agreement = drop = agreement_interval = interval = None
        if self.can_agree:
            seen = agreement_accuracy(self._labels, found)
            agreement = seen.value("mAP50")
            if with_intervals:
                agreement_interval = intervals(seen, _drawn(seen))["mAP50"]
        if before is not None and after is not None:
            drop = 100 * ((before.value("mAP50") or 0.0) - (after.value("mAP50") or 0.0))
            if with_intervals:
                change = differences([before, after], drawn=[self._float_drawn, _drawn(after)])[0]["mAP50"]
                interval = None if change is None else (0.0 - 100 * change.high, 0.0 - 100 * change.low)
        return Score(agreement, drop, agreement_interval, interval)

    def likeness(self, model: Graph) -> float | None:
        """How alike it detects; see `likeness`."""
        return likeness(self._labels, self._found(model))

    @cached_property
    def _float_drawn(self) -> Mapping[str, np.ndarray]:
        return {} if self._float_accuracy is None else _drawn(self._float_accuracy)

    def _accuracy(self, found: Found) -> Accuracy | None:
        if self._truth is None or self._to_dataset is None:
            return None
        return evaluate(self._truth, found.in_classes(self._to_dataset), classes=self._classes)

    def _found(self, model: Graph) -> Found:
        session = GraphSession(model, threads=1)
        iou = _VALIDATE_IOU if self.has_labels else IOU

        def one(item: tuple[np.ndarray, Placement]) -> Detections:
            tensor, placement = item
            outputs = session({self._spec.input.tensor: tensor})
            return detect(self._spec, outputs, placement, CANDIDATE_CONFIDENCE, iou)

        return Found.of_detections(list(in_order(one, self._items())))

    def _items(self) -> Iterator[tuple[np.ndarray, Placement]]:
        for item in load_images(self._paths, Preparer([self._spec.input]), workers=1):
            ((tensor, placement),) = item.get()
            yield tensor, placement


def _drawn(accuracy: Accuracy) -> Mapping[str, np.ndarray]:
    return bootstrap([accuracy], resamples=RESAMPLES)[0]


def in_order(
    work: Callable[[tuple[np.ndarray, Placement]], Detections], items: Iterator[tuple[np.ndarray, Placement]]
) -> Iterator[Detections]:
    """Do work in as many threads as there are processors; few items are in memory at a time."""
    count = workers()
    with ThreadPoolExecutor(count) as pool:
        waiting = []
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * count:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
