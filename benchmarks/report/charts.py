"""The pictures of a report, as altair charts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import altair as alt
import numpy as np

from yolo_edge.benchmarks.report.content import Content, Row
from yolo_edge.benchmarks.report.figures import (
    GREY,
    MOST_CURVES,
    MOST_ROWS,
    PALETTE,
    Records,
    beside,
    colours,
    conditions_of,
    data,
    dressed,
    facts,
    in_key,
    linked,
    precisions,
    samples,
    scale,
    shape,
    tips,
    unless_another,
)
from yolo_edge.benchmarks.report.machine import distribution, over_time, rooflines
from yolo_edge.benchmarks.report.tradeoffs import accuracy_and_energy, accuracy_and_latency, dial
from yolo_edge.benchmarks.results import model_name
from yolo_edge.charts import Figure, short

_VERDICTS = {"faster": PALETTE[0], "no difference": GREY, "too few repeats": PALETTE[3], "slower": PALETTE[5]}
_VERDICT_SHAPES = ["triangle-left", "circle", "diamond", "triangle-right"]
_MOST_OPERATORS = 6

Maker = Callable[[Content, str], "Figure | list[Figure] | None"]


def figures(content: Content, ink: str) -> list[Figure]:
    """The charts that this content has the data for.

    Args:
        content: What to show.
        ink: The colour of text and axes; a page says "currentColor", so that they follow its own.
    """
    makers: Sequence[Maker] = (
        accuracy_and_latency,
        accuracy_and_energy,
        dial,
        _latencies,
        distribution,
        _ratios,
        _scaling,
        _energies,
        _sizes,
        rooflines,
        over_time,
        _operators,
    )
    published = content.published
    if not published.rows:
        return []
    found: list[Figure] = []
    for make in makers:
        made = make(published, ink)
        found += made if isinstance(made, list) else [made] if made is not None else []
    left_out = len(content.rows) - len(published.rows)
    return [_with_left_out(figure, left_out) for figure in found] if left_out else found


def _with_left_out(figure: Figure, emulated: int) -> Figure:
    cells = f"{emulated} emulated cell{'s' if emulated != 1 else ''}"
    return replace(figure, conditions=f"{figure.conditions} {cells} left out: such times mean nothing.".strip())


def not_measured(content: Content) -> list[tuple[str, str]]:
    """What there is no chart of, and what would measure it."""
    rows = content.rows
    found = []
    if not any(row.accuracy is not None for row in rows):
        found.append(("Accuracy", "not given: `yolo-edge validate FILES --data DATASET --json`, then --accuracy"))
    if not any(row.cell.energy_mj is not None for row in rows):
        reasons = list(dict.fromkeys(row.cell.energy_reason for row in rows if row.cell.energy_reason))
        found.append(
            ("Energy", reasons[0] if len(reasons) == 1 else "not measured: the last column of the table says why")
        )
    if not any(result.host.roof for result in content.results):
        found.append(("Roofline", "the roof was not measured: `yolo-edge benchmark --roof`"))
    if not any(row.cell.profile is not None for row in rows):
        found.append(
            ("Time by operator", "not measured: `yolo-edge benchmark --profile`, with onnxruntime or benchmark_model")
        )
    return found


def _latencies(content: Content, ink: str) -> Figure:
    rows = sorted(content.rows, key=lambda row: row.cell.latency_ms.p50)[:MOST_ROWS]
    records: Records = [{**facts(row), "cell": row.marked, "run": row.run, **_quantiles(row)} for row in rows]
    order = [row.marked for row in rows]
    drawn = scale([record[key] for record in records for key in ("low", "high")])
    axis, width = beside(order)
    y = alt.Y("cell:N", sort=order, title=None, axis=axis)
    base = linked(records).encode(
        y=y, tooltip=tips("cell", "p1", "p25", "p50", "p75", "p90", "p99"), opacity=unless_another()
    )
    thin = base.mark_rule(strokeWidth=1.5, color=PALETTE[4]).encode(
        x=alt.X("low:Q", scale=drawn, title="inference, ms"), x2="high:Q"
    )
    thick = base.mark_bar(height=9, color=PALETTE[0], cornerRadius=2).encode(x=alt.X("q1:Q", scale=drawn), x2="q3:Q")
    median = base.mark_tick(thickness=2.5, height=15, color=PALETTE[1]).encode(x=alt.X("p50:Q", scale=drawn))
    caption = "Line: 1st to 99th percentile; bar: the middle half; upright: the median. Fastest first."
    if any(row.cell.samples is None for row in rows):
        caption += " Of results without samples: median to 99th percentile."
    if len(content.rows) > len(rows):
        caption += f" The {len(rows)} fastest of {len(content.rows)} cells; the table has all."
    chart = dressed(alt.layer(thin, thick, median), ink, max(20 * len(rows), 60), width)
    return Figure("latency", "Latency", caption, chart, conditions_of(rows))


def _ratios(content: Content, ink: str) -> Figure | None:
    ratios = content.ratios[:MOST_ROWS]
    if not ratios:
        return None
    records: Records = [
        {
            "pair": f"{item.short} ({', '.join(item.marks)})" if item.marks else item.short,
            "ratio": item.ratio.ratio,
            "low": item.ratio.ci95[0],
            "high": item.ratio.ci95[1],
            "verdict": item.ratio.verdict,
        }
        for item in ratios
    ]
    drawn = scale([1, *(record[key] for record in records for key in ("low", "high"))])
    below = alt.Legend(orient="bottom")
    verdicts, inks = list(_VERDICTS), list(_VERDICTS.values())
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=verdicts, range=inks), title=None, legend=below)
    marks = alt.Shape("verdict:N", scale=alt.Scale(domain=verdicts, range=_VERDICT_SHAPES), title=None, legend=below)
    axis, width = beside([record["pair"] for record in records])
    y = alt.Y("pair:N", sort=[record["pair"] for record in records], title=None, axis=axis)
    base = alt.Chart(data(records)).encode(y=y, color=colour, tooltip=tips("pair", "ratio", "low", "high", "verdict"))
    x = alt.X("low:Q", scale=drawn, title="time of the first as a multiple of the second's")
    bars = base.mark_rule(strokeWidth=3).encode(x=x, x2="high:Q")
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("ratio:Q", scale=drawn), shape=marks)
    one = alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[4, 4], color=ink).encode(x=alt.X("one:Q", scale=drawn))
    caption = (
        "From paired rounds, with 95 % intervals. Where the interval holds 1 (dashed) there is no difference to see."
    )
    if len(content.ratios) > len(ratios):
        caption += f" The first {len(ratios)} of {len(content.ratios)}; the table has all."
    chart = dressed(alt.layer(one, bars, points), ink, max(24 * len(records), 60), width)
    counted = {row.name: row for row in content.rows if any(row.name in (item.a, item.b) for item in ratios)}
    return Figure("ratios", "Ratios", caption, chart, conditions_of(counted.values()))


def _scaling(content: Content, ink: str) -> Figure | None:
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in content.rows:
        groups.setdefault((row.run, row.label), []).append(row)
    swept = [rows for rows in groups.values() if len({row.cell.threads for row in rows}) > 1]
    chosen = [sorted(rows, key=lambda row: row.cell.threads) for rows in swept[:MOST_CURVES]]
    if not chosen:
        return None
    records: Records = [
        {
            **facts(row),
            "model": row.label,
            "threads": row.cell.threads,
            "speed": short(rows[0].cell.latency_ms.p50 / row.cell.latency_ms.p50),
            "ms": row.cell.latency_ms.p50,
        }
        for rows in chosen
        for row in rows
    ]
    numbers = sorted({record["threads"] for record in records})
    x = alt.X("threads:Q", title="threads", axis=alt.Axis(values=numbers, format="d"), scale=alt.Scale(padding=30))
    y = alt.Y("speed:Q", title="speed, fewest threads = 1", scale=alt.Scale(zero=True))
    ideal: Records = [{"threads": number, "speed": number / numbers[0]} for number in numbers]
    shown = max(ideal[-1]["speed"], *(record["speed"] for record in records))
    base = linked(records).encode(x=x, y=y)
    lines = base.mark_line(strokeWidth=2).encode(color=colours("model", [rows[0].label for rows in chosen], columns=2))
    points = base.mark_point(filled=True, size=70).encode(
        color=colours("model", [rows[0].label for rows in chosen], columns=2),
        shape=shape([record["state"] for record in records], ink),
        opacity=unless_another(),
        tooltip=tips("model", "threads", "ms", "speed", "marks"),
    )
    dashed = alt.Chart(data(ideal)).mark_line(strokeDash=[4, 4], color=ink, opacity=0.6).encode(x=x, y=y)
    word = (
        alt.Chart(data([{**ideal[-1], "roof": "every thread as good as the first"}]))
        .mark_text(align="right", dx=-14, dy=-10, fontSize=11, color=ink)
        .encode(x=x, y=alt.Y("speed:Q", scale=alt.Scale(domain=[0, shown * 1.05])), text="roof:N")
    )
    caption = "How many times faster than with the fewest threads; below 1, more threads are slower."
    if len(swept) > len(chosen):
        caption += f" The first {len(chosen)} of {len(swept)} models."
    rows = [row for listed in chosen for row in listed]
    return Figure(
        "threads", "Threads", caption, dressed(alt.layer(dashed, word, lines, points), ink, 240), conditions_of(rows)
    )


def _energies(content: Content, ink: str) -> list[Figure]:
    """Energy of an inference, a figure for each scope."""
    by_scope: dict[str, list[Row]] = {}
    for row in content.rows:
        if row.scope is not None:
            by_scope.setdefault(row.scope, []).append(row)
    found = []
    for scope, every in sorted(by_scope.items()):
        rows = sorted(every, key=lambda row: row.cell.energy_mj.gross if row.cell.energy_mj else 0)[:MOST_ROWS]
        records: Records = [
            {**facts(row), "cell": row.marked, "part": part, "mJ": short(value), "order": i}
            for row in rows
            if (energy := row.cell.energy_mj) is not None
            for i, (part, value) in enumerate(
                (("net", max(energy.net, 0.0)), ("what the idle machine takes", energy.gross - max(energy.net, 0.0)))
            )
        ]
        axis, width = beside([row.marked for row in rows])
        chart = (
            linked(records)
            .mark_bar(height=12)
            .encode(
                x=alt.X("mJ:Q", title=f"mJ of an inference ({scope})", stack="zero"),
                y=alt.Y("cell:N", sort=[row.marked for row in rows], title=None, axis=axis),
                color=colours("part", ["net", "what the idle machine takes"]),
                order="order:Q",
                opacity=unless_another(),
                tooltip=[*tips("cell"), alt.Tooltip("part:N"), *tips("mJ", "marks")],
            )
        )
        caption = f"What {scope} shows. Both parts together are gross. Energies of other scopes are never beside these."
        key = f"energies-{in_key(scope)}"
        height = max(20 * len(rows), 50)
        found.append(
            Figure(
                key, f"Energy: {scope}", caption, dressed(chart, ink, height, width), conditions_of(rows, energy=True)
            )
        )
    return found


def _sizes(content: Content, ink: str) -> Figure | None:
    by_file: dict[tuple[str, str, str], Row] = {}
    for row in content.rows:  # memory with the fewest threads, of the first run
        key = (model_name(row.cell.model), row.cell.sha256, row.cell.runtime)
        before = by_file.get(key)
        if before is None or row.cell.threads < before.cell.threads:
            by_file[key] = row
    rows = sorted(by_file.values(), key=lambda row: row.cell.bytes)[:MOST_ROWS]
    records: Records = [
        {
            "id": row.id,
            "model": row.label,
            "file, MB": short(row.cell.bytes / 1e6),
            "memory, MB": None if row.cell.memory_mb is None else short(row.cell.memory_mb),
            "precision": row.cell.precision or "not known",
        }
        for row in rows
    ]
    order = [row.label for row in rows]
    kinds = precisions(records)
    base = linked(records).encode(
        color=colours("precision", kinds),
        opacity=unless_another(),
        tooltip=tips("model", "file, MB", "memory, MB", "precision"),
    )
    height = max(20 * len(rows), 50)
    files = (
        base.mark_bar(height=12, cornerRadius=2)
        .encode(x=alt.X("file, MB:Q"), y=alt.Y("model:N", sort=order, title=None, axis=alt.Axis(labelLimit=300)))
        .properties(width=260, height=height)
    )
    memory = (
        base.mark_bar(height=12, cornerRadius=2)
        .encode(x=alt.X("memory, MB:Q", title="peak memory, MB"), y=alt.Y("model:N", sort=order, axis=None))
        .properties(width=260, height=height)
    )
    caption = "The model files, and the peak memory of the process that runs them, libraries included."
    if len(by_file) > len(rows):
        caption += f" The {len(rows)} smallest of {len(by_file)} files."
    return Figure("size", "Size and memory", caption, dressed(alt.hconcat(files, memory), ink), conditions_of(rows))


def _operators(content: Content, ink: str) -> Figure | None:
    rows = [row for row in content.rows if row.cell.profile is not None][:MOST_ROWS]
    kinds: list[dict[str, float]] = []
    total: dict[str, float] = {}
    for row in rows:
        found: dict[str, float] = {}
        for operator in row.cell.profile.operators if row.cell.profile else ():
            found[operator.operator] = found.get(operator.operator, 0) + operator.ms
        kinds.append(found)
        for kind, ms in found.items():
            total[kind] = total.get(kind, 0) + ms
    if not total:
        return None
    named = sorted(total, key=lambda kind: -total[kind])
    shown = named if len(named) <= _MOST_OPERATORS else [*named[: _MOST_OPERATORS - 1], "others"]
    records: Records = []
    for row, found in zip(rows, kinds, strict=True):
        parts: dict[str, float] = {}
        for kind, ms in found.items():
            name = kind if kind in shown else "others"
            parts[name] = parts.get(name, 0) + ms
        whole = sum(parts.values())
        records += [
            {
                **facts(row),
                "cell": row.marked,
                "operator": name,
                "ms": short(ms),
                "share": short(ms / whole if whole else 0),
                "order": shown.index(name),
            }
            for name, ms in parts.items()
        ]
    axis, width = beside([row.marked for row in rows])
    chart = (
        linked(records)
        .mark_bar(height=14, stroke="#ffffff", strokeWidth=0.5)
        .encode(
            x=alt.X("ms:Q", title="ms of an inference", stack="zero"),
            y=alt.Y("cell:N", sort=[row.marked for row in rows], title=None, axis=axis),
            color=colours("operator", shown, columns=6),
            order="order:Q",
            opacity=unless_another(),
            tooltip=[*tips("cell", "operator", "ms"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    profilers = " and ".join(dict.fromkeys(f"{row.cell.runtime}'s own profiler" for row in rows))
    caption = f"From {profilers}, which takes microseconds a node itself: of small nodes read shares."
    without = sum(row.cell.profile is None for row in content.rows)
    if without:
        cells = f"{without} cell{'s' if without != 1 else ''}"
        caption += f" Not measured for {cells}: --profile was not given, or the runtime shows no such times."
    height = max(24 * len(rows), 60)
    return Figure("operators", "Time by operator", caption, dressed(chart, ink, height, width), conditions_of(rows))


def _quantiles(row: Row) -> dict[str, float]:
    latency = row.cell.latency_ms
    p90 = latency.p50 if latency.p90 is None else latency.p90  # a native tool prints none: a bar of no length
    p99 = p90 if latency.p99 is None else latency.p99
    known = {"p50": latency.p50, "p90": p90, "p99": p99}
    if row.cell.samples is None:
        return {**known, "low": latency.p50, "high": p99, "q1": latency.p50, "q3": p90}
    p1, p25, p75 = (short(value) for value in np.percentile(samples(row), [1, 25, 75]))
    return {**known, "p1": p1, "p25": p25, "p75": p75, "low": p1, "high": p99, "q1": p25, "q3": p75}
