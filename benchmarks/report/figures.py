"""What all charts of a report share: colours, marks of trust, data that answers to filters, and their dress."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from yolo_edge import charts
from yolo_edge.benchmarks.report.content import STATES, Row
from yolo_edge.benchmarks.report.labels import Axis
from yolo_edge.charts import WIDTH
from yolo_edge.ondevice.spec import PRECISIONS

Chart = alt.TopLevelMixin
Records = list[dict[str, Any]]

MOST_ROWS = 60  # of a chart with a line a cell: beyond, the table says it better
MOST_CURVES = 6  # of a chart with a line a cell: more colours are not told apart
# Okabe and Ito (2008), told apart with any colour vision, less the yellow that white paper swallows
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GREY = "#8c8c8c"
OF_PRECISION = {**dict(zip(PRECISIONS, PALETTE, strict=False)), "not known": GREY}
SHAPES = dict(zip(STATES, ("circle", "diamond", "cross", "triangle-up"), strict=True))
_FULL_WIDTH, _LEAST_WIDTH, _LETTER = 1060, 360, 7.0  # pixels; of a letter of 12 px, on average
_TEXTS = ("cell", "model", "pair", "operator", "precision", "verdict", "state", "device", "size", "roof", "marks")


def conditions_of(rows: Iterable[Row], energy: bool = False) -> str:
    """How cells were measured, in a sentence or two: quick, emulated, throttled, busy.

    Args:
        rows: The cells.
        energy: What is shown is their energy, which may be an estimate.
    """
    listed = list(rows)
    estimated = energy and any(row.estimated for row in listed)
    guessed = "Estimated by the hardware from a model, not measured." if estimated else ""
    return f"{guessed} {_trust_of(listed)}".strip()


def _trust_of(listed: Sequence[Row]) -> str:
    counts = Counter(mark for row in listed for mark in row.marks)
    if not counts:
        return ""
    words = {
        "quick": "from quick runs (a first look)",
        "emulated": "emulated (times mean nothing)",
        "busy": "not valid: other programs ran",
        "throttled": "not valid: throttled or slowed down",
        "not valid": "not valid",
    }
    said = "; ".join(f"{counts[mark]} {text}" for mark, text in words.items() if counts[mark])
    return f"Of {len(listed)} cell{'s' if len(listed) != 1 else ''} shown: {said}."


def linked(records: Sequence[dict[str, Any]]) -> alt.Chart:
    """A chart of records whose `id` is that of a row: filters of the page leave those of hidden rows out."""
    chart: alt.Chart = alt.Chart(data(records)).transform_filter("hidden[datum.id] != 1")
    return chart


def _with_links(chart: Any) -> Any:
    """The signals that the page sets: rows that its filters hide, and the one that is pointed at."""
    return chart.add_params(alt.param(name="hidden", value=[]), alt.param(name="picked", value=-1))


def unless_another(value: float = 1.0, faded: float = 0.15) -> Any:
    """An opacity: other rows than the one that is pointed at fade."""
    return alt.condition("picked < 0 || picked == datum.id", alt.value(value), alt.value(faded))


def data(records: Sequence[dict[str, Any]]) -> alt.Data:
    """Records as they are."""
    return alt.Data(values=list(records))


def facts(row: Row) -> dict[str, Any]:
    """What every record of a row has."""
    return {"id": row.id, "cell": row.name, "state": row.state, "marks": ", ".join(row.marks) or "valid"}


def samples(row: Row) -> NDArray[np.float64]:
    """All inferences of a row that has samples, in ms."""
    assert row.cell.samples is not None  # noqa: S101 - the callers chose so
    return np.concatenate(row.cell.samples.stage("inference"))


def scale(values: Sequence[float]) -> alt.Scale:
    """Logarithmic where the values are far apart."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 8 * min(positive):
        return alt.Scale(type="log", padding=10, nice=False)
    return alt.Scale(zero=False, padding=10)


def beside(texts: Sequence[str]) -> tuple[alt.Axis, int]:
    """An axis of whole texts, at whose end the marks of a cell are, and how wide a chart may be beside it."""
    width = _FULL_WIDTH - int(_LETTER * max(map(len, texts)))
    return alt.Axis(labelLimit=0), min(max(width, _LEAST_WIDTH), WIDTH)


def drawn(axis: Axis) -> alt.Scale:
    """An axis that was laid out here, as it is."""
    kind: dict[str, Any] = {"type": "log"} if axis.log else {"type": "linear", "zero": False}
    return alt.Scale(domain=[axis.low, axis.high], nice=False, **kind)


def shape(states: Iterable[str], ink: str) -> alt.Shape:
    """A mark for each state, so that colour is not all that tells them apart; a legend where there are several."""
    there = [state for state in STATES if state in set(states)]
    return alt.Shape(
        "state:N",
        scale=alt.Scale(domain=there, range=[SHAPES[state] for state in there]),
        title=None,
        legend=None
        if there == ["valid"]
        else alt.Legend(orient="bottom", symbolFillColor=ink, symbolStrokeColor=ink, symbolSize=90),
    )


def colours(field: str, values: Sequence[str], columns: int = 4, symbol: str = "square") -> alt.Color:
    """A colour for each value, in their order; what is beyond the palette is grey."""
    given = [OF_PRECISION[value] for value in values] if set(values) <= set(OF_PRECISION) else []
    spread = given or [*PALETTE, *[GREY] * len(values)][: len(values)]
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(values), range=spread),
        title=None,
        legend=alt.Legend(orient="bottom", columns=columns, labelLimit=340, symbolType=symbol),
    )


def precisions(records: Sequence[dict[str, Any]]) -> list[str]:
    """The values of their field "precision", those of our files first."""
    there = {record["precision"] for record in records}
    return [*(name for name in OF_PRECISION if name in there), *sorted(there - set(OF_PRECISION))]


def tips(*names: str) -> list[alt.Tooltip]:
    """What is shown of a mark that is pointed at; numbers with four digits."""
    return [alt.Tooltip(f"{name}:N") if name in _TEXTS else alt.Tooltip(f"{name}:Q", format=".4~g") for name in names]


def dressed(chart: Any, ink: str, height: int | None = None, width: int = WIDTH) -> Chart:
    """As `yolo_edge.charts.dressed`, with the signals that the page sets."""
    # a description for each of a thousand marks helps nobody; the table does
    worn: Any = charts.dressed(_with_links(chart), ink, height, width)
    worn.config.aria = False
    found: Chart = worn
    return found


def in_key(text: str) -> str:
    """As a part of a figure's key, which names files and elements."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)
