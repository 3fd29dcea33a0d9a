"""The charts of a comparison."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from yolo_edge.charts import Figure, dressed, short
from yolo_edge.export.comparison.compare import Compared
from yolo_edge.export.comparison.result import LayerResult

_TOP = 25
_SEEN, _SILENT = 0.01, 1e-6  # of the worst layer, and of a signal: less is not drawn
_MOST_DB, _LEAST_DB = 60.0, -5.0  # of the chart along the network
_KINDS = ["convolution", "activation", "join", "other", "stored"]
_COLOURS = ["#4c78a8", "#72b7b2", "#f58518", "#9d9da1", "#b279a2"]

Records = list[dict[str, Any]]


def figures(compared: Compared, ink: str) -> list[Figure]:
    """The charts that there is something for; `ink` as of `charts.dressed`."""
    layers = compared.result.layers
    found = [_along([layers[i] for i in compared.order], ink)]
    worst = [layer for layer in layers if layer.added > max(_SEEN * layers[0].added, _SILENT)][:_TOP]
    if worst:
        found.append(_added(worst, ink))
    stored = [layer for layer in worst if layer.stored is not None and not layer.rescaled]
    if stored:
        found.append(_ranges(stored, ink))
    return found


def _along(layers: Sequence[LayerResult], ink: str) -> Figure:
    records: Records = [
        {
            "number": number,
            "layer": layer.name,
            "operator": layer.op,
            "kind": layer.kind,
            "SQNR": min(max(layer.sqnr_db, _LEAST_DB), _MOST_DB),
            "dB": layer.sqnr_db,
        }
        for number, layer in enumerate(layers, 1)
    ]
    scale = alt.Scale(domain=[_LEAST_DB, _MOST_DB])
    base = alt.Chart(alt.Data(values=records)).encode(
        x=alt.X("number:Q", title="layer, from the input to the heads", scale=alt.Scale(nice=False, padding=5)),
        y=alt.Y("SQNR:Q", title="signal to noise, dB", scale=scale),
    )
    line = base.mark_line(strokeWidth=1, color="#88888888")
    points = base.mark_point(filled=True, size=42, opacity=0.9).encode(
        color=alt.Color(
            "kind:N", scale=alt.Scale(domain=_KINDS, range=_COLOURS), title=None, legend=alt.Legend(orient="bottom")
        ),
        tooltip=[alt.Tooltip(f"{name}:N") for name in ("layer", "operator")] + [alt.Tooltip("dB:Q", format=".1f")],
    )
    caption = (
        f"Falls where a layer does harm; what lies at {_MOST_DB:g} dB is as good as the same. Noise of one branch is "
        "not that of another, so the line may rise."
    )
    return Figure("along", "Along the network", caption, dressed(alt.layer(line, points), ink, height=280))


def _added(layers: Sequence[LayerResult], ink: str) -> Figure:
    records: Records = [
        {
            "layer": layer.name,
            "operator": layer.op,
            "kind": layer.kind,
            "added": short(100 * layer.added),
            "saturated": short(100 * layer.saturated),
        }
        for layer in layers
    ]
    chart = (
        alt.Chart(alt.Data(values=records))
        .mark_bar(height=12, cornerRadius=2)
        .encode(
            x=alt.X("added:Q", title="noise added, percent of the layer's signal"),
            y=alt.Y("layer:N", sort=[layer.name for layer in layers], title=None, axis=alt.Axis(labelLimit=320)),
            color=alt.Color(
                "kind:N", scale=alt.Scale(domain=_KINDS, range=_COLOURS), title=None, legend=alt.Legend(orient="bottom")
            ),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("layer", "operator")]
            + [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("added", "saturated")],
        )
    )
    caption = "What a layer's result has of noise beyond what it reads. These are the places to mend first."
    return Figure("added", "The layers that do most harm", caption, dressed(chart, ink, height=20 * len(layers) + 20))


def _ranges(layers: Sequence[LayerResult], ink: str) -> Figure:
    records: Records = []
    for layer in layers:
        for what, (low, high) in (("float values", layer.range), ("what the file can store", _range(layer))):
            records.append({"layer": layer.name, "what": what, "low": short(low), "high": short(high)})
    chart = (
        alt.Chart(alt.Data(values=records))
        .mark_bar(height=6, cornerRadius=2)
        .encode(
            x=alt.X("low:Q", title="value"),
            x2="high:Q",
            y=alt.Y("layer:N", sort=[layer.name for layer in layers], title=None, axis=alt.Axis(labelLimit=320)),
            yOffset=alt.YOffset("what:N", sort=["float values", "what the file can store"]),
            color=alt.Color(
                "what:N",
                scale=alt.Scale(domain=["float values", "what the file can store"], range=["#4c78a8", "#f58518"]),
                title=None,
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("layer", "what")]
            + [alt.Tooltip(f"{name}:Q", format=".3g") for name in ("low", "high")],
        )
    )
    caption = "Orange shorter than blue: values are cut off. Orange much longer: the steps are too large."
    return Figure("ranges", "Ranges of these layers", caption, dressed(chart, ink, height=26 * len(layers) + 20))


def _range(layer: LayerResult) -> tuple[float, float]:
    return layer.stored.range if layer.stored is not None else layer.range
