"""Charts, described with altair (Vega-Lite) and drawn without a browser; `page` puts them into pages."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

WIDTH = 760  # of a chart on a page
# of one width wherever they are: pictures are laid out here, and shown with the fonts of who looks
_SANS = "Arial, Liberation Sans, Helvetica, sans-serif"


@dataclass(frozen=True)
class Figure:
    """A chart with its words.

    Attributes:
        key: A name for files and ids.
        title: Above it.
        caption: What it shows, and how to read it.
        chart: The chart; a Vega-Lite document.
        conditions: How what it shows was measured, where that speaks against it; "" where nothing does.
        points: Marks of a chart with one a cell; 0 of others, which are never many.
    """

    key: str
    title: str
    caption: str
    chart: "alt.TopLevelMixin"
    conditions: str = ""
    points: int = 0


def to_svg(chart: "alt.TopLevelMixin") -> str:
    """The chart as one SVG document; the same chart gives the same text.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    import vl_convert  # noqa: PLC0415 - 80 MB, loaded when a chart is drawn

    return str(vl_convert.vegalite_to_svg(chart.to_json()))


def dressed(chart: Any, ink: str, height: int | None = None, width: int = WIDTH) -> "alt.TopLevelMixin":
    """Size, and colours of text, axes and grid that suit the page, light or dark.

    Args:
        chart: Of altair.
        ink: The colour of text and axes; a page says "currentColor", so that they follow its own.
        height: In pixels; None: of its parts.
        width: In pixels, where there is a height.
    """
    faint = "#88888844"
    if height is not None:
        chart = chart.properties(width=width, height=height)
    result: alt.TopLevelMixin = (
        chart.properties(background="transparent" if ink == "currentColor" else "white")
        .configure(font=_SANS)
        .configure_view(stroke=None)
        .configure_title(color=ink, fontSize=12, fontWeight="normal", anchor="start")
        .configure_axis(
            labelColor=ink,
            titleColor=ink,
            domainColor=ink,
            tickColor=ink,
            gridColor=faint,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor=ink, titleColor=ink, labelFontSize=12, titleFontWeight="normal")
    )
    return result


def short(value: float) -> float:
    """Five digits: more are not seen, and make the page larger."""
    return float(f"{value:.5g}")
