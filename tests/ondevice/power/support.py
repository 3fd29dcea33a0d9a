"""Meters as the tests ask them, and recorded readings."""

from pathlib import Path
from typing import Any

from tests.support import shared_dir
from yolo_edge.ondevice.power import open_meter, probe_all
from yolo_edge.ondevice.power.meter import Probe


def sample(name: str) -> str:
    return (shared_dir() / "device-samples" / name).read_text()


def probe(root: Path, kind: str, board: dict[str, Any] | None = None) -> Probe:
    return next(row for row in probe_all(root, board) if row.kind == kind)


def values(root: Path, kind: str, board: dict[str, Any] | None = None, **options: str) -> dict[str, float]:
    meter = open_meter(kind, options, root, board)
    try:
        return {f"{c.rail} {c.unit}": value for c, value in zip(meter.columns, meter.read(), strict=True)}
    finally:
        meter.close()
