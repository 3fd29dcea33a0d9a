"""`yolo-edge compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import Images, Json, Names, Resize, Weights, check_resize, path

if TYPE_CHECKING:
    from yolo_edge.datasets import Dataset
    from yolo_edge.export.comparison.compare import Compared

_SHOWN, _FEW = 15, 5  # layers in the terminal
_NOTHING = 1e-4  # of the signal: what adds less is not shown, unless nothing adds more


def compare(
    float_model: Annotated[
        Path,
        typer.Argument(
            metavar="FLOAT",
            help="The float network: a .cfg, an .onnx of any trainer, or a .tflite of ours.",
            show_default=False,
            parser=path,
        ),
    ],
    quantized: Annotated[
        Path,
        typer.Argument(
            metavar="QUANTIZED", help="Any .onnx or .tflite of that network.", show_default=False, parser=path
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="A dataset, whose labels give mAP, or a folder of pictures without labels.",
            metavar="DATASET",
            show_default=False,
            parser=path,
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Of a data.yaml or a VOC folder. Default: val.", show_default=False)
    ] = None,
    images: Images = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many pictures, evenly picked.")] = 64,
    layer_images: Annotated[int, typer.Option(min=1, help="So many of them for the layers.")] = 8,
    weights: Weights = None,
    resize: Resize = None,
    names: Names = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .html page that needs no network.", show_default=False, parser=path),
    ] = None,
    json: Json = False,
) -> None:
    """Say what a quantized file lost, layer by layer, why, and in which pictures it shows."""
    from yolo_edge.cli.output import note, print_json, steps
    from yolo_edge.cli.report import check_output_file
    from yolo_edge.export.comparison.compare import compare as compare_files
    from yolo_edge.ondevice.errors import InputError
    from yolo_edge.ondevice.files import write_atomically

    check_resize(resize)
    if output is not None:
        if output.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{output}: expected the name of a .html file")
        check_output_file(output)
        import yolo_edge.export.comparison.page  # noqa: F401 - before the work: that what the page needs is installed
    paths, dataset = _pictures(data, split, images, limit)
    with steps(4 + min(layer_images, len(paths))) as advance:
        compared = compare_files(
            float_model,
            quantized,
            paths,
            dataset=dataset,
            layer_images=layer_images,
            weights=weights,
            names=names,
            resize=resize,
            progress=advance,
        )
    if output is not None:
        from yolo_edge.export.comparison.page import html

        write_atomically(output, html(compared).encode())
    if json:
        print_json(compared.result)
    else:
        _print(compared)
    for text in compared.result.notes:
        note(f"note: {text}")
    if output is not None:
        note(f"Page: {output}")


def _pictures(data: Path, split: str | None, images: Path | None, limit: int) -> "tuple[list[Path], Dataset | None]":
    """Pictures, evenly picked, and their labels where there are any."""
    import numpy as np

    from yolo_edge.cli.data import note_dataset
    from yolo_edge.datasets import has_labels, read_dataset
    from yolo_edge.ondevice.pictures import find_images

    if split is None and images is None and data.is_dir() and not has_labels(data):
        found = find_images([str(data)])
        return [found[i] for i in _even(len(found), limit)], None
    dataset = read_dataset(data, split=split, images=images)
    note_dataset(dataset)
    keep = np.zeros(len(dataset.paths), bool)
    keep[_even(len(dataset.paths), limit)] = True
    chosen = dataset.select(keep)
    return list(chosen.paths), chosen


def _even(count: int, limit: int) -> list[int]:
    """Numbers of pictures, evenly spread; all where there are no more than `limit`."""
    if count <= limit:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _print(compared: "Compared") -> None:
    from yolo_edge.cli.output import note, print_table
    from yolo_edge.export.comparison.facts import facts

    result = compared.result
    for name, text in facts(result):
        typer.echo(f"{name}: {text}")
    for finding in result.findings:
        typer.echo(f"\n{finding.severity.upper()}: {finding.title}")
        typer.echo(_wrapped(finding.text))
        if finding.advice:
            typer.echo(_wrapped(f"What to do: {finding.advice}"))
    typer.echo("")
    rows = []
    shown = [layer for layer in result.layers[:_SHOWN] if layer.added >= _NOTHING]
    for layer in shown or result.layers[:_FEW]:
        stored = layer.stored
        rows.append(
            [
                layer.name,
                layer.op,
                f"{100 * layer.added:.2g}",
                f"{layer.sqnr_db:.1f}",
                "-" if layer.storage_sqnr_db is None else f"{layer.storage_sqnr_db:.1f}",
                "-" if layer.weight_sqnr_db is None else f"{layer.weight_sqnr_db:.1f}",
                "-" if stored is None else f"{100 * layer.saturated:.2g}",
                f"{layer.range[0]:.3g} … {layer.range[1]:.3g}",
                "float" if stored is None else f"{stored.range[0]:.3g} … {stored.range[1]:.3g}",
            ]
        )
    columns = [
        "layer",
        "operator",
        "added %>",
        "SQNR dB>",
        "stored dB>",
        "weights dB>",
        "cut off %>",
        "range",
        "stored",
    ]
    print_table(columns, rows)
    more = len(result.layers) - len(rows)
    note(
        "added: noise beyond what the layer reads, percent of its signal. SQNR: with what the layers before did wrong. "
        f"stored: the float result alone, as the file stores it.{f' {more} more layers: --json or -o.' if more else ''}"
    )
    if result.unmatched:
        note(f"without a counterpart: {', '.join(result.unmatched[:8])}{' …' if len(result.unmatched) > 8 else ''}")
    if result.pictures:
        worst = ", ".join(f"{Path(item.image).name} ({item.agreement:.2f})" for item in result.pictures[:4])
        note(f"They disagree most in {worst}; 1 is the same boxes.")


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
