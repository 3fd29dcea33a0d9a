"""`yolo-edge validate`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import (
    DeviceName,
    ExactResize,
    Fast,
    Images,
    InventoryFile,
    Json,
    Names,
    Resize,
    Runtime,
    SkipBad,
    SpecFile,
    Threads,
    Weights,
    check_resize,
    path,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.cli.output import AnyDetector
    from yolo_edge.datasets import ClassMatch, Dataset
    from yolo_edge.evaluation import Accuracy, Difference, Found


def validate(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Models (.cfg or exported files); the others are compared with the first.",
            metavar="MODEL...",
            show_default=False,
            parser=path,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="A data.yaml, COCO's instances.json, a VOC folder, or a folder of pictures with YOLO labels.",
            show_default=False,
            parser=path,
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Of a data.yaml or a VOC folder. Default: val.", show_default=False)
    ] = None,
    images: Images = None,
    weights: Weights = None,
    confidence: Annotated[float, typer.Option(help="Leave out what is at or below, 0..1.")] = 0.001,
    iou: Annotated[float, typer.Option(help="NMS drops a box that overlaps a better one by more, 0..1.")] = 0.6,
    max_detections: Annotated[int, typer.Option(help="Of one picture.")] = 300,
    threads: Threads = None,
    runtime: Runtime = "auto",
    fast: Fast = False,
    resize: Resize = None,
    names: Names = None,
    spec: SpecFile = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap behind the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of all classes too.")] = False,
    device: DeviceName = "local",
    inventory: InventoryFile = None,
    exact_resize: ExactResize = False,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Measure how well models detect: COCO's mAP on labelled pictures, side by side."""
    import numpy as np

    from yolo_edge.cli.data import note_dataset, note_skipped
    from yolo_edge.cli.output import note, note_fixed_nms, note_names, print_json, track
    from yolo_edge.cli.places import detectors_on
    from yolo_edge.datasets import read_dataset
    from yolo_edge.evaluation.run import gather
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import printable

    check_resize(resize)
    if not 1 <= resamples <= 100_000 or seed < 0:
        raise InputError(f"expected --resamples of 1..100000 and --seed of 0 or more, got {resamples} and {seed}")
    has_cfg = any(model.suffix.lower() == ".cfg" for model in models)
    options = {
        "confidence": confidence,
        "iou": iou,
        "max_detections": max_detections,
        "threads": threads,
        "runtime": runtime,
        "fast": fast,
    }
    arguments = [
        {
            "model": model,
            "weights": weights if model.suffix.lower() == ".cfg" or not has_cfg else None,
            "names": names,
            "resize": resize,
            "spec_file": _spec_of(model, spec),
            "exact": exact_resize,
            **options,
        }
        for model in models
    ]
    with detectors_on(device, inventory, arguments) as place:
        detectors = place.detectors
        dataset = read_dataset(data, split=split, images=images, skip_bad=skip_bad, track=track)
        matches, classes, remarks = _match_classes(detectors, models, dataset)
        _check_labels(dataset, classes, remarks, data)
        run = gather(
            place.search(dataset.paths),
            dataset,
            len(detectors),
            skip_bad=skip_bad,
            track=lambda items, total: track(items, "detecting", total),
        )
    _check_labels(run.dataset, classes, remarks, data)  # pictures may have been left out
    found = [boxes.in_classes(match.to_dataset) for boxes, match in zip(run.found, matches, strict=True)]
    if not dataset.names_known:  # matched by their ids: the model's names say more
        dataset = replace(dataset, names=_names_by_id(detectors[0], dataset))
    accuracies, changes = _measure(run.dataset, found, classes, resamples, seed)
    agreements = [
        None,
        *(_agreement(detectors[0], run.found[0], *pair) for pair in zip(detectors[1:], run.found[1:], strict=True)),
    ]
    results = [
        _result(
            dataset, model, detector, accuracy, change, agreement, None if place.emulated else float(np.median(times))
        )
        for model, detector, accuracy, change, agreement, times in zip(
            models, detectors, accuracies, [None, *changes], agreements, run.milliseconds, strict=True
        )
    ]
    for result in results:
        result["settings"].update(data=printable(str(data)), split=split, resamples=resamples, seed=seed, fast=fast)
        result["settings"].update(device=device, exact_resize=exact_resize)
    if json:
        print_json(results)
    else:
        _print(results)
        if per_class:
            _print_classes(results)
    for detector in detectors:
        note_fixed_nms(detector)
    note_names(detectors[0].spec)
    for remark in remarks:
        note(f"note: {remark}")
    note_dataset(dataset)
    note_skipped(run.skipped)
    if not json:
        _explain(results, run.seconds)


