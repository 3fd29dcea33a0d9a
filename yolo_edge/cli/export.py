"""`yolo-edge export`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import (
    Anchors,
    Json,
    Names,
    Resize,
    Source,
    SpecFile,
    Weights,
    check_resize,
    path,
    sizes,
    split,
)
from yolo_edge.cli.options import anchors as read_anchors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from yolo_edge.export.controlled import ControlOptions
    from yolo_edge.export.exporter import ExportedFile

# enough to see that a file works; calibration takes more
_VERIFY_PICTURES = 16


def export(
    model: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the files.", show_default=False, parser=path)
    ],
    weights: Weights = None,
    format_: Annotated[
        str, typer.Option("--format", help="onnx, tflite, with commas between.", metavar="LIST")
    ] = "onnx",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, int8, int8-weights, int8x16, with commas between; or auto: the fastest that holds a "
            "limit.",
            metavar="LIST",
        ),
    ] = "fp32",
    size: Annotated[
        str | None,
        typer.Option(
            help="320 or 352x288 (width x height), with commas between. Default: the model's own.",
            metavar="LIST",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            help="The outputs: raw maps, decoded boxes and scores, or boxes after nms.", metavar="raw|decoded|nms"
        ),
    ] = "raw",
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="float32: RGB 0..1, uint8: the pixels, int8: the integers of an int8 file. Default: float32; int8 for "
            "TFLite in int8.",
            metavar="float32|uint8|int8",
            show_default=False,
        ),
    ] = None,
    output_type: Annotated[
        str | None,
        typer.Option(
            help="Raw heads of int8 files: float32 or int8. Default: float32; int8 for TFLite.",
            metavar="float32|int8",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="With --head nms: leave out what is at or below.")] = 0.25,
    iou: Annotated[float, typer.Option(help="With --head nms: how much boxes of a class may overlap.")] = 0.45,
    max_detections: Annotated[int, typer.Option(help="With --head nms: rows of the output.")] = 300,
    resize: Resize = None,
    names: Names = None,
    spec: SpecFile = None,
    anchors: Anchors = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Of the weights. Default: what a licence file beside them says.", show_default=False),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Pictures to make int8 files with, and to verify all files with: a folder, or a dataset (its training "
            "part). Without it: noise, and no int8.",
            metavar="DIR|DATASET",
            show_default=False,
            parser=path,
        ),
    ] = None,
    calibration_images: Annotated[int, typer.Option(help="How many of them, drawn at random, at most.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, and of int8.")] = 0,
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            help="How far int8 tensors reach: what was seen, all but one in 10000 values, the least square error, or "
            "the least that reaches the detections.",
            metavar="minmax|percentile|mse|auto",
        ),
    ] = "auto",
    plan: Annotated[
        Path | None,
        typer.Option(
            help="The .plan.json or .front.json of an earlier int8 export, edited or not, instead of --calibration.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    point: Annotated[
        int | None, typer.Option(help="Of a .front.json; default: the one that was chosen.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="For a limit: a labelled dataset. Its training part calibrates, one half of its validation part "
            "steers, the other judges.",
            metavar="DATASET",
            show_default=False,
            parser=path,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="With --data: layers go back to float until int8 loses at most so many points of mAP50.",
            show_default=False,
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            help="The same without labels: AP50 with the float model's detections as labels, 0..1.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where results of a limit are kept, so that an interrupted job goes on. Default: the user's cache.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write ONNX and TFLite files of a trained model, each run and compared with the source before it is written."""
    from yolo_edge.cli.output import note, note_names, print_json, steps
    from yolo_edge.export.exporter import export as export_model
    from yolo_edge.export.job import PLANNED, ExportOptions, Int8Options
    from yolo_edge.export.quantization.recipe import RECIPES
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import printable
    from yolo_edge.ondevice.spec import NmsOptions

    check_resize(resize)
    nms = NmsOptions(confidence, iou, max_detections)
    if head != "nms" and nms != NmsOptions():
        raise InputError("--confidence, --iou and --max-detections of export go with --head nms")
    paths, precisions = find_calibration(calibration), split(precision, "precision")
    notes: list[str] = []
    control = None
    if max_drop is not None or min_agreement is not None:
        control, paths, notes = _limit(max_drop, min_agreement, data, paths, calibration_images, seed, cache)
    elif data is not None:
        raise InputError("--data goes with --max-drop or --min-agreement")
    quantizes = bool({*PLANNED, "auto"}.intersection(precisions))
    if control is not None and (not {"int8", "auto"}.intersection(precisions) or plan is not None):
        raise InputError("--max-drop and --min-agreement go with --precision int8 or auto, and without --plan")
    if point is not None and plan is None:
        raise InputError("--point goes with --plan FILE.front.json")
    options = ExportOptions(
        formats=split(format_, "format"),
        precisions=precisions,
        sizes=sizes(size),
        head=head,
        input=input_,
        nms=nms,
        resize=resize,
        names=names,
        licence=licence,
        spec=spec,
        anchors=read_anchors(anchors),
        output_type=output_type,
        int8=Int8Options(paths if quantizes else (), calibration_images, seed, range_, plan, point, control),
    )
    pictures = _read(paths) if not quantizes else []
    trials = len(RECIPES) + 1 if options.int8.pictures else 0
    many = len(options.sizes) * (1 + trials + len(options.formats) * len(precisions))
    with steps(many if control is None else None) as advance:
        exported = export_model(model, output, options, weights=weights, pictures=pictures, progress=advance)
    if json:
        print_json([replace(file, path=printable(file.path)) for file in exported.files])
    else:
        _print_files(exported.files)
    for text in (*notes, *exported.notes):
        note(f"note: {text}")
    note_names(exported.spec)


