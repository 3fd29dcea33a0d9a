"""What the machine allows, and how it fared: the roofline, and what ran over time."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from yolo_edge.benchmarks.host import Conditions, Host
from yolo_edge.benchmarks.power import trace_of
from yolo_edge.benchmarks.report.content import Content, Row
from yolo_edge.benchmarks.report.figures import (
    MOST_CURVES,
    PALETTE,
    Records,
    colours,
    conditions_of,
    data,
    drawn,
    dressed,
    facts,
    linked,
    precisions,
    samples,
    shape,
    tips,
    unless_another,
)
from yolo_edge.benchmarks.report.labels import axis_of
from yolo_edge.benchmarks.results import BenchmarkResult
from yolo_edge.charts import WIDTH, Figure, short

_CURVE_POINTS = 120
_CUT = 3.0  # of the steadiness chart: one interruption would flatten all the rest
_MOST_ROOFLINES = 4
_HEIGHT = 340  # of a roofline, in pixels


def rooflines(content: Content, ink: str) -> list[Figure]:
    """Operations a second against those a byte (Williams, Waterman & Patterson 2009), one a machine and threads."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in content.rows:
        host = content.results[row.run - 1].host
        count = str(row.cell.threads)
        if row.cell.macs and row.cell.traffic_bytes and count in host.roof and count in host.peak:
            groups.setdefault((row.pool, row.cell.threads), []).append(row)
    found = []
    for number, ((_, threads), rows) in enumerate(list(groups.items())[:_MOST_ROOFLINES], 1):
        host = content.results[rows[0].run - 1].host
        where = f"{rows[0].cell.device} ({host.name})" if len({pool for pool, _ in groups}) > 1 else ""
        title = ", ".join(["Roofline", *([where] if where else []), f"{threads} thread{'s' if threads > 1 else ''}"])
        key = "roofline" if number == 1 else f"roofline-{number}"
        found.append(_roofline(key, title, rows, host, threads, ink))
    return found


def _roofline(key: str, title: str, rows: Sequence[Row], host: Host, threads: int, ink: str) -> Figure:
    peak, roof = host.peak[str(threads)], host.roof[str(threads)]
    records: Records = [
        {
            **facts(row),
            "operations a byte": short(2 * row.cell.macs / row.cell.traffic_bytes),
            "GOP/s": short(2 * row.cell.macs / row.cell.latency_ms.p50 / 1e6),
            "precision": row.cell.precision or "not known",
        }
        for row in rows
        if row.cell.macs and row.cell.traffic_bytes
    ]
    int8 = roof.int8_gops if any(record["precision"] == "int8" for record in records) else None
    tops = [peak.gflops, *([int8] if int8 else [])]
    ridges = [top / roof.copy_gb_s for top in tops]
    x_axis = axis_of([record["operations a byte"] for record in records] + ridges, WIDTH, margin=0.25, log=True)
    y_axis = axis_of([record["GOP/s"] for record in records] + tops, _HEIGHT, margin=0.15, log=True)
    x_scale, y_scale = drawn(x_axis), drawn(y_axis)
    lines: Records = []
    names: Records = []
    for name, top in [(f"fp32 {peak.gflops:.0f} GFLOP/s ({peak.by})", peak.gflops)] + (
        [(f"int8 {int8:.0f} GOP/s ({roof.int8_by})", int8)] if int8 else []
    ):
        ridge = top / roof.copy_gb_s
        lines += [
            {"roof": name, "x": short(max(ridge, x_axis.low)), "y": short(top)},
            {"roof": name, "x": x_axis.high, "y": short(top)},
        ]
        names.append({"roof": name, "x": x_axis.high, "y": short(top)})
    start = max(x_axis.low, y_axis.low / roof.copy_gb_s)
    highest = max(ridges)
    copy = f"memory copy {roof.copy_gb_s:.0f} GB/s"
    lines += [
        {"roof": copy, "x": short(start), "y": short(start * roof.copy_gb_s)},
        {"roof": copy, "x": short(highest), "y": short(highest * roof.copy_gb_s)},
    ]
    half = (start * min(highest, x_axis.high)) ** 0.5
    x = alt.X("x:Q", scale=x_scale, title="operations a byte of traffic")
    y = alt.Y("y:Q", scale=y_scale, title="GOP/s reached (a multiply-accumulate is two)")
    roofs = (
        alt.Chart(data(lines))
        .mark_line(color=ink, strokeWidth=1.5)
        .encode(x=x, y=y, detail="roof:N", tooltip=tips("roof"))
    )
    spots = [(x_axis.at(record["operations a byte"]), y_axis.at(record["GOP/s"])) for record in records]
    words = [
        alt.Chart(data([name]))
        .mark_text(align="right", dy=_side(y_axis.at(name["y"]), name["roof"], spots), fontSize=11, color=ink)
        .encode(x=x, y=y, text="roof:N")
        for name in names
    ]
    slope = (
        alt.Chart(data([{"roof": copy, "x": short(half), "y": short(half * roof.copy_gb_s)}]))
        .mark_text(align="right", dx=-8, dy=-4, fontSize=11, color=ink)
        .encode(x=x, y=y, text="roof:N")
    )
    kinds = precisions(records)
    points = (
        linked(records)
        .mark_point(filled=True, size=70)
        .encode(
            x=alt.X("operations a byte:Q", scale=x_scale),
            y=alt.Y("GOP/s:Q", scale=y_scale),
            color=colours("precision", kinds),
            shape=shape([record["state"] for record in records], ink),
            opacity=unless_another(0.9),
            tooltip=tips("cell", "operations a byte", "GOP/s", "precision", "marks"),
        )
    )
    caption = (
        "Roofs were measured on this device with as many threads: the fastest product of two matrices, and a copy in "
        "memory. Traffic is counted as if no layer found anything in the caches: the file once, each layer's output "
        "written and read once. Points above the slope live in the caches."
    )
    if int8 is None and any(record["precision"] == "int8" for record in records):
        caption += " The int8 roof was not measured."
    return Figure(
        key,
        title,
        caption,
        dressed(alt.layer(roofs, *words, slope, points), ink, _HEIGHT),
        conditions_of(rows),
        len(rows),
    )