def _spec_of(model: Path, spec: Path | None) -> Path | None:
    """The `--spec` option, for models that need one: .onnx files that carry none."""
    from yolo_edge.export.summary import read_spec_text

    if spec is None or model.suffix.lower() != ".onnx" or read_spec_text(model) is not None:
        return None
    return spec


def _result(
    dataset: "Dataset",
    model: Path,
    detector: "AnyDetector",
    accuracy: "Accuracy",
    change: "dict[str, Difference | None] | None",
    agreement: float | None,
    milliseconds: float | None,
) -> dict[str, Any]:
    from yolo_edge.evaluation import METRICS
    from yolo_edge.ondevice.files import printable

    difference = None
    if change is not None:
        difference = {metric: None if d is None else [d.value, d.low, d.high] for metric, d in change.items()}
    return {
        "model": printable(str(model)),
        "images": accuracy.images,
        **{metric: accuracy.value(metric) for metric in METRICS},
        "by_size": accuracy.by_size,
        "difference": difference,
        "agreement": agreement,
        "per_class": {
            dataset.names[i]: {**values, "boxes": int(accuracy.boxes[i])} for i, values in accuracy.per_class.items()
        },
        "inference_ms": milliseconds,
        "settings": _settings(detector),
    }


def _match_classes(
    detectors: "Sequence[AnyDetector]", models: list[Path], dataset: "Dataset"
) -> "tuple[list[ClassMatch], list[int], list[str]]":
    """How each model's classes are the dataset's, the classes that all models and the dataset have, and remarks.

    Raises:
        InputError: The classes of a model are not the dataset's.
    """
    from yolo_edge.datasets import match_classes
    from yolo_edge.ondevice.errors import InputError

    common = set(range(len(dataset.names)))
    matches, remarks = [], []
    for detector, model in zip(detectors, models, strict=True):
        spec = detector.spec
        named = dataset.names_known and spec.names_from != "none"
        try:
            match = match_classes(spec.names, dataset.names, named=named)
        except InputError as error:
            raise InputError(f"{model}: {error}") from error
        if match.by == "id":
            whose = f"{model} brings" if dataset.names_known else f"{dataset.source} brings"
            remarks.append(f"classes are matched by their ids, as {whose} no names")
        if match.only_dataset:
            remarks.append(
                f"{model} does not know {_some(match.only_dataset)}: left out, for all models, though labelled"
            )
        if match.only_model and dataset.names_known:
            remarks.append(f"{_some(match.only_model)} of {model} are not in the dataset: finding them counts nothing")
        common &= set(match.to_dataset.tolist())
        matches.append(match)
    return matches, sorted(common), list(dict.fromkeys(remarks))


def _check_labels(dataset: "Dataset", classes: list[int], remarks: list[str], data: Path) -> None:
    """Raise InputError where no label is of a class that can be compared."""
    import numpy as np

    from yolo_edge.ondevice.errors import InputError

    if len(dataset.class_id) and not np.isin(dataset.class_id, classes).any():
        raise InputError(f"{data}: none of its labels is of a class that the models know ({'; '.join(remarks)})")


def _names_by_id(detector: "AnyDetector", dataset: "Dataset") -> tuple[str, ...]:
    names = detector.spec.names
    return tuple(names[i] if i < len(names) else name for i, name in enumerate(dataset.names))


def _some(names: "Sequence[str]", limit: int = 6) -> str:
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} other classes"


def _measure(
    dataset: "Dataset", found: "Sequence[Found]", classes: list[int], resamples: int, seed: int
) -> "tuple[list[Accuracy], list[dict[str, Difference | None]]]":
    import numpy as np

    from yolo_edge.evaluation import Truth, differences, evaluate

    truth = Truth.of_dataset(dataset)
    accuracies = [evaluate(truth, boxes, classes=np.array(classes, np.int64)) for boxes in found]
    return accuracies, differences(accuracies, resamples=resamples, seed=seed)


