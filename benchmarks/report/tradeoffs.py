"""Accuracy against what it costs: time, energy, the size of the input."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import altair as alt

from yolo_edge.benchmarks.report.content import Content, Row
from yolo_edge.benchmarks.report.figures import (
    SHAPES,
    Records,
    colours,
    conditions_of,
    drawn,
    dressed,
    facts,
    in_key,
    linked,
    precisions,
    shape,
    tips,
    unless_another,
)
from yolo_edge.benchmarks.report.labels import Align, Axis, Line, axis_of, place, steps
from yolo_edge.charts import Figure, short

_WIDTH, _HEIGHT = 740, 360
_MOST_LABELS = 25
_MOST_DIALS = 6


def accuracy_and_latency(content: Content, ink: str) -> Figure | None:
    """The Pareto front of accuracy and time."""
    rows = [row for row in content.rows if row.accuracy is not None]
    if not rows:
        return None
    chart = _scatter(rows, ink, lambda row: row.cell.latency_ms.p50, "ms", "inference, ms (median)", _on_front)
    caption = (
        "Up and to the left is better. The stepped line joins valid cells that no other of the same machine and device "
        f"beats in both, whatever filters hide. Accuracies on {content.data}."
    )
    return Figure("accuracy", "Accuracy against latency", caption, chart, conditions_of(rows), len(rows))


def accuracy_and_energy(content: Content, ink: str) -> list[Figure]:
    """The same with energy, a figure for each scope of power: what meters see differs, and is never mixed."""
    found = []
    scopes = sorted({row.scope for row in content.rows if row.scope is not None})
    for scope in scopes:
        rows = [row for row in content.rows if row.accuracy is not None and row.scope == scope]
        if not rows:
            continue
        chart = _scatter(
            rows, ink, _gross, "mJ", f"energy of an inference, mJ, gross ({scope})", lambda row: row.frugal
        )
        caption = (
            f"Up and to the left is better. Gross energy of {scope}: all that the meter saw, the idle machine "
            "included. Energies of other scopes are in figures of their own."
        )
        found.append(
            Figure(
                f"energy-{in_key(scope)}",
                f"Accuracy against energy: {scope}",
                caption,
                chart,
                conditions_of(rows, energy=True),
                len(rows),
            )
        )
    return found


def dial(content: Content, ink: str) -> Figure | None:
    """YOLO9000's dial (Redmon & Farhadi 2017, table 3): one set of weights at several sizes of its input."""
    series: dict[tuple[object, ...], list[Row]] = {}
    for row in content.rows:
        if row.cell.input is not None:
            cell = row.cell
            weights = cell.source or row.family
            key = (weights, row.pool, cell.precision, cell.runtime, cell.threads)
            series.setdefault(key, []).append(row)
    several = [_one_a_size(rows) for rows in series.values() if len({row.size for row in rows}) > 1]
    known = [rows for rows in several if all(row.accuracy is not None for row in rows)]
    chosen = sorted(known or several, key=lambda rows: -len(rows))[:_MOST_DIALS]
    if not chosen:
        return None
    names = _dial_names(chosen)
    height: Callable[[Row], float] = _accuracy if known else lambda row: float(_pixels(row)) ** 0.5
    records: Records = [
        {
            **facts(row),
            "series": name,
            "size": row.size,
            "ms": short(row.cell.latency_ms.p50),
            "y": short(height(row)),
            "order": _pixels(row),
        }
        for name, rows in zip(names, chosen, strict=True)
        for row in rows
    ]
    x_axis, y_axis = _axes([record["ms"] for record in records], [record["y"] for record in records])
    x = alt.X("ms:Q", scale=drawn(x_axis), title="inference, ms (median)")
    y = alt.Y(
        "y:Q",
        scale=drawn(y_axis),
        title="mAP50-95" if known else "size of the input, pixels (the root of width times height)",
        axis=alt.Axis(format="%") if known else alt.Axis(),
    )
    colour = colours("series", names, columns=2)
    base = linked(records).encode(x=x, y=y)
    lines = base.mark_line(strokeWidth=2).encode(color=colour, order="order:Q", opacity=alt.value(0.8))
    points = base.mark_point(filled=True, size=70).encode(
        color=colour,
        shape=shape([record["state"] for record in records], ink),
        opacity=unless_another(),
        tooltip=tips("cell", "size", "ms", *(["y"] if known else []), "marks"),
    )
    spots = [(x_axis.at(record["ms"]), y_axis.at(record["y"])) for record in records]
    ends = set(accumulate(map(len, chosen)))
    segments = [line for i, line in enumerate(pairwise(spots), 1) if i not in ends]
    sizes = [(i, record["size"]) for i, record in enumerate(records)]
    texts = _texts(records, spots, sizes, x, y, ink, lines=segments)
    caption = (
        "The same weights at several sizes of the input, written beside the points: accuracy is turned into speed."
    )
    if known:
        caption += f" Accuracies on {content.data}."
    else:
        caption = (
            "The same weights at several sizes of the input. Accuracies are not known: `validate --size` finds them."
        )
    if len(several) > len(chosen):
        caption += f" {len(chosen)} of {len(several)} curves."
    rows = [row for listed in chosen for row in listed]
    chart = dressed(alt.layer(lines, points, *texts), ink, _HEIGHT, _WIDTH)
    return Figure("dial", "The dial: one set of weights, many sizes", caption, chart, conditions_of(rows))


