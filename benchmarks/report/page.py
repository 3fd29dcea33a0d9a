"""A report as one HTML page that needs no network, and as Markdown with pictures beside it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

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

_HERE = Path(__file__).parent
_PAPER_INK = "#222222"


def html(content: Content) -> str:
    """One page: styles, scripts, data and charts are inside.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    shared = _SharedData()
    drawn = [
        {
            "key": figure.key,
            "title": figure.title,
            "caption": figure.caption,
            # drawn already, so that it is there without scripts and on paper; the script makes it answer to the mouse
            "conditions": figure.conditions,
            "svg": Markup(to_svg(figure.chart)),  # noqa: S704 - vl_convert escapes texts
            "spec": _script_json(shared.without_data(figure.chart.to_dict())),
        }
        for figure in charts.figures(content, "currentColor")
    ]
    return (
        _environment(autoescape=True)
        .get_template("page.html.j2")
        .render(
            **_common(content),
            figures=drawn,
            datasets=_script_json(shared.columns()),
            filters=_script_json(_filters(content)),
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
            script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - ours
            vega=Markup(_in_script(_bundle())),  # noqa: S704 - Vega's own
        )
    )


class _SharedData:
    """The data of all charts once: as columns, since names of fields would be most of it."""

    def __init__(self) -> None:
        self._datasets: dict[str, list[dict[str, Any]]] = {}

    def without_data(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The chart without what it shows, which is kept here."""
        found = spec.pop("datasets", {})
        self._datasets.update(found)
        return {**spec, "usermeta": {"data": list(found)}}

    def columns(self) -> dict[str, Any]:
        """Name → fields and their values; of texts that come again their number in `texts`."""
        packed = {}
        for name, records in self._datasets.items():
            fields = list(dict.fromkeys(field for record in records for field in record))
            packed[name] = {field: _packed([record.get(field) for record in records]) for field in fields}
        return packed


def _packed(values: list[Any]) -> Any:
    """A column; one of few texts as those and where each stands."""
    if all(isinstance(value, str) for value in values):
        texts = list(dict.fromkeys(values))
        if len(texts) < len(values):
            place = {text: i for i, text in enumerate(texts)}
            return {"texts": texts, "at": [place[value] for value in values]}
    return values


def _filters(content: Content) -> dict[str, Any]:
    """What rows can be filtered by: name → each row's value, where there is a choice."""
    columns = {
        "device": [row.cell.device for row in content.rows],
        "machine": [row.machine for row in content.rows],
        "model": [row.family for row in content.rows],
        "size": [row.size or "-" for row in content.rows],
        "precision": [row.cell.precision or "-" for row in content.rows],
        "runtime": [row.cell.runtime for row in content.rows],
        "threads": [str(row.cell.threads) for row in content.rows],
        "measured": [row.state for row in content.rows],
    }
    return {name: _packed(values) for name, values in columns.items() if len(set(values)) > 1}


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
    template = _environment(autoescape=False).get_template("report.md.j2")
    return template.render(**_common(content), figures=shown, aligned=aligned), pictures


def _common(content: Content) -> dict[str, Any]:
    return {
        "content": content,
        "version": __version__,
        "not_measured": charts.not_measured(content),
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
            found += [f"{row.name}: {note}" for note in (*reasons, *row.cell.notes)]
    return found


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=autoescape,  # noqa: S701 - not for Markdown, which has a filter of its own
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _markdown_cell
    return environment


def _markdown_cell(text: str) -> str:
    """A text that stays in its field: names come from files."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
    return " ".join(escaped.split())


def _script_json(value: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704


def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets `vegaEmbed`."""
    import vl_convert  # noqa: PLC0415 - 80 MB, loaded when a page is made

    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg] # its stub demands what it does not


def _in_script(code: str) -> str:
    """Code that cannot end the script element, nor open a comment in it: both stand in strings only."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
