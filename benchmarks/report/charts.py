"""The pictures of a report, as altair charts."""

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from yolo_edge.benchmarks.report.content import Content, Row
from yolo_edge.charts import Figure, dressed, short

Records = list[dict[str, Any]]

MOST_ROWS = 60  # of a chart with a line a cell: beyond, the table says it better
_MOST_CURVES = 10
_CURVE_POINTS = 120
_CUT = 3.0  # of the steadiness chart: one interruption would flatten all the rest
_FRONT = ["on the Pareto front", "beaten by another", "not valid, or emulated"]


def figures(content: Content, ink: str) -> list[Figure]:
    """The charts that this content has the data for.

    Args:
        content: What to show.
        ink: The colour of text and axes; a page says "currentColor", so that they follow its own.
    """
    makers: Sequence[Callable[[Content, str], Figure | None]] = (
        _latencies,
        _curves,
        _ratios,
        _accuracy,
        _scaling,
        _sizes,
        _steadiness,
        _operators,
    )
    published = content.published
    if not published.rows:
        return []
    return [figure for figure in (make(published, ink) for make in makers) if figure is not None]


def _latencies(content: Content, ink: str) -> Figure:
    rows = sorted(content.rows, key=lambda row: row.cell.latency_ms.p50)[:MOST_ROWS]
    records: Records = [{"cell": row.name, "run": row.run, **_quantiles(row)} for row in rows]
    order = [row.name for row in rows]
    scale = _scale([record[key] for record in records for key in ("low", "high")])
    y = alt.Y("cell:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    base = alt.Chart(_data(records)).encode(y=y, tooltip=_tips("cell", "p1", "p25", "p50", "p75", "p90", "p99"))
    thin = base.mark_rule(strokeWidth=1.5, color="#7a9cc6").encode(
        x=alt.X("low:Q", scale=scale, title="inference, ms"), x2="high:Q"
    )
    thick = base.mark_bar(height=9, color="#4c78a8", cornerRadius=2).encode(x=alt.X("q1:Q", scale=scale), x2="q3:Q")
    median = base.mark_tick(thickness=2.5, height=15, color="#f58518").encode(x=alt.X("p50:Q", scale=scale))
    caption = "Line: 1st to 99th percentile; bar: the middle half; orange: the median. Fastest first."
    if any(row.cell.samples is None for row in rows):
        caption += " Of results without samples: median to 99th percentile."
    if len(content.rows) > len(rows):
        caption += f" The {len(rows)} fastest of {len(content.rows)} cells; the table has all."
    chart = dressed(alt.layer(thin, thick, median), ink, height=max(20 * len(rows), 60))
    return Figure("latency", "Latency", caption, chart)


def _curves(content: Content, ink: str) -> Figure | None:
    rows = [row for row in content.rows if row.cell.samples is not None][:_MOST_CURVES]
    if not rows:
        return None
    shares = np.linspace(0.005, 0.995, _CURVE_POINTS)
    records: Records = [
        {"cell": row.name, "ms": short(value), "share": short(share)}
        for row in rows
        for share, value in zip(shares, np.quantile(_samples(row), shares), strict=True)
    ]
    chart = (
        alt.Chart(_data(records))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", scale=_scale([record["ms"] for record in records]), title="inference, ms"),
            y=alt.Y("share:Q", axis=alt.Axis(format="%"), title="inferences that took at most so long"),
            color=_by_cell(rows),
            tooltip=_tips("cell", "ms", "share"),
        )
    )
    caption = "Steep: every inference takes the same. A step: two kinds of them, such as with and without company."
    if len(rows) < sum(row.cell.samples is not None for row in content.rows):
        caption += f" The first {len(rows)} cells."
    return Figure("distribution", "Distribution", caption, dressed(chart, ink, height=260))


def _ratios(content: Content, ink: str) -> Figure | None:
    ratios = content.ratios[:MOST_ROWS]
    if not ratios:
        return None
    records: Records = [
        {
            "pair": f"{item.a} / {item.b}{'' if item.trusted else ' (not valid)'}",
            "ratio": item.ratio.ratio,
            "low": item.ratio.ci95[0],
            "high": item.ratio.ci95[1],
            "verdict": item.ratio.verdict,
        }
        for item in ratios
    ]
    scale = _scale([1, *(record[key] for record in records for key in ("low", "high"))])
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(
            domain=["faster", "no difference", "too few repeats", "slower"],
            range=["#54a24b", "#9d9da1", "#d8c04a", "#e45756"],
        ),
        title=None,
    )
    y = alt.Y("pair:N", sort=[record["pair"] for record in records], title=None, axis=alt.Axis(labelLimit=460))
    base = alt.Chart(_data(records)).encode(y=y, color=colour, tooltip=_tips("pair", "ratio", "low", "high"))
    x = alt.X("low:Q", scale=scale, title="time of the first as a multiple of the second's")
    bars = base.mark_rule(strokeWidth=4).encode(x=x, x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("ratio:Q", scale=scale))
    one = alt.Chart(_data([{"one": 1}])).mark_rule(strokeDash=[4, 4], color=ink).encode(x=alt.X("one:Q", scale=scale))
    caption = (
        "From paired rounds, with 95 % intervals. Where the interval holds 1 (dashed) there is no difference to see."
    )
    chart = dressed(alt.layer(one, bars, points), ink, height=max(24 * len(records), 60))
    return Figure("ratios", "Ratios", caption, chart)


