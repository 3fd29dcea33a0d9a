"""A report as one HTML page that needs no network, and as Markdown with pictures beside it."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from yolo_edge._version import __version__
from yolo_edge.benchmarks.baseline import differences
from yolo_edge.benchmarks.report import charts
from yolo_edge.benchmarks.report.content import (
    Content,
    describe_conditions,
    describe_host,
    describe_method,
    when,
)
from yolo_edge.benchmarks.report.energy import cell_energy, meter_facts
from yolo_edge.benchmarks.report.table import (
    BASELINE_COLUMNS,
    RATIO_COLUMNS,
    aligned,
    baseline_fields,
    columns,
    fields,
    ratio_fields,
)
from yolo_edge.charts import to_svg
from yolo_edge.charts.page import INK, environment, render

_HERE = Path(__file__).parent
_PAPER_INK = "#222222"


def html(content: Content) -> str:
    """One page: styles, scripts, data and charts are inside.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    return render(_HERE, "page.html.j2", charts.figures(content, INK), **_common(content))


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
        shown.append({"title": figure.title, "caption": figure.caption, "file": quote(name)})
    templates = environment(_HERE, autoescape=False)
    templates.filters["cell"] = _markdown_cell
    template = templates.get_template("report.md.j2")
    return template.render(**_common(content), version=__version__, figures=shown, aligned=aligned), pictures


def _common(content: Content) -> dict[str, Any]:
    return {
        "content": content,
        "columns": columns(content),
        "rows": [(row, fields(content, row)) for row in content.rows],
        "ratio_columns": RATIO_COLUMNS,
        "ratio_rows": [(None, ratio_fields(item)) for item in content.ratios],
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
                "notes": _notes(content, number),
                "parts": [
                    ("Machine", describe_host(result.host)),
                    ("How it fared", describe_conditions(result)),
                    *([("Power", meter_facts(result.power))] if result.power else []),
                    ("How it was measured", describe_method(result)),
                ],
            }
            for number, result in enumerate(content.results, 1)
        ],
    }


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
