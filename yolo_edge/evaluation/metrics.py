"""COCO's mAP of one model, and the difference of two with its interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from yolo_edge.evaluation.boxes import Floats, Found, Integers, Truth
from yolo_edge.evaluation.matching import SIZES, Matches, find_overlaps, match
from yolo_edge.evaluation.precision import Weights, average_precision

MAX_DETECTIONS = 300
"""Of a picture and class that count, unless `evaluate` is told."""
LABEL_CONFIDENCE = 0.25
"""`detect`'s own: agreement takes as labels what a model would show."""
RESAMPLES = 1000
"""Draws of a bootstrap, unless it is told."""
METRICS = ("mAP50", "mAP50_95")
"""The figures: AP at IoU 0.50, and the mean of those at 0.50, 0.55 … 0.95."""


@dataclass(frozen=True)
class Difference:
    """How much a figure is above another model's, on the same pictures.

    Attributes:
        value: As measured.
        low: Of the 95 % interval.
        high: Of the 95 % interval.
    """

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Accuracy:
    """COCO's mAP of one model.

    Attributes:
        classes: Class ids that count.
        matches: Of its detections with the labels.
        by_size: mAP50-95 of small, medium and large objects; None where there are none.
        images: How many pictures.
    """

    classes: Integers
    matches: Matches
    by_size: Mapping[str, float | None]
    images: int
    _number: int = field(repr=False)

    @cached_property
    def per_class(self) -> dict[int, dict[str, float]]:
        """Class id → AP by the names of `METRICS`; only classes that have labels."""
        ap = self._average_precision(np.ones((self.images, 1)))[..., 0]
        return {int(i): _summary(ap[i]) for i in self.classes if not np.isnan(ap[i, 0])}

    @property
    def boxes(self) -> Integers:
        """How many labels count, by class id."""
        return np.bincount(self.matches.positive_class, minlength=self._number)

    def value(self, metric: str) -> float | None:
        """The mean over the classes of one of `METRICS`; None where nothing is labelled."""
        values = [values[metric] for values in self.per_class.values()]
        return float(np.mean(values)) if values else None

    def resample(self, weights: Weights, threads: int = 1) -> dict[str, Floats]:
        """The figures for pictures drawn again.

        Args:
            weights: float64 [pictures, draws]: how often each picture was drawn.
            threads: To use.

        Returns:
            Name of `METRICS` → float64 [draws]; NaN where nothing labelled was drawn.
        """
        ap = self._average_precision(weights, threads)[self.classes]
        with np.errstate(invalid="ignore"):
            labelled = ~np.isnan(ap[:, 0])
            number = labelled.sum(axis=0).astype(float)
            number[number == 0] = np.nan
            return {
                "mAP50": np.nansum(ap[:, 0], axis=0) / number,
                "mAP50_95": np.nansum(ap.mean(axis=1), axis=0) / number,
            }

    def _average_precision(self, weights: Weights, threads: int = 1) -> Floats:
        return average_precision(self.matches, weights, self._number, threads)


def _summary(ap: Floats) -> dict[str, float]:
    return {"mAP50": float(ap[0]), "mAP50_95": float(ap.mean())}


def evaluate(
    truth: Truth, found: Found, *, classes: Integers | None = None, max_detections: int = MAX_DETECTIONS
) -> Accuracy:
    """COCO's evaluation of boxes, as pycocotools computes it.

    Args:
        truth: The labels.
        found: The detections, with the class ids of the labels.
        classes: Class ids that count; None: all.
        max_detections: A picture and class (COCO's own limit is 100).

    Raises:
        ValueError: Not as many pictures in both.
    """
    if truth.images != found.images:
        raise ValueError(f"expected as many pictures in both, got {truth.images} and {found.images}")
    counted = np.arange(truth.classes) if classes is None else classes
    overlaps = find_overlaps(truth, found, max_detections)
    matches = {size: match(truth, overlaps, size) for size in SIZES}
    accuracies = {size: Accuracy(counted, matches[size], {}, truth.images, truth.classes) for size in SIZES}
    by_size = {size: accuracies[size].value("mAP50_95") for size in SIZES if size != "all"}
    return Accuracy(counted, matches["all"], by_size, truth.images, truth.classes)


