"""`yolo-edge export`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import Json, Names, Resize, Source, SpecFile, Weights, check_resize, path, sizes, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

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
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, with commas between.", metavar="LIST")] = "fp32",
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
            help="The .plan.json of an earlier int8 export, edited or not, instead of --calibration.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write ONNX and TFLite files of a trained model, each run and compared with the source before it is written."""
    from yolo_edge.cli.output import note, note_names, print_json, steps
    from yolo_edge.export.exporter import ExportOptions, Int8Options
    from yolo_edge.export.exporter import export as export_model
    from yolo_edge.export.quantization.recipe import RECIPES
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import printable
    from yolo_edge.ondevice.spec import NmsOptions

    check_resize(resize)
    nms = NmsOptions(confidence, iou, max_detections)
    if head != "nms" and nms != NmsOptions():
        raise InputError("--confidence, --iou and --max-detections of export go with --head nms")
    paths, precisions = find_calibration(calibration), split(precision, "precision")
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
        output_type=output_type,
        int8=Int8Options(paths if "int8" in precisions else (), calibration_images, seed, range_, plan),
    )
    pictures = _read(paths) if "int8" not in precisions else []
    trials = len(RECIPES) + 1 if options.int8.pictures else 0
    with steps(len(options.sizes) * (1 + trials + len(options.formats) * len(precisions))) as advance:
        exported = export_model(model, output, options, weights=weights, pictures=pictures, progress=advance)
    if json:
        print_json([replace(file, path=printable(file.path)) for file in exported.files])
    else:
        _print_files(exported.files)
    for text in exported.notes:
        note(f"note: {text}")
    note_names(exported.spec)


def _print_files(files: "Sequence[ExportedFile]") -> None:
    from yolo_edge.cli.output import note, print_table

    print_table(
        ["file", "input", "size>", "SNR dB>", "agreement>", "fused>", "speed>"],
        (
            [
                Path(file.path).name,
                f"{file.input} {file.size[0]}x{file.size[1]}",
                f"{file.bytes / 1e6:.2f} MB" if file.bytes >= 1e6 else f"{file.bytes / 1e3:.0f} kB",
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
    from yolo_edge.cli.pictures import find_images
    from yolo_edge.datasets import read_dataset

    if calibration is None:
        return []
    if calibration.suffix.lower() in (".yaml", ".yml", ".json"):
        return list(read_dataset(calibration, training=True).paths)
    return find_images([str(calibration)])


def _read(paths: "Sequence[Path]") -> "list[np.ndarray]":
    """Some of the pictures, to verify with."""
    from yolo_edge.datasets import load_images

    step = -(-len(paths) // _VERIFY_PICTURES) or 1
    return [item.get() for item in load_images(paths[::step], lambda image: image)]
