"""Runtimes side by side: a row for each model and number of threads, a column for each runtime."""

from collections.abc import Sequence

from yolo_edge.benchmarks.report.content import Content, Row
from yolo_edge.benchmarks.report.table import Column, milliseconds
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, cells_of


def runtime_columns(content: Content) -> list[Column]:
    """Those of the table; none where no model was measured in several runtimes of one run."""
    names = _names(content)
    if not names:
        return []
    several = len(content.results) > 1
    title = "median inference, ms, and its multiple of the first runtime's, with the 95 % interval"
    return [
        Column("model", False),
        Column("threads"),
        *([Column("run", True, "see the runs below")] if several else []),
        *(Column(name, True, title) for name in names),
    ]


def runtime_rows(content: Content) -> list[list[str]]:
    """The texts of the rows, as `runtime_columns` has them."""
    names = _names(content)
    several = len(content.results) > 1
    found = []
    for (run, model, threads), rows in _groups(content).items():
        result = content.results[run - 1]
        by_name = {_name(row.cell): row for row in rows}
        first = [model, str(threads), *([str(run)] if several else [])]
        found.append([*first, *(_field(result, rows[0], by_name.get(name)) for name in names)])
    return found


def left_out(content: Content) -> list[str]:
    """What was asked for and could not be measured, and why."""
    return [
        f"{'' if len(content.results) == 1 else f'run {number}: '}{one.model} in {one.runtime}: {one.reason}"
        for number, result in enumerate(content.results, 1)
        for one in result.left_out
    ]


def _groups(content: Content) -> dict[tuple[int, str, int], list[Row]]:
    """The rows of models that have several runtimes in one run."""
    groups: dict[tuple[int, str, int], list[Row]] = {}
    for row in content.rows:
        groups.setdefault((row.run, row.model, row.cell.threads), []).append(row)
    return {key: rows for key, rows in groups.items() if len(rows) > 1}


def _names(content: Content) -> Sequence[str]:
    return list(dict.fromkeys(_name(row.cell) for rows in _groups(content).values() for row in rows))


def _name(cell: Cell) -> str:
    return f"{cell.runtime} {cell.runtime_version or ''}".strip()


def _field(result: BenchmarkResult, first: Row, row: Row | None) -> str:
    if row is None:
        return "-"
    if row.cell.emulated:
        return "withheld"
    time = milliseconds(row.cell.latency_ms.p50)
    for ratio in result.ratios:
        one, other = cells_of(result, ratio)
        if one is row.cell and other is first.cell:
            low, high = ratio.ci95
            return f"{time} ({ratio.ratio:.2f}, {low:.2f} to {high:.2f})" + ("" if row.trusted else ", not valid")
    return time if row.trusted else f"{time}, not valid"
