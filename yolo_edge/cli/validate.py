"""`yolo-edge validate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo_edge.cli.options import (
    Anchors,
    DeviceName,
    ExactResize,
    Fast,
    Images,
    InventoryFile,
    Json,
    Names,
    Resize,
    Runtime,
    Sizes,
    SkipBad,
    SpecFile,
    Threads,
    Weights,
    check_resize,
    path,
    sized_name,
    sizes,
)
from yolo_edge.cli.options import anchors as read_anchors

if TYPE_CHECKING:
    from collections.abc import Sequence


def validate(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Models (.cfg or exported files); the others are compared with the first.",
            metavar="MODEL",
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
    size: Sizes = None,
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
    anchors: Anchors = None,
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
    from yolo_edge.cli.data import note_dataset, note_skipped
    from yolo_edge.cli.output import note, note_fixed_nms, note_names, print_json, track
    from yolo_edge.cli.places import detectors_on
    from yolo_edge.datasets import read_dataset
    from yolo_edge.evaluation.run import gather
    from yolo_edge.evaluation.validation import Validated, assess, check_labels, match_models, run_settings
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
    wanted = [(model, one) for model in models for one in sizes(size)]
    arguments = [
        {
            "model": model,
            "weights": weights if model.suffix.lower() == ".cfg" or not has_cfg else None,
            "names": names,
            "resize": resize,
            "spec_file": _spec_of(model, spec),
            "anchors": _anchors_of(model, read_anchors(anchors)),
            "exact": exact_resize,
            "size": one,
            **options,
        }
        for model, one in wanted
    ]
    with detectors_on(device, inventory, arguments) as place:
        detectors = place.detectors
        dataset = read_dataset(data, split=split, images=images, skip_bad=skip_bad, track=track)
        subjects = [
            Validated(sized_name(model, one), sha256, detector.spec)
            for (model, one), sha256, detector in zip(wanted, place.sha256, detectors, strict=True)
        ]
        classes = match_models(subjects, dataset)
        check_labels(dataset, classes)
        run = gather(
            place.search(dataset.paths),
            dataset,
            len(detectors),
            skip_bad=skip_bad,
            track=lambda items, total: track(items, "detecting", total),
        )
    check_labels(run.dataset, classes)  # pictures may have been left out
    how = {"data": printable(str(data)), "split": split, "fast": fast, "device": device, "exact_resize": exact_resize}
    settings = [{**run_settings(detector.spec, confidence, iou, max_detections), **how} for detector in detectors]
    results = assess(
        subjects,
        run.dataset,
        classes,
        run.found,
        None if place.emulated else run.milliseconds,
        settings,
        resamples=resamples,
        seed=seed,
    )
    if json:
        print_json(results)
    else:
        _print(results)
        if per_class:
            _print_classes(results)
    for detector in detectors:
        note_fixed_nms(detector)
    note_names(detectors[0].spec)
    for remark in classes.remarks:
        note(f"note: {remark}")
    note_dataset(dataset)
    note_skipped(run.skipped)
    if not json:
        _explain(results, run.seconds)


def _anchors_of(model: Path, anchors: "Sequence[tuple[float, float]]") -> "Sequence[tuple[float, float]]":
    """The anchors for a model that carries no spec."""
    from yolo_edge.cli.models import is_foreign_onnx

    return anchors if anchors and is_foreign_onnx(model) else ()


def _spec_of(model: Path, spec: Path | None) -> Path | None:
    """The `--spec` option, for models that need one: .onnx files that carry none."""
    from yolo_edge.cli.models import is_foreign_onnx

    return spec if spec is not None and is_foreign_onnx(model) else None


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
    columns += ["difference, mAP50>", "difference, mAP50-95>", "agreement>"] if several else []
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