def _scatter(
    rows: Sequence[Row],
    ink: str,
    cost: Callable[[Row], float],
    unit: str,
    title: str,
    leads: Callable[[Row], bool],
) -> Any:
    pools = list(dict.fromkeys(row.pool for row in rows))
    short_pools = _pool_names(rows)
    group = "device" if len(pools) > 1 else "precision"
    records: Records = [
        {
            **facts(row),
            "tag": row.tag,
            unit: short(cost(row)),
            "mAP": short(_accuracy(row)),
            "mAP50": short(row.accuracy.mAP50 if row.accuracy else 0),
            "MB": short(row.cell.bytes / 1e6),
            "precision": row.cell.precision or "not known",
            "device": short_pools[row.pool],
        }
        for row in rows
    ]
    colour = colours(group, list(short_pools.values()) if group == "device" else precisions(records))
    x_axis, y_axis = _axes([record[unit] for record in records], [record["mAP"] for record in records])
    x = alt.X(f"{unit}:Q", scale=drawn(x_axis), title=title)
    y = alt.Y("mAP:Q", title="mAP50-95", axis=alt.Axis(format="%"), scale=drawn(y_axis))
    many = len(records) > 200
    points = (
        linked(records)
        .mark_point(filled=True, size=30 if many else 80)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape([record["state"] for record in records], ink),
            opacity=unless_another(0.6 if many else 0.95),
            tooltip=tips("cell", unit, "mAP", "mAP50", "MB", "device", "marks"),
        )
    )
    front = [record for row, record in zip(rows, records, strict=True) if leads(row)]
    layers: list[Any] = []
    if front:
        stroke = colour if group == "device" else alt.value(ink)
        base = linked(front).encode(x=x, y=y)
        layers.append(
            base.mark_line(interpolate="step-after", strokeDash=[5, 3], strokeWidth=1.5, opacity=0.8).encode(
                order=f"{unit}:Q", detail="device:N", color=stroke
            )
        )
        layers.append(
            base.mark_point(filled=False, size=230, strokeWidth=1.2).encode(color=stroke, shape=alt.value("circle"))
        )
    spots = [(x_axis.at(record[unit]), y_axis.at(record["mAP"])) for record in records]
    leading = [i for i, row in enumerate(rows) if leads(row)]
    rest = [i for i, row in enumerate(rows) if not leads(row)] if len(records) <= _MOST_LABELS else []
    # cells that were measured again have the same words, and often the same place
    first = {(records[i]["tag"], records[i]["device"]): i for i in reversed((*leading, *rest))}
    wanted = [(i, records[i]["tag"]) for i in _spread(list(reversed(first.values())))]
    lines = [
        line
        for name in short_pools.values()
        for line in steps(sorted(spots[i] for i in leading if records[i]["device"] == name))
    ]
    texts = _texts(records, spots, wanted, x, y, ink, leading, lines)
    return dressed(alt.layer(*layers, points, *texts), ink, _HEIGHT, _WIDTH)


