"""The table of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from yolo_edge.benchmarks.baseline import Comparison
from yolo_edge.benchmarks.report.content import Content, LabelledRatio, Row
from yolo_edge.benchmarks.report.energy import millijoules
from yolo_edge.benchmarks.results import Cell, CellRatio, Latency


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it holds numbers, and what the heading means."""

    heading: str
    number: bool = True
    title: str = ""


def columns(content: Content) -> list[Column]:
    """Those of this content: what no row has is left out."""
    several = len(content.results) > 1
    accuracy = any(row.accuracy is not None for row in content.rows)
    return [
        Column("model", False),
        Column("threads"),
        Column("valid", False),
        *([Column("run", True, "see the runs below")] if several else []),
        *([Column("device", False)] if len({row.cell.device for row in content.rows}) > 1 else []),
        Column("runtime", False),
        Column("p50, ms", True, "median inference"),
        Column("95 % interval", False, "of the median"),
        Column("p90, ms"),
        Column("p99, ms"),
        Column("mean, ms"),
        Column("n", True, "inferences"),
        Column("pre, ms", True, "picture to tensor, median"),
        Column("post, ms", True, "outputs to boxes, median"),
        Column("image to boxes, ms", True, "median"),
        *(
            Column(f"{kind}, mJ ({scope})", True, f"energy from the picture to its boxes{what}")
            for scope in _scopes(content)
            for kind, what in (("gross", ""), ("net", ", without what the idle machine takes"))
        ),
        *([Column("mAP50-95"), Column("mAP50"), Column("Pareto", False)] if accuracy else []),
        Column("precision", False),
        Column("file, MB"),
        Column("first, ms", True, "first inference"),
        Column("load, ms", True, "the model alone"),
        Column("memory, MB", True, "peak of the worker process, libraries included"),
        Column("of fp32 peak", True, "of what the machine reaches multiplying matrices"),
        *([Column("no energy because", False)] if any(row.cell.energy_mj is None for row in content.rows) else []),
    ]


def fields(content: Content, row: Row) -> list[str]:
    """The texts of a row, as `columns` has them."""
    cell, latency = row.cell, row.cell.latency_ms
    several = len(content.results) > 1
    devices = len({other.cell.device for other in content.rows}) > 1
    found = [row.model, str(cell.threads), validity(cell)]
    found += [str(row.run)] if several else []
    found += [cell.device] if devices else []
    times = [
        milliseconds(latency.p50),
        f"{milliseconds(latency.ci95[0])} to {milliseconds(latency.ci95[1])}",
        *(milliseconds(value) for value in (latency.p90, latency.p99, latency.mean)),
        f"{latency.n}",
        *(_median(value) for value in (cell.preprocess_ms, cell.postprocess_ms, cell.total_ms)),
    ]
    found += [cell.runtime, *(["withheld", *["-"] * (len(times) - 1)] if cell.emulated else times)]
    found += _energy(content, row)
    if any(other.accuracy is not None for other in content.rows):
        quality = row.accuracy
        found += (
            ["-", "-", ""]
            if quality is None
            else [
                f"{quality.mAP50_95:.1%}",
                f"{quality.mAP50:.1%}",
                "front" if row.pareto else "",
            ]
        )
    found += [
        cell.precision or "-",
        f"{cell.bytes / 1e6:.2f}",
        *("-" if cell.emulated else milliseconds(value) for value in (cell.first_ms, cell.load_ms)),
        "-" if cell.memory_mb is None else f"{cell.memory_mb:.0f}",
        "-" if cell.peak_share is None or cell.emulated else f"{cell.peak_share:.1%}",
    ]
    if any(other.cell.energy_mj is None for other in content.rows):
        found.append("" if cell.energy_mj else cell.energy_reason or "not measured")
    return found


def _scopes(content: Content) -> list[str]:
    """Figures of different scopes are never in one column."""
    return list(dict.fromkeys(row.scope for row in content.rows if row.scope is not None))


def _energy(content: Content, row: Row) -> list[str]:
    energy, found = row.cell.energy_mj, []
    for scope in _scopes(content):
        here = energy is not None and row.scope == scope
        found += [millijoules(energy.gross), millijoules(energy.net)] if energy and here else ["-", "-"]
    return found


def validity(cell: Cell) -> str:
    """Whether the figures of a cell are to be trusted, in few words; the reasons of a run stand above the table."""
    words = ["yes" if cell.valid else "no", *(["emulated"] if cell.emulated else [])]
    return ", ".join(words)


def ratio_fields(item: LabelledRatio) -> list[str]:
    """What, to what, ratio, interval, rounds, verdict."""
    ratio = item.ratio
    return [
        item.a,
        item.b,
        f"{ratio.ratio:.3f}",
        f"{ratio.ci95[0]:.3f} to {ratio.ci95[1]:.3f}",
        f"{ratio.rounds} of {ratio.of_rounds}",
        "; ".join([ratio.verdict, *ratio_marks(ratio, item.trusted)]),
    ]


def ratio_marks(ratio: CellRatio, trusted: bool) -> list[str]:
    """What speaks against a ratio, in words."""
    marks = [] if trusted else ["not valid"]
    return [*marks, "disturbed rounds too"] if ratio.undisturbed is False else marks


RATIO_COLUMNS = (
    Column("cell", False),
    Column("compared with", False),
    Column("time, as a multiple"),
    Column("95 % interval", False),
    Column("rounds", False, "those that it is from, of all"),
    Column("verdict", False),
)

BASELINE_COLUMNS = (
    Column("model", False),
    Column("runtime", False),
    Column("threads"),
    Column("baseline, ms"),
    Column("now, ms"),
    Column("time, as a multiple"),
    Column("95 % interval", False),
    Column("verdict", False),
)


def baseline_fields(item: Comparison, limit: float | None) -> list[str]:
    """A row of the comparison with the baseline."""
    hidden = item.verdict == "emulated"
    return [
        item.model,
        item.runtime,
        str(item.threads),
        *("-" if value is None or hidden else milliseconds(value) for value in (item.old_ms, item.new_ms)),
        "-" if item.ratio is None or hidden else f"{item.ratio:.3f}",
        "-" if item.ci95 is None or hidden else f"{item.ci95[0]:.3f} to {item.ci95[1]:.3f}",
        verdict_text(item, limit),
    ]


def verdict_text(item: Comparison, limit: float | None) -> str:
    """The verdict with what goes with it."""
    if item.verdict == "not valid":
        return f"not valid: {item.reason}"
    if item.verdict == "emulated":
        return "emulated, not judged: its times mean nothing"
    if item.verdict == "too few repeats":
        return "too few repeats to tell"
    if item.verdict == "slower" and limit is not None and item.ratio is not None:
        return f"slower, {'above' if item.ratio > 1 + limit else 'within'} the limit of {limit * 100:.3g} %"
    return item.verdict


def milliseconds(value: float | None) -> str:
    """Four digits that count."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def _median(latency: Latency | None) -> str:
    return "-" if latency is None else milliseconds(latency.p50)


def aligned(table: Sequence[Column]) -> list[str]:
    """Markdown's row of alignments."""
    return ["---:" if column.number else "---" for column in table]
