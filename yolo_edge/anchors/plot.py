"""Pictures of boxes and anchors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_edge.anchors.kmeans import Clusters, Floats

if TYPE_CHECKING:
    import altair as alt

_BINS = 60
_SIDE = 460
_NEW, _OLD = "#d62728", "#111111"


def plot_anchors(
    boxes: Floats,
    clusters: Clusters,
    title: str,
    *,
    current: Floats | None = None,
    sweep: Sequence[tuple[int, float]] = (),
) -> Any:
    """An altair chart: how many boxes there are of each width and height, with the anchors over it.

    Args:
        boxes: float64 [n, 2], input pixels.
        clusters: The anchors found.
        title: Of the chart.
        current: Anchors to compare with, float64 [k, 2].
        sweep: Pairs of k and average IoU; drawn beside it.
    """
    import altair as alt  # noqa: PLC0415 - loaded when a chart is drawn

    shown = [clusters.anchors] if current is None else [clusters.anchors, current]
    low, high = _range(boxes, np.concatenate(shown))
    scale = alt.Scale(type="log", base=2, domain=[low, high], nice=False)
    edges = np.geomspace(low, high, _BINS + 1)
    counts, _, _ = np.histogram2d(np.clip(boxes[:, 0], low, high), np.clip(boxes[:, 1], low, high), (edges, edges))
    cells = [
        {"x": edges[i], "x2": edges[i + 1], "y": edges[j], "y2": edges[j + 1], "boxes": int(counts[i, j])}
        for i, j in np.argwhere(counts > 0)
    ]
    density = (
        alt.Chart(alt.Data(values=_rounded(cells)))
        .mark_rect(aria=False)
        .encode(
            alt.X("x:Q", scale=scale, title="width, input pixels", axis=alt.Axis(grid=False)),
            alt.Y("y:Q", scale=scale, title="height, input pixels", axis=alt.Axis(grid=False)),
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color("boxes:Q", scale=alt.Scale(scheme="blues", type="sqrt"), title="boxes"),
        )
    )
    chart = density.properties(width=_SIDE, height=_SIDE, title=title)
    layers = [chart]
    kinds = ["new"] if current is None else ["new", "current"]
    if current is not None:
        layers.append(_points(current, "current", kinds, scale))
    layers.append(_points(clusters.anchors, "new", kinds, scale))
    layers += _labels(clusters.anchors, high, scale)
    layered = alt.layer(*layers)
    if not sweep:
        return layered
    return alt.hconcat(layered, _sweep_chart(sweep, len(clusters.anchors))).resolve_scale(color="independent")


def _labels(anchors: Floats, high: float, scale: "alt.Scale") -> list[Any]:
    """The sizes beside the anchors, within the picture."""
    import altair as alt  # noqa: PLC0415

    layers = []
    for align, dx, near in (("left", 8, False), ("right", -8, True)):
        labels = [{"x": w, "y": h, "text": f"{w:.0f}x{h:.0f}"} for w, h in anchors if (w > high / 2) == near]
        text = alt.Chart(alt.Data(values=_rounded(labels))).encode(
            alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale), text="text:N"
        )
        style = {"align": align, "dx": dx, "dy": -6, "fontSize": 11, "fontWeight": "bold"}
        layers.append(text.mark_text(**style, stroke="white", strokeWidth=3))  # so that it stands out
        layers.append(text.mark_text(**style, color=_NEW))
    return layers


def _points(anchors: Floats, kind: str, kinds: Sequence[str], scale: "alt.Scale") -> Any:
    import altair as alt  # noqa: PLC0415

    values = [{"x": w, "y": h, "anchors": kind} for w, h in anchors]
    return (
        alt.Chart(alt.Data(values=_rounded(values)))
        .mark_point(size=90, strokeWidth=2.5, opacity=1)
        .encode(
            alt.X("x:Q", scale=scale),
            alt.Y("y:Q", scale=scale),
            shape=alt.Shape("anchors:N", scale=alt.Scale(domain=kinds, range=["circle", "cross"])),
            stroke=alt.Stroke("anchors:N", scale=alt.Scale(domain=kinds, range=[_NEW, _OLD])),
        )
    )


def _sweep_chart(sweep: Sequence[tuple[int, float]], k: int) -> Any:
    import altair as alt  # noqa: PLC0415

    values = [{"k": number, "average IoU": value, "chosen": number == k} for number, value in sweep]
    base = alt.Chart(alt.Data(values=_rounded(values))).encode(
        alt.X("k:Q", title="k", axis=alt.Axis(tickMinStep=1)),
        alt.Y("average IoU:Q", scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%")),
    )
    points = base.mark_point(size=60, filled=True, opacity=1).encode(
        color=alt.condition("datum.chosen", alt.value(_NEW), alt.value("#1f77b4"))
    )
    chart = alt.layer(base.mark_line(), points)
    return chart.properties(width=_SIDE * 0.7, height=_SIDE, title=f"average IoU against k (red: k = {k})")


def _range(boxes: Floats, anchors: Floats) -> tuple[float, float]:
    """From where to where the axes go: a few boxes in a thousand may lie at their ends."""
    low = min(np.quantile(boxes, 0.002), anchors.min() * 0.8)
    high = max(np.quantile(boxes, 0.998), anchors.max() * 1.3)
    return float(low), float(max(high, low * 2))


def _rounded(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in value.items()} for value in values]
