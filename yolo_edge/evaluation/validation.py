"""From what detectors found in a dataset to the document that `yolo-edge validate --json` prints."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_edge.datasets import ClassMatch, Dataset, match_classes
from yolo_edge.evaluation.boxes import Floats, Found, Truth
from yolo_edge.evaluation.metrics import (
    LABEL_CONFIDENCE,
    METRICS,
    Difference,
    average_precision_50,
    bootstrap,
    differences,
    evaluate,
    intervals,
)
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.spec import ModelSpec


@dataclass(frozen=True)
class Validated:
    """A model that is looked at.

    Attributes:
        name: As the user named it.
        sha256: Of the file that was run.
        spec: Its spec.
    """

    name: str
    sha256: str
    spec: ModelSpec


@dataclass(frozen=True)
class Classes:
    """How the classes of models are those of a dataset.

    Attributes:
        matches: One entry a model.
        common: The classes that all models and the dataset have.
        remarks: What was left out, for a person.
    """

    matches: tuple[ClassMatch, ...]
    common: tuple[int, ...]
    remarks: tuple[str, ...]


def match_models(models: Sequence[Validated], dataset: Dataset) -> Classes:
    """Match the classes of each model with the dataset's.

    Raises:
        InputError: The classes of a model are not the dataset's.
    """
    common = set(range(len(dataset.names)))
    matches, remarks = [], []
    for model in models:
        named = dataset.names_known and model.spec.names_from != "none"
        try:
            match = match_classes(model.spec.names, dataset.names, named=named)
        except InputError as error:
            raise InputError(f"{model.name}: {error}") from error
        if match.by == "id":
            whose = f"{model.name} brings" if dataset.names_known else f"{dataset.source} brings"
            remarks.append(f"classes are matched by their ids, as {whose} no names")
        if match.only_dataset:
            remarks.append(
                f"{model.name} does not know {_some(match.only_dataset)}: left out, for all models, though labelled"
            )
        if match.only_model and dataset.names_known:
            remarks.append(
                f"{_some(match.only_model)} of {model.name} are not in the dataset: finding them counts nothing"
            )
        common &= set(match.to_dataset.tolist())
        matches.append(match)
    return Classes(tuple(matches), tuple(sorted(common)), tuple(dict.fromkeys(remarks)))


def check_labels(dataset: Dataset, classes: Classes) -> None:
    """Check that something can be measured.

    Raises:
        InputError: No label is of a class that can be compared.
    """
    if len(dataset.class_id) and not np.isin(dataset.class_id, classes.common).any():
        raise InputError(
            f"{dataset.source}: none of its labels is of a class that the models know ({'; '.join(classes.remarks)})"
        )


def assess(
    models: Sequence[Validated],
    dataset: Dataset,
    classes: Classes,
    found: Sequence[Found],
    milliseconds: Sequence[Floats] | None,
    settings: Sequence[dict[str, Any]],
    *,
    resamples: int,
    seed: int,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """The document: an entry a model, the others compared with the first.

    Args:
        models: What was run.
        dataset: The pictures that were looked at.
        classes: Of `match_models`.
        found: One entry a model, with its own class ids.
        milliseconds: One entry a model: of each inference; None: they mean nothing.
        settings: One entry a model: how it was run.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        threads: Of the bootstrap.
    """
    names = _told_apart(dataset.names if dataset.names_known else _names_by_id(models[0].spec, dataset))
    truth, counted = Truth.of_dataset(dataset), np.array(classes.common, np.int64)
    accuracies = [
        evaluate(truth, boxes.in_classes(match.to_dataset), classes=counted)
        for boxes, match in zip(found, classes.matches, strict=True)
    ]
    drawn = bootstrap(accuracies, resamples=resamples, seed=seed, threads=threads)
    changes = [None, *differences(accuracies, drawn=drawn)]
    agreements = [None, *(_agreement(models[0], found[0], *pair) for pair in zip(models[1:], found[1:], strict=True))]
    times_of: Sequence[Floats | None] = [None] * len(models) if milliseconds is None else milliseconds
    return [
        {
            "model": printable(model.name),
            "sha256": model.sha256,
            "images": accuracy.images,
            **{metric: accuracy.value(metric) for metric in METRICS},
            "intervals": intervals(accuracy, again),
            "by_size": accuracy.by_size,
            "difference": _difference(change),
            "agreement": agreement,
            "per_class": {
                names[i]: {**values, "boxes": int(accuracy.boxes[i])} for i, values in accuracy.per_class.items()
            },
            "inference_ms": None if times is None else float(np.median(times)),
            "settings": {**how, "resamples": resamples, "seed": seed},
        }
        for model, accuracy, again, change, agreement, times, how in zip(
            models, accuracies, drawn, changes, agreements, times_of, settings, strict=True
        )
    ]


def run_settings(spec: ModelSpec, confidence: float, iou: float, max_detections: int) -> dict[str, Any]:
    """What the detections were limited by: a file with NMS inside keeps to its own settings."""
    fixed = spec.heads[0].nms
    if fixed is None:
        return {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    return {
        "confidence": max(confidence, fixed.confidence),
        "iou": fixed.iou,
        "max_detections": min(max_detections, fixed.max_detections),
    }


def _difference(change: dict[str, Difference | None] | None) -> dict[str, list[float] | None] | None:
    if change is None:
        return None
    return {metric: None if d is None else [d.value, d.low, d.high] for metric, d in change.items()}


def _agreement(first: Validated, labels: Found, other: Validated, candidates: Found) -> float | None:
    """AP50 with what the first model would show as labels; None where no classes match, or it shows nothing."""
    try:
        match = match_classes(other.spec.names, first.spec.names)
    except InputError:
        return None
    shown = labels.select(labels.confidence > LABEL_CONFIDENCE)
    return average_precision_50(shown, candidates.in_classes(match.to_dataset))


def _names_by_id(spec: ModelSpec, dataset: Dataset) -> tuple[str, ...]:
    names = spec.names
    return tuple(names[i] if i < len(names) else name for i, name in enumerate(dataset.names))


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names as the keys of a table; those that stand twice with their ids."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({i})" for i, name in enumerate(names)]


def _some(names: Sequence[str], limit: int = 6) -> str:
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} other classes"
