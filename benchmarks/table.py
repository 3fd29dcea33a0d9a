"""Results as a table for other programs."""

import csv
import io
from collections.abc import Sequence

from yolo_edge.benchmarks.results import BenchmarkResult, Cell, Latency

_LATENCY = ("p50", "p90", "p99", "mean", "n")


def to_csv(results: Sequence[BenchmarkResult]) -> bytes:
    """A header, then a row a cell; times in milliseconds, memory in MB, energy in mJ, empty where not measured."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for result in results:
        for cell in result.cells:
            row = _row(result, cell)
            if writer is None:
                writer = csv.DictWriter(text, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
    return text.getvalue().encode()


def _row(result: BenchmarkResult, cell: Cell) -> dict[str, object]:
    row: dict[str, object] = {
        "model": cell.model,
        "device": cell.device,
        "runtime": cell.runtime,
        "threads": cell.threads,
        "precision": cell.precision,
        "precise": cell.precise,
        "bytes": cell.bytes,
        **_columns("inference", cell.latency_ms),
        "inference_ci95_low_ms": cell.latency_ms.ci95[0],
        "inference_ci95_high_ms": cell.latency_ms.ci95[1],
        **_columns("preprocess", cell.preprocess_ms),
        **_columns("postprocess", cell.postprocess_ms),
        **_columns("total", cell.total_ms),
        "start_ms": cell.start_ms,
        "load_ms": cell.load_ms,
        "first_ms": cell.first_ms,
        "memory_mb": cell.memory_mb,
        "macs": cell.macs,
        "peak_share": cell.peak_share,
        "energy_gross_mj": cell.energy_mj and cell.energy_mj.gross,
        "energy_net_mj": cell.energy_mj and cell.energy_mj.net,
        "energy_scope": cell.energy_mj and cell.energy_mj.scope,
        "valid": cell.valid,
        "invalid_reason": cell.invalid_reason,
        "emulated": cell.emulated,
        "quick": result.settings.quick,
        "fast": result.settings.fast,
        "sha256": cell.sha256,
        "created": result.created,
        "host": result.host.name,
        "cpu": result.host.cpu.name,
    }
    return row


def _columns(stage: str, latency: Latency | None) -> dict[str, object]:
    names = {name: name if name == "n" else f"{name}_ms" for name in _LATENCY}
    return {f"{stage}_{names[name]}": None if latency is None else getattr(latency, name) for name in _LATENCY}
