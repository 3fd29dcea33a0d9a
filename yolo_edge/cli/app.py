"""The commands of `yolo-edge`."""

from typing import Annotated

import typer

from yolo_edge._version import __version__
from yolo_edge.cli.anchors import anchors
from yolo_edge.cli.benchmark import benchmark
from yolo_edge.cli.choose import choose
from yolo_edge.cli.compare import compare
from yolo_edge.cli.demo import demo
from yolo_edge.cli.detect import detect
from yolo_edge.cli.devices import devices
from yolo_edge.cli.export import export
from yolo_edge.cli.inspect import inspect
from yolo_edge.cli.options import Group
from yolo_edge.cli.quickstart import quickstart
from yolo_edge.cli.report import report
from yolo_edge.cli.sweep import sweep
from yolo_edge.cli.validate import validate

app = typer.Typer(
    name="yolo-edge",
    cls=Group,
    help="From a trained YOLO to an edge device: checked ONNX and TFLite files, what they find, and how well.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    quickstart,
    inspect,
    anchors,
    export,
    detect,
    validate,
    compare,
    benchmark,
    sweep,
    report,
    choose,
    demo,
):
    app.command()(command)
app.add_typer(devices)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"yolo-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