Drawn = Mapping[str, Floats]  # name of `METRICS` → its value in each resample


def bootstrap(
    accuracies: Sequence[Accuracy], *, resamples: int = RESAMPLES, seed: int = 0, threads: int = 1
) -> list[Drawn]:
    """The figures of models on pictures drawn again and again, with replacement, the same ones for all.

    Args:
        accuracies: Of the models, on the same pictures and classes.
        resamples: Draws.
        seed: Of the draws.
        threads: To use; the figures do not depend on it.
    """
    if not accuracies:
        return []
    images = accuracies[0].images
    rng = np.random.default_rng(seed)
    weights = np.asarray(rng.multinomial(images, np.full(images, 1 / images), resamples).T, np.float64)
    return [accuracy.resample(weights, threads) for accuracy in accuracies]


def differences(
    accuracies: Sequence[Accuracy],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drawn: Sequence[Drawn] | None = None,
) -> list[dict[str, Difference | None]]:
    """How much each of several models is above the first.

    A paired bootstrap (Efron & Tibshirani 1993): pictures are drawn with replacement, the same ones for all models;
    the interval is between the 2.5th and the 97.5th percentile of the differences.

    Args:
        accuracies: Of the models, on the same pictures and classes.
        resamples: Draws.
        seed: Of the draws.
        drawn: Of `bootstrap`, where that is there already.

    Returns:
        An entry for each model but the first: name of `METRICS` → difference; None where nothing is labelled.
    """
    if len(accuracies) < 2:
        return []
    base, *others = bootstrap(accuracies, resamples=resamples, seed=seed) if drawn is None else drawn
    return [
        {metric: _difference(accuracies[0], accuracy, metric, other[metric] - base[metric]) for metric in METRICS}
        for accuracy, other in zip(accuracies[1:], others, strict=True)
    ]


def intervals(accuracy: Accuracy, drawn: Drawn) -> dict[str, tuple[float, float] | None]:
    """The 95 % interval of a model's own figures, between percentiles of its bootstrap.

    Returns:
        Name of `METRICS` → its ends, with the figure between them; None where nothing is labelled.
    """
    found: dict[str, tuple[float, float] | None] = {}
    for metric in METRICS:
        value = accuracy.value(metric)
        if value is None or np.isnan(drawn[metric]).all():
            found[metric] = None
            continue
        low, high = np.nanpercentile(drawn[metric], [2.5, 97.5])
        found[metric] = (min(float(low), value), max(float(high), value))
    return found


def _difference(first: Accuracy, other: Accuracy, metric: str, drawn: Floats) -> Difference | None:
    before, after = first.value(metric), other.value(metric)
    if before is None or after is None or np.isnan(drawn).all():
        return None
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Difference(after - before, float(low), float(high))


def average_precision_50(labels: Found, candidates: Found) -> float | None:
    """COCO's AP at IoU 0.50 of `candidates`, with other detections as the truth.

    With those of a float model as labels this is the *agreement* of another file with it.

    Returns:
        The mean over the classes that have labels, 0..1; None when nothing is labelled.

    Raises:
        ValueError: Not as many pictures in both.
    """
    return agreement_accuracy(labels, candidates).value("mAP50")


def agreement_accuracy(labels: Found, candidates: Found) -> Accuracy:
    """The accuracy of `candidates`, with other detections as the truth; its mAP50 is `average_precision_50`."""
    classes = 1 + int(max(labels.class_id.max(initial=-1), candidates.class_id.max(initial=-1)))
    return evaluate(Truth.of_detections(labels, classes), candidates)
