"""`yolo-edge quickstart`."""

from pathlib import Path
from typing import Annotated

import typer

from yolo_edge.cli.options import Json, path


def quickstart(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for all that it makes.", parser=path)] = Path(
        "quickstart"
    ),
    json: Json = False,
) -> None:
    """Show the whole way on the built-in sample model, which finds QR codes, markers and bar codes."""
    from yolo_edge.cli.output import note, print_json, print_table, track
    from yolo_edge.quickstart import run

    summary = run(folder, lambda line: note(f"· {line}"), track)
    if json:
        print_json(summary)
        return
    rows = (
        (
            file.path,
            f"{file.bytes / 1000:.0f} kB",
            f"{file.mAP50 * 100:.1f}",
            f"{file.mAP50_95 * 100:.1f}",
            "-" if file.p50_ms is None else f"{file.p50_ms:.2f}",
            "-" if file.p90_ms is None else f"{file.p90_ms:.2f}",
        )
        for file in summary.files
    )
    print_table(("file", "size>", "mAP50>", "mAP50-95>", "p50 ms>", "p90 ms>"), rows)
    note("mAP on scenes that nothing was calibrated with; latency of one inference, one thread, on this machine.")
    if summary.invalid_reason:
        note(f"note: the latencies are not to be trusted: {summary.invalid_reason}")
    note(f"{summary.seconds:.0f} s. Look at {summary.page}; the commands are in {summary.folder}/commands.txt.")
    note("With a model of your own: yolo-edge export MODEL.cfg|.onnx --format onnx,tflite -o out, and the same steps.")
