"""HTML pages that need no network: styles, scripts, data and charts are inside."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jinja2
from markupsafe import Markup

from yolo_edge._version import __version__
from yolo_edge.charts import Figure, to_svg

INK = "currentColor"
_HERE = Path(__file__).parent


_MOST_DRAWN = 600  # points of a chart that is drawn without the script, too: more would be most of the page


class Shared(Protocol):
    """Takes the data of charts out of them, so that it is in a page once, and small."""

    def without_data(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The chart with names in place of its data; which, is in its `usermeta`."""
        ...

    def packed(self) -> dict[str, Any]:
        """`rows`: what each row has; `charts`: name of a dataset → field → its column."""
        ...


def render(
    folder: Path,
    template: str,
    figures: Sequence[Figure],
    *,
    shared: Shared | None = None,
    filters: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """A page from a template that extends `base.html.j2`.

    Args:
        folder: Of the template.
        template: Its name.
        figures: Charts in `INK`; a page without any has no Vega in it.
        shared: Keeps the data of the charts; None: it stays in them.
        filters: What rows can be filtered by: name → each row's value.
        **values: For the template.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    drawn = [
        {
            "key": figure.key,
            "title": figure.title,
            "caption": figure.caption,
            # drawn already, so that it is there without scripts and on paper; the script makes it answer to the mouse
            "svg": Markup(to_svg(figure.chart)) if figure.points <= _MOST_DRAWN else "",  # noqa: S704 - it escapes texts
            "conditions": figure.conditions,
            "points": figure.points,
            "spec": _script_json(shared.without_data(spec) if shared else spec),
        }
        for figure, spec in ((figure, figure.chart.to_dict()) for figure in figures)
    ]
    return (
        environment(folder, autoescape=True)
        .get_template(template)
        .render(
            version=__version__,
            figures=drawn,
            datasets=_script_json(shared.packed() if shared else {"rows": {}, "charts": {}}),
            filters=_script_json(filters or {}),
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
            script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - ours
            vega=Markup(_in_script(_bundle())) if drawn else "",  # noqa: S704 - Vega's own
            **values,
        )
    )


def environment(folder: Path, autoescape: bool) -> jinja2.Environment:
    """The templates of a folder, and those that pages share."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=autoescape,  # noqa: S701 - not for Markdown, which escapes by a filter of its own
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


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