def _agreement(first: "AnyDetector", labels: "Found", other: "AnyDetector", candidates: "Found") -> float | None:
    """AP50 with what the first model would show as labels; None where their classes differ, or it shows nothing."""
    from yolo_edge.datasets import match_classes
    from yolo_edge.evaluation import LABEL_CONFIDENCE, average_precision_50
    from yolo_edge.ondevice.errors import InputError

    try:
        match = match_classes(other.spec.names, first.spec.names)
    except InputError:
        return None
    shown = labels.select(labels.confidence > LABEL_CONFIDENCE)
    return average_precision_50(shown, candidates.in_classes(match.to_dataset))


def _settings(detector: "AnyDetector") -> dict[str, Any]:
    fixed = detector.spec.heads[0].nms
    if fixed is None:
        return {"confidence": detector.confidence, "iou": detector.iou, "max_detections": detector.max_detections}
    return {
        "confidence": max(detector.confidence, fixed.confidence),
        "iou": fixed.iou,
        "max_detections": min(detector.max_detections, fixed.max_detections),
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _change(change: "Sequence[float] | None") -> str:
    if change is None:
        return "-"
    value, low, high = (round(100 * number, 2) + 0.0 for number in change)
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _print(results: list[dict[str, Any]]) -> None:
    from yolo_edge.cli.output import print_table

    several = len(results) > 1
    columns = ["model", "mAP50>", "mAP50-95>", "small>", "medium>", "large>"]
    columns += ["difference, mAP50>", "mAP50-95>", "agreement>"] if several else []
    rows = []
    for result in results:
        row = [Path(result["model"]).name, _percent(result["mAP50"]), _percent(result["mAP50_95"])]
        row += [_percent(value) for value in result["by_size"].values()]
        if several:
            change = result["difference"] or {}
            row += [_change(change.get(metric)) for metric in ("mAP50", "mAP50_95")]
            row.append("-" if result["agreement"] is None else f"{result['agreement']:.3f}")
        time = result["inference_ms"]
        rows.append([*row, "withheld" if time is None else f"{time:.1f} ms"])
    print_table([*columns, "inference>"], rows)


def _print_classes(results: list[dict[str, Any]]) -> None:
    from yolo_edge.cli.output import print_table

    columns = ["class", "boxes>"]
    for result in results:
        columns += [f"{Path(result['model']).stem}: mAP50>", "mAP50-95>"]
    first = results[0]["per_class"]
    print_table(
        columns,
        (
            [name, values["boxes"]]
            + [_percent(result["per_class"][name][metric]) for result in results for metric in ("mAP50", "mAP50_95")]
            for name, values in sorted(first.items(), key=lambda item: -item[1]["boxes"])
        ),
    )


def _holds_zero(result: dict[str, Any], metric: str) -> bool:
    change = (result["difference"] or {}).get(metric)
    return change is not None and change[1] <= 0 <= change[2]


def _explain(results: list[dict[str, Any]], seconds: float) -> None:
    from yolo_edge.cli.output import note, plural
    from yolo_edge.devices.inventory import LOCAL
    from yolo_edge.evaluation import LABEL_CONFIDENCE

    settings, images = results[0]["settings"], results[0]["images"]
    boxes = sum(values["boxes"] for values in results[0]["per_class"].values())
    note(
        f"COCO mAP in percent: {plural(images, 'picture')}, {plural(boxes, 'box', 'boxes')} of "
        f"{plural(len(results[0]['per_class']), 'class', 'classes')}; "
        f"confidence {settings['confidence']:g}, NMS IoU {settings['iou']:g}, at most {settings['max_detections']} "
        "detections a picture."
    )
    if len(results) > 1:
        note(
            f"difference: to the first model, in points, with the 95 % interval of a paired bootstrap over the "
            f"pictures ({settings['resamples']} draws)."
        )
        for metric, shown in (("mAP50", "mAP50"), ("mAP50_95", "mAP50-95")):
            unclear = [Path(result["model"]).name for result in results[1:] if _holds_zero(result, metric)]
            if unclear:
                note(f"No difference can be told in {shown}: {', '.join(unclear)} (the interval holds 0).")
        note(f"agreement: AP50 with the first model's detections above {LABEL_CONFIDENCE:g} as labels.")
    where = "" if settings["device"] == LOCAL else f" on {settings['device']}"
    if results[0]["inference_ms"] is None:
        note(f"Detected{where}, which is emulated: its times mean nothing, and are withheld.")
        return
    rate = images * len(results) / seconds if seconds else 0.0
    note(
        f"{seconds:.1f} s{where}, {rate:.1f} pictures a second and model. inference: median in this job, beside the "
        "loading of pictures; no benchmark."
    )
