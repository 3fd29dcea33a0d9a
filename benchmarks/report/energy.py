"""What a report says of energy."""

from collections.abc import Sequence

import numpy as np

from yolo_edge.benchmarks.power import CellPower, Power
from yolo_edge.benchmarks.results import Cell


def millijoules(value: float) -> str:
    """Four digits that count."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def describe_energy(power: Power, cells: Sequence[Cell]) -> str:
    """What was read, and what a figure is, in a sentence or two."""
    # a native tool runs the inference alone, whatever the file says of itself
    whole = any(cell.total_ms is not None for cell in cells)
    part = ", picture to boxes where there is a spec" if whole else " alone"
    how = "estimated by the hardware" if power.meter.estimated else "measured"
    idle = f" Idle: {_idle(power.idle_w)}." if power.idle_w else ""
    return (
        f"energy of an inference{part}; gross, and net of the idle machine; {how} by {power.meter.kind} "
        f"({power.meter.what}): {power.meter.scope}.{idle}"
    )


def meter_facts(power: Power) -> list[tuple[str, str]]:
    """The meter as names and texts."""
    others = f"; also there: {', '.join(power.others)}" if power.others else ""
    gap = f", {power.failures} failed" if power.failures else ""
    cost = "not known: another program wrote the file" if power.overhead is None else f"{power.overhead:.1%} of a CPU"
    return [
        ("power meter", f"{power.meter.kind}: {power.meter.what}{others}"),
        ("what it sees", power.meter.scope),
        ("kind of figures", "estimated by the hardware from a model" if power.meter.estimated else "measured"),
        ("readings a second", f"{power.rate_hz:.1f}{gap}"),
        ("cost of reading it", cost),
        ("idle power", _idle(power.idle_w)),
    ]


def cell_energy(how: CellPower) -> str:
    """How the energy of a cell was found, in a sentence."""
    low, high = min(how.gross_mj), max(how.gross_mj)
    return (
        f"{how.gross_w:.3f} W, idle {how.idle_w:.3f} W; gross energy of the repeats {millijoules(low)} to "
        f"{millijoules(high)} mJ, from {how.readings} readings in {how.windows} turns of {how.seconds:.1f} s together, "
        f"at most {how.largest_gap_s:.2f} s apart"
    )


def _idle(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Means before and after the repeats, and the drift."""
    known = np.array([pair for pair in pairs if None not in pair], float)
    if not known.size:
        return "not read"
    before, after = known.mean(axis=0)
    return f"{before:.3f} W before a repeat, {after:.3f} W after ({after - before:+.3f} W)"
