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
    precision: Annotated[str, typer.Option(help="fp32, fp16, with commas between.", metavar="LIST")] = "fp32",
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
        str, typer.Option("--input", help="float32: RGB 0..1, or uint8: the pixels.", metavar="float32|uint8")
    ] = "float32",
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
            help="A folder of pictures to verify the files with. Without it: noise.", show_default=False, parser=path
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write ONNX and TFLite files of a trained model, each run and compared with the source before it is written."""
    from yolo_edge.cli.output import note, note_names, print_json, steps
    from yolo_edge.export.exporter import ExportOptions
    from yolo_edge.export.exporter import export as export_model
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import printable
    from yolo_edge.ondevice.spec import NmsOptions

    check_resize(resize)
    nms = NmsOptions(confidence, iou, max_detections)
    if head != "nms" and nms != NmsOptions():
        raise InputError("--confidence, --iou and --max-detections of export go with --head nms")
    options = ExportOptions(
        formats=split(format_, "format"),
        precisions=split(precision, "precision"),
        sizes=sizes(size),
        head=head,
        input=input_,
        nms=nms,
        resize=resize,
        names=names,
        licence=licence,
        spec=spec,
    )
    with steps(len(options.sizes) * (1 + len(options.formats) * len(options.precisions))) as advance:
        exported = export_model(
            model, output, options, weights=weights, pictures=_pictures(calibration), progress=advance
        )
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


def _pictures(folder: Path | None) -> "list[np.ndarray]":
    from yolo_edge.cli.pictures import find_images
    from yolo_edge.datasets import load_images

    if folder is None:
        return []
    paths = find_images([str(folder)])
    step = -(-len(paths) // _VERIFY_PICTURES)
    return [item.get() for item in load_images(paths[::step], lambda image: image)]
