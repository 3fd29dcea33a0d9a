"""A comparison as one HTML page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from yolo_edge.charts import page
from yolo_edge.evaluation import LABEL_CONFIDENCE
from yolo_edge.export.comparison.charts import figures
from yolo_edge.export.comparison.compare import Compared
from yolo_edge.export.comparison.facts import facts
from yolo_edge.export.comparison.result import LayerResult
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.draw import draw
from yolo_edge.ondevice.images import read_image

_HERE = Path(__file__).parent
_LONGER_SIDE, _QUALITY = 560, 80


@dataclass(frozen=True)
class Column:
    """Of the table.

    Attributes:
        heading: Above it.
        number: Aligned to the right, and sorted by value.
        title: What it is.
    """

    heading: str
    number: bool = True
    title: str = ""


COLUMNS = (
    Column("layer", number=False),
    Column("operator", number=False),
    Column("added %", title="noise beyond what it reads, percent of its signal"),
    Column("SQNR dB"),
    Column("stored dB", title="the float result alone, rounded and cut as the file stores it"),
    Column("weights dB"),
    Column("cosine"),
    Column("cut off %", title="values beyond what can be stored"),
    Column("range", number=False, title="of the float values"),
    Column("stored from … to", number=False),
    Column("step"),
    Column("counterpart", number=False),
    Column("matched by", number=False),
)


def html(compared: Compared) -> str:
    """One page: styles, scripts, charts and pictures are inside.

    Raises:
        ModuleNotFoundError: The `report` extra is not installed.
    """
    result = compared.result
    shown = []
    for item, (path, *found) in zip(result.pictures, compared.worst, strict=True):
        first, second = (_jpeg(path, side, compared.names) for side in found)
        shown.append(
            {
                "name": path.name,
                "agreement": item.agreement,
                "float_detections": item.float_detections,
                "quantized_detections": item.quantized_detections,
                "first": first,
                "second": second,
            }
        )
    return page.render(
        _HERE,
        "page.html.j2",
        figures(compared, page.INK),
        result=result,
        title=f"{Path(result.quantized_file.path).name} beside {Path(result.float_file.path).name}",
        facts=facts(result),
        pictures=shown,
        confidence=LABEL_CONFIDENCE,
        columns=COLUMNS,
        rows=[(None, _fields(layer)) for layer in result.layers],
        own_style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
    )


def _fields(layer: LayerResult) -> list[str]:
    stored = layer.stored
    return [
        layer.name,
        layer.op,
        f"{100 * layer.added:.3g}",
        f"{layer.sqnr_db:.1f}",
        "-" if layer.storage_sqnr_db is None else f"{layer.storage_sqnr_db:.1f}",
        "-" if layer.weight_sqnr_db is None else f"{layer.weight_sqnr_db:.1f}",
        f"{layer.cosine:.4f}",
        "-" if stored is None else f"{100 * layer.saturated:.3g}",
        f"{layer.range[0]:.3g} … {layer.range[1]:.3g}",
        "float" if stored is None else f"{stored.range[0]:.3g} … {stored.range[1]:.3g}",
        "-" if stored is None else f"{stored.scale:.3g}",
        layer.quantized_name,
        layer.matched_by + (", rescaled" if layer.rescaled else ""),
    ]


def _jpeg(path: Path, found: Detections, names: Sequence[str]) -> str:
    """A picture with boxes, as a data address."""
    image = read_image(path)
    factor = min(_LONGER_SIDE / max(image.shape[:2]), 1.0)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else image
    scaled = Detections(found.xyxy * np.float32(factor), found.confidence, found.class_id)
    _, data = cv2.imencode(".jpg", draw(np.asarray(small), scaled, names), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
