"""`yolo-edge report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_edge.cli.options import Json, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_edge.benchmarks.baseline import Comparison
    from yolo_edge.benchmarks.report.content import Content

_FORMS = {".html": "html", ".htm": "html", ".md": "markdown"}


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="What `benchmark` and `validate --json` wrote: files, and folders that hold them.",
            metavar="RESULTS",
            show_default=False,
            parser=path,
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="A .html page that needs no network, or a .md with pictures beside it; may be given twice.",
            show_default=False,
            parser=path,
        ),
    ] = None,
    accuracy: Annotated[
        list[Path] | None,
        typer.Option(help="What `yolo-edge validate --json` printed.", show_default=False, parser=path),
    ] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="An earlier result to compare with.", show_default=False, parser=path),
    ] = None,
    fail_above: Annotated[
        str | None,
        typer.Option(
            help="With --baseline: exit code 1 where a cell is slower by more, such as 5%.",
            metavar="PERCENT",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="A file for a row a cell.", show_default=False, parser=path)] = None,
    json: Json = False,
) -> None:
    """Make a page of benchmark results, and compare them with earlier ones."""
    from yolo_edge.benchmarks.accuracy import read_accuracy
    from yolo_edge.benchmarks.baseline import compare, differences, problems
    from yolo_edge.benchmarks.inputs import read_inputs
    from yolo_edge.benchmarks.report.content import gather
    from yolo_edge.benchmarks.result_file import read_result
    from yolo_edge.benchmarks.table import to_csv
    from yolo_edge.cli.output import note, print_json
    from yolo_edge.ondevice.errors import InputError, YoloEdgeError
    from yolo_edge.ondevice.files import write_atomically

    targets = output or []
    for target in targets:
        if target.suffix.lower() not in _FORMS:
            raise InputError(f"-o {target}: expected a .html or .md file, got {target.suffix or 'no suffix'}")
    for target in [*targets, *([csv] if csv else [])]:
        check_output_file(target)
    limit = _limit(fail_above)
    if limit is not None and not baseline:
        raise InputError("--fail-above: goes with --baseline")
    if not (targets or csv or baseline or json):
        raise InputError("nothing to do: -o FILE.html makes a page, --baseline OLD.json compares")
    inputs = read_inputs(results)
    runs = inputs.results
    known = [*inputs.accuracies, *(item for file in accuracy or () for item in read_accuracy(file))]
    comparisons = compare(runs, [read_result(file) for file in dict.fromkeys(baseline)]) if baseline else None
    content = gather(runs, known, comparisons, limit)
    for text in content.notes:
        note(f"note: {text}")
    for item in known:
        if not any(row.accuracy == item for row in content.rows):
            note(f"note: {item.model} has an accuracy and no latency")
    for target in targets:
        for file, text in _pages(content, target):
            write_atomically(file, text.encode())
        note(f"Page: {target}")
    if csv is not None:
        write_atomically(csv, to_csv(runs))
        note(f"Table: {csv}")
    if json:
        print_json({"cells": len(content.rows), "verdict": content.verdict, "baseline": comparisons})
    elif comparisons is not None:
        _print(comparisons, limit)
        for text in differences(comparisons):
            note(f"note: {text}")
        if any(item.verdict == "emulated" for item in comparisons):
            note("note: emulated cells are not judged: their times mean nothing")
    if not json:
        note(content.verdict)
    if comparisons is not None and limit is not None:
        found = problems(comparisons, limit)
        if found:
            more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
            raise YoloEdgeError(
                f"slower than the baseline by more than {limit * 100:.3g} %, or not to be judged: {found[0]}{more}"
            )


def check_output_file(path: Path) -> None:
    """Check, before the work, that a file can be written there.

    Raises:
        InputError: It cannot.
    """
    from yolo_edge.ondevice.files import check_output_folder, check_replaceable

    check_replaceable(path)
    check_output_folder(path.absolute().parent)


def _limit(text: str | None) -> float | None:
    """`5%` → 0.05.

    Raises:
        InputError: It is no percentage.
    """
    import re

    from yolo_edge.ondevice.errors import InputError

    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,4})?) ?%?", text.strip())
    if match is None:
        raise InputError(f"--fail-above {text!r}: expected a percentage such as 5%")
    return float(match[1]) / 100


def _pages(content: "Content", target: Path) -> "Sequence[tuple[Path, str]]":
    """The files that make up one output; pictures before the text that shows them."""
    from yolo_edge.benchmarks.report.page import html, markdown

    if _FORMS[target.suffix.lower()] == "html":
        return [(target, html(content))]
    text, pictures = markdown(content, target.stem)
    return [*((target.with_name(name), picture) for name, picture in pictures.items()), (target, text)]


def _print(comparisons: "Sequence[Comparison]", limit: float | None) -> None:
    from yolo_edge.benchmarks.report.table import BASELINE_COLUMNS, baseline_fields
    from yolo_edge.cli.output import print_table

    print_table(
        [f"{column.heading}{'>' if column.number else ''}" for column in BASELINE_COLUMNS],
        (baseline_fields(item, limit) for item in comparisons),
    )