def _print_files(files: "Sequence[ExportedFile]") -> None:
    from yolo_edge.cli.output import file_size, note, print_table

    print_table(
        ["file", "input", "size>", "SNR dB>", "agreement>", "fused>", "speed>"],
        (
            [
                Path(file.path).name,
                f"{file.input} {file.size[0]}x{file.size[1]}",
                file_size(file.bytes),
                f"{min(file.snr_db):.1f}",
                "-" if file.agreement is None else f"{file.agreement:.3f}",
                f"{file.fused}/{file.convolutions}",
                f"{file.speed_vs_fp32:.2f}",
            ]
            for file in files
        ),
    )
    note(f"In {Path(files[0].path).parent}; each was run and compared with the source before it was written.")
    note("SNR: the worst head against the source. speed: fp32 of the same format = 1, one thread, on this machine.")
    if any(file.agreement is None for file in files):
        note("agreement: not measured where the source found nothing (--calibration DIR gives it pictures).")


def find_calibration(calibration: Path | None) -> list[Path]:
    """The pictures of a folder, or of the training part of a dataset.

    Raises:
        InputError: There are none.
    """
    from yolo_edge.datasets import read_dataset
    from yolo_edge.ondevice.pictures import find_images

    if calibration is None:
        return []
    if calibration.suffix.lower() in (".yaml", ".yml", ".json"):
        return list(read_dataset(calibration, training=True).paths)
    return find_images([str(calibration)])


def _limit(
    max_drop: float | None,
    min_agreement: float | None,
    data: Path | None,
    pictures: "Sequence[Path]",
    count: int,
    seed: int,
    cache: Path | None,
) -> "tuple[ControlOptions, list[Path], list[str]]":
    """A limit with the pictures that steer and judge, those that calibrate, and who is who in words.

    Raises:
        InputError: The options contradict each other, or there are too few pictures.
    """
    from yolo_edge.cli.data import note_dataset
    from yolo_edge.datasets import read_dataset
    from yolo_edge.export.controlled import ControlOptions
    from yolo_edge.export.quantization.cache import default_folder
    from yolo_edge.export.quantization.control import Limit
    from yolo_edge.export.quantization.roles import roles_of_dataset, roles_of_pictures
    from yolo_edge.ondevice.errors import InputError

    if max_drop is not None and min_agreement is not None:
        raise InputError("--max-drop and --min-agreement: one of both")
    if max_drop is not None and data is None:
        raise InputError("--max-drop needs labels: --data DATASET; without labels there is --min-agreement")
    if data is None and not pictures:
        raise InputError("--min-agreement needs pictures: --data DATASET or --calibration DIR")
    if not 0 <= (min_agreement or 0.0) <= 1:
        raise InputError(f"--min-agreement: expected 0..1, got {min_agreement}")
    if not 0 <= (max_drop or 0.0) <= 100:
        raise InputError(f"--max-drop: expected points of mAP50, 0..100, got {max_drop}")
    if data is None:
        roles = roles_of_pictures(pictures, count, seed)
    else:
        validation = read_dataset(data)
        note_dataset(validation)
        if pictures:
            roles = roles_of_dataset(validation, pictures, count, seed, source="what --calibration names")
        else:
            roles = roles_of_dataset(validation, read_dataset(data, training=True).paths, count, seed)
    limit = Limit(max_drop, min_agreement)
    options = ControlOptions(limit, roles.steer, roles.judge, cache or default_folder() / "control")
    return options, list(roles.calibration), list(roles.notes)


def _read(paths: "Sequence[Path]") -> "list[np.ndarray]":
    """Some of the pictures, to verify with."""
    from yolo_edge.datasets import load_images

    step = -(-len(paths) // _VERIFY_PICTURES) or 1
    return [item.get() for item in load_images(paths[::step], lambda image: image)]