def _side(y: float, text: str, spots: Sequence[tuple[float, float]]) -> int:
    """Where the name of a roof goes at its right end, in pixels down: above it, or below where cells lie there."""
    near = [spot[1] - y for spot in spots if spot[0] > WIDTH - 6.2 * len(text) - 8]
    above, below = (sum(low < at < high for at in near) for low, high in ((-6, 20), (-20, 6)))
    return 14 if below < above else -7


def over_time(content: Content, ink: str) -> Figure | None:
    """Times, temperatures, clocks, power, one above the other on one axis of time."""
    rows = [row for row in content.rows if row.cell.samples is not None][:MOST_CURVES]
    if not rows:
        return None
    panels = [_steadiness(rows, ink)]
    runs = list(dict.fromkeys(row.run for row in rows))
    results = [(number, content.results[number - 1]) for number in runs]
    makers: list[tuple[Callable[[int, BenchmarkResult], Records], str, str]] = [
        (_temperatures, "hottest, °C", "°C"),
        (_clocks, "CPU clock, MHz", "MHz"),
    ]
    # what meters of different scopes show is not drawn on one axis
    labels = dict.fromkeys(result.power.label for _, result in results if result.power is not None)
    makers += [(partial(_power, label=label), f"{label}, W", "W") for label in labels]
    found = [
        _panel([item for number, result in results for item in make(number, result)], title, unit)
        for make, title, unit in makers
    ]
    panels += [panel for panel in found if panel is not None]
    caption = "Flat: the machine was steady. All rising together: it slowed down; the ratios hold, the times do not."
    caption += f" Times above {_CUT:g} times the median are cut." if _is_cut(rows) else ""
    missing = [name for name, panel in zip(("temperatures", "clocks"), found, strict=False) if panel is None]
    missing += [] if any(panel is not None for panel in found[2:]) else ["power"]
    if missing:
        caption += f" Not available: {', '.join(missing)}."
    chart = alt.vconcat(*panels).resolve_scale(x="shared", color="independent") if len(panels) > 1 else panels[0]
    return Figure("steadiness", "Over time", caption, dressed(chart, ink), conditions_of(rows))


def _is_cut(rows: Sequence[Row]) -> bool:
    return bool(max(record["relative"] for record in _relative(rows)) > _CUT)


