"""Results as a table for other programs."""

import csv
import io
from collections.abc import Sequence

from yolo_edge.benchmarks.results import BenchmarkResult, Cell, Latency, energy_scope

_LATENCY = ("p50", "p90", "p99", "mean", "n")


def to_csv(results: Sequence[BenchmarkResult]) -> bytes:
    """A header, then a row a cell; times in milliseconds, memory in MB, energy in mJ.

    Empty where not measured, and the times of emulators. Energy of each scope has its own columns.
    """
    text = io.StringIO()
    found = dict.fromkeys(energy_scope(result, cell) for result in results for cell in result.cells)
    scopes = [scope for scope in found if scope is not None]
    writer: csv.DictWriter[str] | None = None
    for result in results:
        for cell in result.cells:
            row = {**_row(result, cell), **_energy(result, cell, scopes)}
            if writer is None:
                writer = csv.DictWriter(text, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
    return text.getvalue().encode()


def _row(result: BenchmarkResult, cell: Cell) -> dict[str, object]:
    return {
        "model": cell.model,
        "device": cell.device,
        "runtime": cell.runtime,
        "runtime_version": cell.runtime_version,
        "threads": cell.threads,
        "precision": cell.precision,
        "precise": cell.precise,
        "bytes": cell.bytes,
        **_times(cell),
        "memory_mb": cell.memory_mb,
        "macs": cell.macs,
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


def _times(cell: Cell) -> dict[str, object]:
    found = {
        **_columns("inference", cell.latency_ms),
        "inference_ci95_low_ms": cell.latency_ms.ci95[0],
        "inference_ci95_high_ms": cell.latency_ms.ci95[1],
        **_columns("preprocess", cell.preprocess_ms),
        **_columns("postprocess", cell.postprocess_ms),
        **_columns("total", cell.total_ms),
        "start_ms": cell.start_ms,
        "load_ms": cell.load_ms,
        "first_ms": cell.first_ms,
        "peak_share": cell.peak_share,
    }
    return dict.fromkeys(found) if cell.emulated else found


def _energy(result: BenchmarkResult, cell: Cell, scopes: Sequence[str]) -> dict[str, object]:
    own, energy = energy_scope(result, cell), cell.energy_mj
    return {
        f"energy_{kind}_mj {scope}": getattr(energy, kind) if own == scope else None
        for scope in scopes
        for kind in ("gross", "net")
    }


def _columns(stage: str, latency: Latency | None) -> dict[str, object]:
    names = {name: name if name == "n" else f"{name}_ms" for name in _LATENCY}
    return {f"{stage}_{names[name]}": None if latency is None else getattr(latency, name) for name in _LATENCY}