def _texts(
    records: Records,
    spots: Sequence[tuple[float, float]],
    wanted: Sequence[tuple[int, str]],
    x: alt.X,
    y: alt.Y,
    ink: str,
    stepped: Sequence[int] = (),
    lines: Sequence[Line] = (),
) -> list[Any]:
    """A layer for each place that labels are in beside their points."""
    by_place: dict[tuple[float, float, Align], Records] = {}
    named = dict(wanted)
    for label in place(spots, wanted, _WIDTH, _HEIGHT, stepped, lines):
        record = {**records[label.number], "label": named[label.number]}
        by_place.setdefault((label.dx, label.dy, label.align), []).append(record)
    return [
        linked(listed)
        .mark_text(dx=dx, dy=dy, align=align, baseline="middle", fontSize=11, color=ink)
        .encode(x=x, y=y, text="label:N", opacity=unless_another())
        for (dx, dy, align), listed in by_place.items()
    ]


def _axes(xs: Sequence[float], ys: Sequence[float]) -> tuple[Axis, Axis]:
    return axis_of(xs, _WIDTH), axis_of(ys, _HEIGHT, margin=0.12, log=False)


def _spread(numbers: Sequence[int]) -> list[int]:
    """At most so many labels, from all along the front."""
    if len(numbers) <= _MOST_LABELS:
        return list(numbers)
    step = len(numbers) / _MOST_LABELS
    return [numbers[int(i * step)] for i in range(_MOST_LABELS)]


def _pool_names(rows: Sequence[Row]) -> dict[str, str]:
    """Machine and device in few words: the device where that tells them apart, else with the host."""
    devices = {row.pool: row.cell.device for row in rows}
    if len(set(devices.values())) == len(devices):
        return devices
    hosts = {row.pool: f"{row.cell.device} on {row.machine.split(', ', maxsplit=1)[0]}" for row in rows}
    return hosts if len(set(hosts.values())) == len(hosts) else {pool: pool for pool in devices}


def _one_a_size(rows: Sequence[Row]) -> list[Row]:
    """By size; of one that was measured several times the most trusted, then the last."""
    best: dict[str, Row] = {}
    order = {state: -i for i, state in enumerate(SHAPES)}
    for row in rows:
        before = best.get(row.size)
        if before is None or order[row.state] >= order[before.state]:
            best[row.size] = row
    return sorted(best.values(), key=_pixels)


def _dial_names(series: Sequence[Sequence[Row]]) -> list[str]:
    """What tells curves apart."""
    parts = [
        (
            rows[0].family,
            rows[0].cell.precision or "",
            rows[0].cell.runtime,
            f"×{rows[0].cell.threads}",
            rows[0].pool,
        )
        for rows in series
    ]
    varying = [i == 0 or len(set(column)) > 1 for i, column in enumerate(zip(*parts, strict=True))]
    return [" ".join(part for part, varies in zip(row, varying, strict=True) if varies and part) for row in parts]


def _accuracy(row: Row) -> float:
    return row.accuracy.mAP50_95 if row.accuracy is not None else 0.0


def _gross(row: Row) -> float:
    return row.cell.energy_mj.gross if row.cell.energy_mj is not None else 0.0


def _on_front(row: Row) -> bool:
    return row.pareto


def _pixels(row: Row) -> int:
    width, height = row.cell.input or (0, 0)
    return width * height
