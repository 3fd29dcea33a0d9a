"""A report as one HTML page that needs no network, and as Markdown with pictures beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from yolo_edge._version import __version__
from yolo_edge.benchmarks.baseline import differences
from yolo_edge.benchmarks.report import charts
from yolo_edge.benchmarks.report.content import Content
from yolo_edge.benchmarks.report.describe import OF_ONE_RUN, describe_conditions, describe_host, describe_method, when
from yolo_edge.benchmarks.report.energy import cell_energy, meter_facts
from yolo_edge.benchmarks.report.packing import SharedData, filters
from yolo_edge.benchmarks.report.runtimes import left_out, runtime_columns, runtime_rows
from yolo_edge.benchmarks.report.table import (
    BASELINE_COLUMNS,
    RATIO_COLUMNS,
    aligned,
    baseline_fields,
    columns,
    fields,
    ratio_fields,
)
from yolo_edge.benchmarks.results import BenchmarkResult
from yolo_edge.charts import to_svg
from yolo_edge.charts.page import INK, environment, render

_HERE = Path(__file__).parent
_MOST_RATIOS = 400  # rows of that table
_MOST_RUNS = 12  # that are described each by itself
_MOST_SPANS = 6  # of runs in a title
_PAPER_INK = "#222222"


def html(content: Content) -> str:
    """One page: styles, scripts, data and charts are inside.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    figures = charts.figures(content, INK)
    shared, choices = SharedData(content), filters(content)
    return render(_HERE, "page.html.j2", figures, shared=shared, filters=choices, **_common(content))


def markdown(content: Content, stem: str) -> tuple[str, dict[str, str]]:
    """The same as Markdown.

    Args:
        content: What to say.
        stem: What the names of the pictures begin with.

    Returns:
        The text, and file name → SVG of the pictures that it shows.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    pictures, shown = {}, []
    for figure in charts.figures(content, _PAPER_INK):
        name = f"{stem}-{figure.key}.svg"
        pictures[name] = to_svg(figure.chart)
        words = [figure.caption, *([figure.conditions] if figure.conditions else [])]
        shown.append({"title": figure.title, "caption": " ".join(words), "file": quote(name)})
    templates = environment(_HERE, autoescape=False)
    templates.filters["cell"] = _markdown_cell
    template = templates.get_template("report.md.j2")
    return template.render(**_common(content), version=__version__, figures=shown, aligned=aligned), pictures


def _common(content: Content) -> dict[str, Any]:
    return {
        "content": content,
        "not_measured": charts.not_measured(content),
        "columns": columns(content),
        "rows": [(row, fields(content, row)) for row in content.rows],
        "runtime_columns": runtime_columns(content),
        "runtime_rows": [(None, texts) for texts in runtime_rows(content)],
        "left_out": left_out(content),
        "ratio_columns": RATIO_COLUMNS,
        "ratio_rows": [(None, ratio_fields(item)) for item in content.ratios[:_MOST_RATIOS]],
        "ratios_left": max(len(content.ratios) - _MOST_RATIOS, 0),
        "baseline_columns": BASELINE_COLUMNS,
        "baseline_notes": differences(content.comparisons or ()),
        "baseline_rows": [(None, baseline_fields(item, content.limit)) for item in content.comparisons or ()],
        "runs": [
            {
                "number": number,
                "when": when(result),
                "cpu": result.host.cpu.name or result.host.machine,
                "reasons": list(dict.fromkeys(cell.invalid_reason for cell in result.cells if cell.invalid_reason)),
                "quick": result.settings.quick,
            }
            for number, result in enumerate(content.results, 1)
        ],
        "descriptions": _descriptions(content),
    }


def _descriptions(content: Content) -> list[dict[str, Any]]:
    """What was measured on what, run by run; of many runs what they share once, with their numbers."""
    numbered = list(enumerate(content.results, 1))
    if len(numbered) <= _MOST_RUNS:
        return [
            {
                "title": f"{f'Run {number}: ' if len(numbered) > 1 else ''}{result.host.cpu.name}, {when(result)}",
                "parts": [
                    ("Machine", describe_host(result.host)),
                    ("How it fared", describe_conditions(result)),
                    *([("Power", meter_facts(result.power))] if result.power else []),
                    ("How it was measured", describe_method(result)),
                ],
                "notes": _notes(content, number),
            }
            for number, result in numbered
        ]
    shared: dict[tuple[str, str], list[int]] = {}
    for number, result in numbered:
        parts = (("Machine", describe_host(result.host)), ("How it was measured", describe_method(result)))
        for title, facts in parts:
            key = json.dumps([fact for fact in facts if fact[0] not in OF_ONE_RUN], ensure_ascii=False)
            shared.setdefault((title, key), []).append(number)
    found = [
        {
            "title": f"{title}: {_runs(runs, _MOST_SPANS)}",
            "parts": [("", [*json.loads(key), ("of", _runs(runs))])],
            "notes": [],
        }
        for (title, key), runs in shared.items()
    ]
    fared = [
        (f"run {number}, {when(result)}", "; ".join(_available(result)) or "nothing available")
        for number, result in numbered
    ]
    notes: dict[str, list[int]] = {}
    for number, _ in numbered:
        for note in _notes(content, number):
            notes.setdefault(note, []).append(number)
    listed = [f"{_runs(runs)}: {note}" for note, runs in notes.items()]
    return [*found, {"title": "How each run fared", "parts": [("", fared)], "notes": listed}]


def _available(result: BenchmarkResult) -> list[str]:
    return [f"{name} {text}" for name, text in describe_conditions(result) if text != "not available"]


def _runs(numbers: Sequence[int], most: int | None = None) -> str:
    """`runs 1 to 4, 7`; with `most`, of more parts than that the first ones and how many runs there are."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    texts = [" to ".join(map(str, span)) for span in spans]
    if most is not None and len(spans) > most:
        return f"{len(numbers)} runs, {', '.join(texts[:most])}, …"
    return f"run{'s' if len(numbers) > 1 else ''} {', '.join(texts)}"


def _notes(content: Content, run: int) -> list[str]:
    found = []
    for row in content.rows:
        if row.run == run:
            reasons = [f"not valid: {row.cell.invalid_reason}"] if row.cell.invalid_reason else []
            if row.cell.power:
                reasons.append(cell_energy(row.cell.power))
            found += [f"{row.name}: {note}" for note in (*reasons, *row.cell.notes)]
    return found


def _markdown_cell(text: str) -> str:
    """A text that stays in its field: names come from files."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
    return " ".join(escaped.split())