def _accuracy(content: Content, ink: str) -> Figure | None:
    rows = [row for row in content.rows if row.accuracy is not None]
    if not rows:
        return None
    records: Records = [
        {
            "cell": row.name,
            "ms": row.cell.latency_ms.p50,
            "mAP": row.accuracy.mAP50_95,
            "mAP50": row.accuracy.mAP50,
            "MB": short(row.cell.bytes / 1e6),
            "front": _FRONT[0] if row.pareto else _FRONT[1] if row.trusted else _FRONT[2],
            "pool": f"{row.machine}, {row.cell.device}",
        }
        for row in rows
        if row.accuracy is not None
    ]
    scale = _scale([record["ms"] for record in records])
    x = alt.X("ms:Q", scale=scale, title="inference, ms (median)")
    y = alt.Y("mAP:Q", title="mAP50-95", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False, padding=20))
    colours = alt.Scale(domain=_FRONT, range=["#f58518", "#9d9da1", "#e45756"])
    sizes = {record["MB"] for record in records}
    points = (
        alt.Chart(_data(records))
        .mark_point(filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color("front:N", scale=colours, title=None, legend=alt.Legend(orient="bottom")),
            size=alt.value(150)
            if len(sizes) == 1  # a legend of one size says nothing
            else alt.Size(
                "MB:Q",
                title="file, MB",
                scale=alt.Scale(range=[50, 500]),
                legend=alt.Legend(orient="bottom", tickCount=3, symbolFillColor=ink, symbolStrokeColor=ink),
            ),
            tooltip=_tips("cell", "ms", "mAP", "mAP50", "MB"),
        )
    )
    front = (
        alt.Chart(_data([record for record in records if record["front"] == _FRONT[0]]))
        .mark_line(interpolate="step-after", color="#f58518", strokeDash=[5, 3], order=True)
        .encode(x=x, y=y, order="ms:Q", detail="pool:N")  # a line for each machine and device
    )
    # a model's accuracy is the same with any number of threads: one label, at its fastest cell, covers no other
    fastest: dict[str, dict[str, Any]] = {}
    for row, record in sorted(zip(rows, records, strict=True), key=lambda item: -item[1]["ms"]):
        fastest[row.label] = record
    layers: list[alt.Chart] = [front, points]
    if len(fastest) <= 25:
        named = alt.Chart(_data(list(fastest.values())))
        layers.append(
            named.mark_text(align="left", baseline="bottom", dx=10, dy=-12, fontSize=11, color=ink).encode(
                x=x, y=y, text="cell:N"
            )
        )
    caption = (
        "Up and to the left is better. On the orange line are valid cells that no other of the same machine and device "
        "beats in both."
    )
    return Figure("accuracy", "Accuracy against latency", caption, dressed(alt.layer(*layers), ink, height=320))


def _scaling(content: Content, ink: str) -> Figure | None:
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in content.rows:
        groups.setdefault((row.run, row.label), []).append(row)
    swept = [rows for rows in groups.values() if len({row.cell.threads for row in rows}) > 1][:_MOST_CURVES]
    if not swept:
        return None
    records: Records = []
    for rows in swept:
        ordered = sorted(rows, key=lambda row: row.cell.threads)
        first = ordered[0].cell
        records += [
            {
                "model": row.label,
                "threads": row.cell.threads,
                "speed-up": short(first.latency_ms.p50 / row.cell.latency_ms.p50),
                "ms": row.cell.latency_ms.p50,
            }
            for row in ordered
        ]
    numbers = sorted({record["threads"] for record in records})
    chart = (
        alt.Chart(_data(records))
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=alt.X("threads:O", sort=numbers, title="threads", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("speed-up:Q", title="speed, fewest threads = 1", scale=alt.Scale(zero=True)),
            color=alt.Color("model:N", title=None, legend=alt.Legend(labelLimit=300, orient="bottom", columns=2)),
            tooltip=_tips("model", "threads", "ms", "speed-up"),
        )
    )
    caption = "How many times faster than with the fewest threads; below 1, more threads are slower."
    return Figure("threads", "Threads", caption, dressed(chart, ink, height=220))


