"""Charts, described with altair (Vega-Lite) and drawn without a browser."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt


def to_svg(chart: "alt.TopLevelMixin") -> str:
    """The chart as one SVG document; the same chart gives the same text.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    import vl_convert  # noqa: PLC0415 - 80 MB, loaded when a chart is drawn

    return str(vl_convert.vegalite_to_svg(chart.to_json()))
