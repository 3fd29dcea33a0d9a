"""What commands print: results on standard output, everything else on standard error."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from yolo_edge.ondevice.files import printable
from yolo_edge.ondevice.spec import ModelSpec

if TYPE_CHECKING:
    from yolo_edge.devices.finding import FarDetector
    from yolo_edge.ondevice.detector import Detector

    AnyDetector = Detector | FarDetector

T = TypeVar("T")

_WIDEST, _LONGEST = 1000, 120
_TEXT = TextColumn("{task.description}", markup=False)  # class names are texts of others


def print_json(value: Any) -> None:
    """Print one JSON document."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    typer.echo(text.decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], keys: int = 1) -> None:
    """Print a table; one that is wider than the terminal in parts, each with the first `keys` columns.

    Where these alone take more than half of the width, each part has a column of numbers in their place. A column
    whose heading ends in ">" is aligned to the right. Without any heading there is no head.
    """
    cells = [[_plain(cell) for cell in row] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDEST
    every = range(len(columns))
    if _width(_table(columns, cells, every)) > width < 2 * _width(_table(columns, cells, every[:keys])):
        columns, keys = ["#>", *columns], 1
        cells = [[str(number), *row] for number, row in enumerate(cells, 1)]
    parts, part = [], list(range(len(columns)))[:keys]
    for column in range(keys, len(columns)):
        # at least one column beside the keys: a terminal that is too narrow for these breaks the lines itself
        if len(part) > keys and _width(_table(columns, cells, [*part, column])) > width:
            parts.append(part)
            part = part[:keys]
        part.append(column)
    for shown in (*parts, part):
        _print_whole(_table(columns, cells, shown))


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]], shown: Sequence[int]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for column in (columns[i] for i in shown):
        right = column.endswith(">")
        table.add_column(column.removesuffix(">"), justify="right" if right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*(row[i] for i in shown))
    return table


def _width(table: Table) -> int:
    console = Console()
    return console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum


def _print_whole(table: Table) -> None:
    console = Console(highlight=False)
    console.width = max(_width(table), 1)  # never squeezed: numbers and names stay whole
    with console.capture() as shown:
        console.print(table)
    lines = [line.rstrip() for line in shown.get().splitlines()]
    typer.echo("\n".join([*filter(None, lines), ""]))


def _plain(cell: object) -> str:
    # names come from files: no markup, nothing that moves the cursor
    text = printable(str(cell))
    return (text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…").replace("[", r"\[")


def note(message: str) -> None:
    """Say something that is not the result."""
    with suppress(OSError):  # a note that cannot be shown does not stop the job
        typer.echo(printable(message), err=True)


def note_invalid(reasons: Sequence[str | None]) -> None:
    """Say why cells are not valid, each reason once; None: the cell is valid."""
    for reason, cells in Counter(filter(None, reasons)).items():
        which = "" if cells == len(reasons) else f", {cells} of {len(reasons)} cells"
        note(f"not valid{which}: {reason}")


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Go through `items` with a progress bar, on a terminal; `total` is how many, where they do not say."""
    with _progress() as bar:
        task = bar.add_task(what, total=len(items) if isinstance(items, Sized) else total)
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def steps(total: int | None) -> Iterator[Callable[[str], None]]:
    """Show a bar of `total` steps, on a terminal; call the value with what the next step does. None: nobody knows."""
    with _progress() as bar:
        task = bar.add_task("reading the model", total=total)
        begun = False

        def advance(what: str) -> None:
            nonlocal begun
            bar.update(task, description=what, advance=1 if begun else 0)
            begun = True

        yield advance


@contextmanager
def bars() -> Iterator[Callable[..., Callable[[str], None]]]:
    """Several bars at once, on a terminal: the value makes one of a name and, where known, the number of its steps."""
    with _progress() as progress:

        def make(name: str, total: int | None = None) -> Callable[[str], None]:
            task = progress.add_task(name, total=total)

            def advance(what: str) -> None:  # from any thread
                progress.update(task, description=what, advance=1)

            return advance

        yield make


@contextmanager
def running(total: int | None) -> Iterator[Callable[[int, str], None]]:
    """Show how a job goes that may have no end, on a terminal; call the value with what is done, and how it goes."""
    console = Console(stderr=True)
    endless = Progress(SpinnerColumn(), _TEXT, console=console, transient=True, disable=not console.is_terminal)
    with endless if total is None else _progress() as bar:
        task = bar.add_task("starting", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (_TEXT, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def note_names(spec: ModelSpec) -> None:
    """Tell a user whose model brought no class names."""
    classes = len(spec.names)
    if spec.names_from.endswith(" assumed"):
        source = spec.names_from.split(maxsplit=1)[0].upper()
        note(f"note: class names are {source}'s, assumed from the {classes} classes (--names says otherwise)")
    elif spec.names_from == "none":
        subject = "the class has no name" if classes == 1 else f"the {classes} classes have no names"
        note(f"note: {subject} (--names FILE gives them)")


def note_fixed_nms(detector: "AnyDetector") -> None:
    """Say where a file with NMS inside cannot do what is asked."""
    fixed = detector.spec.heads[0].nms
    if fixed is None:
        return
    asked = (detector.confidence < fixed.confidence, detector.iou != fixed.iou, detector.agnostic)
    if any(asked) or detector.max_detections > fixed.max_detections:
        note(
            f"note: NMS is in the file: confidence {fixed.confidence:g}, iou {fixed.iou:g}, class by class, "
            f"at most {fixed.max_detections}; only a higher --confidence and a lower --max-detections count"
        )


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def file_size(octets: int) -> str:
    """Bytes for a person: 1.33 MB, 570 kB."""
    return f"{octets / 1e6:.2f} MB" if octets >= 1e6 else f"{octets / 1e3:.0f} kB"


def count(number: float) -> str:
    """A large number for a person: 1.25 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.2f}{unit}"
    return f"{number:g}"
