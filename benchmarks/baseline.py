"""A run against an earlier one: what became slower."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from yolo_edge.benchmarks.benchmark import verdict_of
from yolo_edge.benchmarks.results import BenchmarkResult, Cell, key_of
from yolo_edge.ondevice.errors import InputError
from yolo_edge.timing import Ratio, unpaired_ratio

Verdict = Literal["faster", "slower", "no difference", "not valid", "missing", "new"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One cell in both runs.

    Attributes:
        model: Of the cell.
        device: Of the cell.
        runtime: Of the cell.
        threads: Of the cell.
        verdict: "not valid": one of the two was throttled or disturbed; "missing": only the baseline has it; "new":
            only this run.
        ratio: This run's median inference as a multiple of the baseline's; None where one of them is missing.
        ci95: Its interval.
        old_ms: The baseline's median.
        new_ms: This run's.
        reason: Of "not valid".
    """

    model: str
    device: str
    runtime: str
    threads: int
    verdict: Verdict
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    old_ms: float | None = None
    new_ms: float | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.model} ({self.runtime}, threads {self.threads})"


def compare(results: Sequence[BenchmarkResult], baselines: Sequence[BenchmarkResult]) -> list[Comparison]:
    """Compare cell by cell: the same file name, device, runtime and number of threads.

    The runs were not taken side by side: what changed on the machine between them is in the ratio, and no interval
    knows of it.

    Raises:
        InputError: Nothing can be compared, runs of different machines, or a cell that is there twice.
    """
    machines = {_machine(result) for result in (*results, *baselines)}
    if len(machines) > 1:
        raise InputError(f"baseline: runs of different machines cannot be compared: {'; '.join(sorted(machines))}")
    new, old = _by_key(results, "the results"), _by_key(baselines, "the baseline")
    if not set(new) & set(old):
        raise InputError(
            "baseline: no cell is in both: the same model file names, device, runtime and threads are compared"
        )
    return [_compare(key, old.get(key), new.get(key)) for key in dict.fromkeys([*new, *old])]


def problems(comparisons: Sequence[Comparison], limit: float) -> list[str]:
    """What speaks against this run: cells that are slower by more than the limit, and those that cannot be judged.

    Args:
        comparisons: Of the run.
        limit: As a fraction: 0.05 lets a cell be slower by 5 %.

    Returns:
        One sentence a problem.
    """
    found = []
    for item in comparisons:
        if item.verdict == "slower" and item.ratio is not None and item.ci95 is not None and item.ratio > 1 + limit:
            interval = f"[{item.ci95[0]:.3f}, {item.ci95[1]:.3f}]"
            found.append(f"{item.name} takes {item.ratio:.3f} {interval} times the baseline's")
        elif item.verdict == "not valid":
            found.append(f"{item.name} cannot be judged, measure again ({item.reason})")
        elif item.verdict == "missing":
            found.append(f"{item.name} is in the baseline only")
    return found


def _machine(result: BenchmarkResult) -> str:
    return f"{result.host.cpu.name or result.host.machine}, {result.host.cpu.cpus} CPUs"


def _by_key(results: Sequence[BenchmarkResult], what: str) -> dict[tuple[str, str, str, int], Cell]:
    found: dict[tuple[str, str, str, int], Cell] = {}
    for result in results:
        for cell in result.cells:
            key = key_of(cell)
            if key in found:
                raise InputError(f"baseline: {key[0]} with threads {key[3]} is twice in {what}: give one run of each")
            found[key] = cell
    return found


def _compare(key: tuple[str, str, str, int], old: Cell | None, new: Cell | None) -> Comparison:
    model, device, runtime, threads = key
    ratio = None if old is None or new is None else _ratio(new, old)
    verdict: str
    reasons = [
        f"{which}: {cell.invalid_reason or 'not valid'}"
        for which, cell in (("baseline", old), ("this run", new))
        if cell is not None and not cell.valid
    ]
    if ratio is None:
        verdict = "new" if old is None else "missing"
    elif reasons:
        verdict = "not valid"
    else:
        verdict = verdict_of(ratio)
    return msgspec.convert(
        {
            "model": model,
            "device": device,
            "runtime": runtime,
            "threads": threads,
            "verdict": verdict,
            "ratio": None if ratio is None else ratio.value,
            "ci95": None if ratio is None else (ratio.low, ratio.high),
            "old_ms": None if old is None else old.latency_ms.p50,
            "new_ms": None if new is None else new.latency_ms.p50,
            "reason": "; ".join(reasons) or None if verdict == "not valid" else None,
        },
        Comparison,
    )


def _ratio(new: Cell, old: Cell) -> Ratio:
    if new.samples is not None and old.samples is not None:
        return unpaired_ratio(new.samples.turn_medians(), old.samples.turn_medians())
    # without samples the two intervals are what is known: their half widths add as those of independent errors do
    value = new.latency_ms.p50 / old.latency_ms.p50
    spread = sum(
        ((cell.latency_ms.ci95[1] - cell.latency_ms.ci95[0]) / 2 / cell.latency_ms.p50) ** 2 for cell in (new, old)
    )
    return Ratio(value, value * (1 - spread**0.5), value * (1 + spread**0.5))