def _relative(rows: Sequence[Row]) -> Records:
    records: Records = []
    for row in rows:
        found = row.cell.samples
        assert found is not None  # noqa: S101 - chosen so
        medians = found.turn_medians().reshape(-1) / row.cell.latency_ms.p50
        times = np.array(found.at_s)
        turns = len(medians) // found.repeats
        for repeat in range(found.repeats):
            points = min(max(_CURVE_POINTS // found.repeats, 2), turns)
            for part in np.array_split(np.arange(turns) + repeat * turns, points):
                at, value = float(times[part].mean()), float(np.median(medians[part]))
                records.append(
                    {"id": row.id, "cell": row.marked, "repeat": repeat, "s": round(at, 1), "relative": short(value)}
                )
    return records


def _steadiness(rows: Sequence[Row], ink: str) -> Any:
    records = _relative(rows)
    scale = alt.Scale(zero=False, domainMax=_CUT) if _is_cut(rows) else alt.Scale(zero=False)
    return (
        linked(records)
        .mark_line(strokeWidth=1.2, clip=True)
        .encode(
            x=alt.X("s:Q", title="seconds since the run began"),
            y=alt.Y("relative:Q", title="inference, median = 1", scale=scale),
            color=colours("cell", [row.marked for row in rows], 2, "stroke"),
            detail="repeat:O",  # a line each: between them processes start
            opacity=unless_another(0.85),
            tooltip=tips("cell", "s", "relative"),
        )
        .properties(width=WIDTH, height=200)
    )


def _panel(records: Records, title: str, unit: str) -> Any:
    """One quantity over time; None where the machine does not show it."""
    if not records:
        return None
    numbers = list(dict.fromkeys(record["run"] for record in records))
    base = alt.Chart(data(records)).encode(
        x=alt.X("s:Q", title="seconds since the run began"),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, padding=8)),
        color=colours("run", numbers) if len(numbers) > 1 else alt.value(PALETTE[5]),
        tooltip=[alt.Tooltip("sensor:N"), alt.Tooltip("value:Q", format=".4~g", title=unit), alt.Tooltip("s:Q")],
    )
    chart = base.mark_line(strokeWidth=1.5) + base.mark_point(filled=True, size=25)
    return chart.properties(width=WIDTH, height=100)


def _origin(result: BenchmarkResult) -> float:
    """When the run began, in seconds since 1970; NaN where it does not say."""
    try:
        return datetime.fromisoformat(result.created).timestamp()
    except ValueError:
        return math.nan


def _moments(result: BenchmarkResult) -> list[tuple[float, Conditions]]:
    origin = _origin(result)
    return [] if math.isnan(origin) else [(round(moment.time - origin, 1), moment) for moment in result.conditions]


def _temperatures(number: int, result: BenchmarkResult) -> Records:
    moments = _moments(result)
    hottest: dict[str, float] = {}
    for _, moment in moments:
        for name, value in moment.temperatures_c.items():
            hottest[name] = max(value, hottest.get(name, value))
    if not hottest:
        return []
    sensor = max(sorted(hottest), key=hottest.__getitem__)
    return [
        {"run": f"run {number}", "sensor": sensor, "s": at, "value": moment.temperatures_c[sensor]}
        for at, moment in moments
        if sensor in moment.temperatures_c
    ]


def _clocks(number: int, result: BenchmarkResult) -> Records:
    return [
        {
            "run": f"run {number}",
            "sensor": "mean of the CPUs",
            "s": at,
            "value": short(float(np.mean(moment.clock_mhz))),
        }
        for at, moment in _moments(result)
        if moment.clock_mhz
    ]


def _power(number: int, result: BenchmarkResult, label: str) -> Records:
    """Mean watts of as many parts of each repeat as can be seen."""
    origin = _origin(result)
    if result.power is None or result.power.label != label or math.isnan(origin):
        return []
    records: Records = []
    for repeat in result.power.repeats:
        times, watts = trace_of(repeat, result.power.meter).watts()
        known = np.isfinite(watts)
        parts = min(_CURVE_POINTS // len(result.power.repeats) + 2, int(known.sum()))
        for part in np.array_split(np.flatnonzero(known), parts) if parts else ():
            at, value = repeat.time + float(times[part].mean()) - origin, float(watts[part].mean())
            records.append({"run": f"run {number}", "sensor": label, "s": round(at, 1), "value": short(value)})
    return records


def distribution(content: Content, ink: str) -> Figure | None:
    """How the times of a cell are spread."""
    rows = [row for row in content.rows if row.cell.samples is not None][:MOST_CURVES]
    if not rows:
        return None
    shares = np.linspace(0.005, 0.995, _CURVE_POINTS)
    records: Records = [
        {"id": row.id, "cell": row.marked, "ms": short(value), "share": short(share)}
        for row in rows
        for share, value in zip(shares, np.quantile(samples(row), shares), strict=True)
    ]
    axis = axis_of([record["ms"] for record in records], WIDTH, margin=0.03)
    chart = (
        linked(records)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("ms:Q", scale=drawn(axis), title="inference, ms"),
            y=alt.Y("share:Q", axis=alt.Axis(format="%"), title="inferences that took at most so long"),
            color=colours("cell", [row.marked for row in rows], 2, "stroke"),
            opacity=unless_another(),
            tooltip=tips("cell", "ms", "share"),
        )
    )
    caption = "Steep: every inference takes the same. A step: two kinds of them, such as with and without company."
    if len(rows) < sum(row.cell.samples is not None for row in content.rows):
        caption += f" The first {len(rows)} cells."
    return Figure("distribution", "Distribution", caption, dressed(chart, ink, 260), conditions_of(rows))
