"""`yolo-edge export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import Json, Model, Names, Resize, Weights, check_resize, sizes, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from yolo_edge.export.exporter import ExportedFile

# enough to see that a file works; calibration takes more
_VERIFY_PICTURES = 16


def export(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the files.", show_default=False)],
    weights: Weights = None,
    format_: Annotated[str, typer.Option("--format", help="onnx", metavar="LIST")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16, with commas between.", metavar="LIST")] = "fp32",
    size: Annotated[
        str | None,
        typer.Option(
            help="320 or 352x288 (width x height), with commas between. Default: the model's own.",
            metavar="LIST",
            show_default=False,
        ),
    ] = None,
    resize: Resize = None,
    names: Names = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures to verify the files with. Without it: noise.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Write ONNX files of a trained model, each run and compared with the source before it is written."""
    from yolo_edge.cli.output import describe_names, note, print_json, status
    from yolo_edge.export.exporter import export as export_model

    check_resize(resize)
    formats, precisions, wanted = split(format_, "format"), split(precision, "precision"), sizes(size)
    with status("reading the model") as shown:
        exported = export_model(
            model,
            output,
            weights=weights,
            formats=formats,
            precisions=precisions,
            sizes=wanted,
            resize=resize,
            names=names,
            pictures=_pictures(calibration),
            progress=shown.update,
        )
    if json:
        print_json(exported.files)
    else:
        _print_files(exported.files)
    told = describe_names(exported.spec.names_from, len(exported.spec.names))
    if told:
        note(told)


def _print_files(files: "Sequence[ExportedFile]") -> None:
    from yolo_edge.cli.output import note, print_table

    print_table(
        ["file", "input", "size>", "SNR dB>", "agreement>", "fused>", "speed>", "verified"],
        (
            [
                file.path,
                f"{file.input} {file.size[0]}x{file.size[1]}",
                f"{file.bytes / 1e6:.2f} MB",
                f"{min(file.snr_db):.1f}",
                "-" if file.agreement is None else f"{file.agreement:.3f}",
                f"{file.fused}/{file.convolutions}",
                f"{file.speed_vs_fp32:.2f}",
                "yes" if file.verified else "no",
            ]
            for file in files
        ),
    )
    note("SNR: the worst head against the source. speed: fp32 = 1, one thread, on this machine.")
    if any(file.agreement is None for file in files):
        note("agreement: not measured (it needs pictures with objects: --calibration DIR).")


def _pictures(folder: Path | None) -> "list[np.ndarray]":
    from yolo_edge.cli.pictures import find_images
    from yolo_edge.ondevice.images import read_image

    if folder is None:
        return []
    paths = find_images([str(folder)])
    step = -(-len(paths) // _VERIFY_PICTURES)
    return [read_image(path) for path in paths[::step]]
