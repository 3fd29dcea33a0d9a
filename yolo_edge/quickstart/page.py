"""The page of the quickstart: pictures, figures, and the commands that gave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from yolo_edge.charts.page import render
from yolo_edge.ondevice.files import write_atomically
from yolo_edge.quickstart.steps import Step

if TYPE_CHECKING:
    from yolo_edge.quickstart.run import Summary

_HERE = Path(__file__).parent


def write_page(
    folder: Path, summary: "Summary", called: Sequence[Step], found: dict[str, Any], shown: Sequence[str]
) -> None:
    """Write `index.html` into the folder.

    Args:
        folder: Of the quickstart.
        summary: What was measured.
        called: The commands.
        found: Command → the document that it printed.
        shown: Stems of the pictures that `detect` drew.
    """
    drawn = {Path(row["image"]).stem: row["detections"] for row in found["detect"]}
    pictures = [
        {"file": f"pictures/{path.name}", "found": _sentence(drawn[stem])}
        for stem in shown
        for path in sorted((folder / "pictures").glob(f"{stem}*"))[:1]
    ]
    text = render(
        _HERE,
        "index.html.j2",
        (),
        own_style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        summary=summary,
        best=max((file.mAP50 for file in summary.files), default=0.0),
        fastest=min((file.p50_ms for file in summary.files if file.p50_ms is not None), default=None),
        pictures=pictures,
        anchors=found["anchors"],
        steps=called,
    )
    write_atomically(folder / "index.html", text.encode())


def _sentence(detections: Sequence[dict[str, Any]]) -> str:
    """`qr_code 0.93, barcode 0.81`, or that nothing was found."""
    return ", ".join(f"{item['class']} {item['confidence']:.2f}" for item in detections) or "nothing found"