def _sizes(content: Content, ink: str) -> Figure | None:
    by_label = {row.label: row for row in content.rows}
    rows = sorted(by_label.values(), key=lambda row: row.cell.bytes)[:MOST_ROWS]
    records: Records = [
        {"model": row.label, "MB": short(row.cell.bytes / 1e6), "precision": row.cell.precision or "not known"}
        for row in rows
    ]
    chart = (
        alt.Chart(_data(records))
        .mark_bar(height=12, cornerRadius=2)
        .encode(
            x=alt.X("MB:Q", title="file, MB"),
            y=alt.Y("model:N", sort=[row.label for row in rows], title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("precision:N", title=None),
            tooltip=_tips("model", "MB", "precision"),
        )
    )
    return Figure("size", "Size", "Of the model files.", dressed(chart, ink, height=max(20 * len(rows), 50)))


def _steadiness(content: Content, ink: str) -> Figure | None:
    rows = [row for row in content.rows if row.cell.samples is not None][:_MOST_CURVES]
    records: Records = []
    for row in rows:
        samples = row.cell.samples
        assert samples is not None  # noqa: S101 - chosen so
        medians = samples.turn_medians().reshape(-1) / row.cell.latency_ms.p50
        times = np.array(samples.at_s) - min(min(other.cell.samples.at_s) for other in rows if other.cell.samples)
        turns = len(medians) // samples.repeats
        for repeat in range(samples.repeats):
            points = min(max(_CURVE_POINTS // samples.repeats, 2), turns)
            for part in np.array_split(np.arange(turns) + repeat * turns, points):
                at, value = float(times[part].mean()), float(np.median(medians[part]))
                records.append({"cell": row.name, "repeat": repeat, "s": round(at, 1), "relative": short(value)})
    if not records:
        return None
    cut = max(record["relative"] for record in records) > _CUT
    scale = alt.Scale(zero=False, domainMax=_CUT) if cut else alt.Scale(zero=False)
    chart = (
        alt.Chart(_data(records))
        .mark_line(strokeWidth=1.2, opacity=0.85, clip=True)
        .encode(
            x=alt.X("s:Q", title="seconds since the first turn"),
            y=alt.Y("relative:Q", title="inference, the cell's median = 1", scale=scale),
            color=_by_cell(rows),
            detail="repeat:O",  # a line each: between them processes start
            tooltip=_tips("cell", "s", "relative"),
        )
    )
    caption = "Flat: the machine was steady. All rising together: it slowed down; the ratios hold, the times do not."
    caption += f" Cut at {_CUT:g}." if cut else ""
    return Figure("steadiness", "Steadiness", caption, dressed(chart, ink, height=220))


def _operators(content: Content, ink: str) -> Figure | None:
    records: Records = []
    order: list[str] = []
    for row in content.rows:
        if row.cell.profile is None or len(order) >= MOST_ROWS:
            continue
        order.append(row.name)
        kinds: dict[str, float] = {}
        for operator in row.cell.profile.operators:
            kinds[operator.operator] = kinds.get(operator.operator, 0) + operator.ms
        records += [{"cell": row.name, "operator": kind, "ms": short(ms)} for kind, ms in kinds.items()]
    if not records:
        return None
    chart = (
        alt.Chart(_data(records))
        .mark_bar(height=14)
        .encode(
            x=alt.X("ms:Q", title="ms of an inference", stack="zero"),
            y=alt.Y("cell:N", sort=order, title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color("operator:N", title=None, legend=alt.Legend(orient="bottom", columns=6)),
            tooltip=_tips("cell", "operator", "ms"),
        )
    )
    caption = "From the runtime's own profiler, which takes microseconds a node itself: of small nodes read shares."
    return Figure("operators", "Time by operator", caption, dressed(chart, ink, height=max(24 * len(order), 60)))


def _data(records: Sequence[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=list(records))


def _quantiles(row: Row) -> dict[str, float]:
    latency = row.cell.latency_ms
    known = {"p50": latency.p50, "p90": latency.p90, "p99": latency.p99}
    if row.cell.samples is None:
        return {**known, "low": latency.p50, "high": latency.p99, "q1": latency.p50, "q3": latency.p90}
    p1, p25, p75 = (short(value) for value in np.percentile(_samples(row), [1, 25, 75]))
    return {**known, "p1": p1, "p25": p25, "p75": p75, "low": p1, "high": latency.p99, "q1": p25, "q3": p75}


def _samples(row: Row) -> NDArray[np.float64]:
    assert row.cell.samples is not None  # noqa: S101 - the callers chose so
    return np.concatenate(row.cell.samples.stage("inference"))


def _scale(values: Sequence[float]) -> alt.Scale:
    """Logarithmic where the values are far apart."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > 8 * min(positive):
        return alt.Scale(type="log", padding=10, nice=False)
    return alt.Scale(zero=False, padding=10)


def _by_cell(rows: Sequence[Row]) -> alt.Color:
    return alt.Color(
        "cell:N",
        sort=[row.name for row in rows],
        title=None,
        legend=alt.Legend(labelLimit=300, orient="bottom", columns=2),
    )


def _tips(*names: str) -> list[alt.Tooltip]:
    texts = ("cell", "model", "pair", "operator", "precision", "verdict")
    return [alt.Tooltip(f"{name}:N") if name in texts else alt.Tooltip(f"{name}:Q", format=".4~g") for name in names]
