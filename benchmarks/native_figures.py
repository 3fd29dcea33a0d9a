"""Figures of cells from the turns of TFLite's native tool, which prints statistics and no samples."""

from collections.abc import Sequence

import numpy as np

from yolo_edge.benchmarks.benchmark import EMULATED_TIMES
from yolo_edge.benchmarks.figures import median_ms, milliseconds, verdict_of
from yolo_edge.benchmarks.host import Conditions, Cpu, Host
from yolo_edge.benchmarks.native_tool import NativeCell, Turn
from yolo_edge.benchmarks.power import CellPower, Energy
from yolo_edge.benchmarks.results import Cell, CellRatio, Latency, NativeRun, Operator, Profile
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.benchmarks.verdicts import cell_faults, machine_faults
from yolo_edge.devices.benchmark_model import Report
from yolo_edge.devices.facts import Facts
from yolo_edge.ondevice.files import printable
from yolo_edge.timing import median_interval, paired_ratio

RUNTIME = "benchmark_model"
WARM_UP_WINDOWS = 2  # before each turn


def host_of(facts: Facts, digest: str) -> Host:
    """The device; `digest` is the tool's SHA-256 in hexadecimal: it has no version."""
    cpu = facts.cpu
    return Host(
        name=facts.name,
        model=facts.model,
        machine=facts.machine or "unknown",
        cpu=Cpu(
            name=cpu.get("name"),
            cpus=cpu.get("cpus"),
            cpus_in_all=cpu.get("cpus"),
            features=tuple(cpu.get("features") or ()),
            max_mhz=cpu.get("max_mhz"),
        ),
        memory_mb=facts.memory_mb,
        os=facts.os or "unknown",
        kernel=facts.kernel or "unknown",
        python="none",
        versions={RUNTIME: f"sha256 {digest[:16]}"},
        emulated=facts.emulated,
    )


def cell_of(
    cell: NativeCell,
    device: str,
    settings: Settings,
    moments: Sequence[Conditions],
    energy: tuple[Energy, CellPower] | str,
    profile: Profile | str | None,
    *,
    emulated: bool,
) -> Cell:
    """The figures of a cell.

    Args:
        cell: With a turn a repeat.
        device: Its name.
        settings: How it was measured.
        moments: The machine at the begin and the end of each repeat.
        energy: An inference's, and the power that it is from; or why there is none.
        profile: Time by operator; or why there is none; None: not asked for.
        emulated: Whether the device's processor is a program.
    """
    turns, subject = cell.turns, cell.slot.subject
    middles = np.array([turn.report.middle_ms for turn in turns])
    counts = np.array([turn.report.count for turn in turns])
    means = np.array([turn.report.timing.mean for turn in turns])
    low, high = median_interval([np.array([value]) for value in middles], len(turns))
    faults = [EMULATED_TIMES]
    if not emulated:
        faults = machine_faults(moments, None, settings.limits) + cell_faults(middles, [], settings.limits)
    peaks = [turn.peak_mb for turn in turns if turn.peak_mb is not None]
    inits = [turn.report.timing.load for turn in turns if turn.report.timing.load is not None]
    firsts = [turn.report.timing.first for turn in turns if turn.report.timing.first is not None]
    return Cell(
        model=subject.name,
        device=device,
        runtime=RUNTIME,
        threads=cell.slot.threads,
        latency_ms=Latency(
            p50=milliseconds(np.median(middles)),
            p90=None,
            p99=None,
            mean=milliseconds(np.average(means, weights=counts)),
            n=int(counts.sum()),
            ci95=(milliseconds(low), milliseconds(high)),
        ),
        memory_mb=round(max(peaks), 1) if peaks else None,
        energy_mj=None if isinstance(energy, str) else energy[0],
        energy_reason=energy if isinstance(energy, str) else None,
        valid=not faults,
        invalid_reason="; ".join(faults) or None,
        emulated=emulated,
        sha256=subject.sha256,
        bytes=subject.bytes,
        precision=subject.precision,
        input=subject.input,
        start_ms=None,
        load_ms=median_ms(inits) if inits else None,
        first_ms=median_ms(firsts) if firsts else None,
        repeats_ms=tuple(milliseconds(value) for value in middles),
        warm_up_s=WARM_UP_WINDOWS * settings.warm_up_window_s,
        macs=subject.macs,
        cpus=cell.cpus,
        notes=(*subject.notes, *_notes(turns[0].report), *([profile] if isinstance(profile, str) else [])),
        profile=profile if isinstance(profile, Profile) else None,
        power=None if isinstance(energy, str) else energy[1],
        runs=tuple(_run(turn) for turn in turns),
    )


def ratios_of(cells: Sequence[NativeCell], settings: Settings) -> list[CellRatio]:
    """How they compare; which with which: see `BenchmarkResult.ratios`."""
    first = cells[0].slot.subject
    return [
        _ratio(a, b, settings)
        for a in cells
        for b in cells
        if (a.slot.threads == b.slot.threads and b.slot.subject is first and a.slot.subject is not first)
        or (a.slot.subject is b.slot.subject and b.slot.threads == settings.threads[0] and a is not b)
    ]


def _ratio(a: NativeCell, b: NativeCell, settings: Settings) -> CellRatio:
    ratio = paired_ratio(*(np.array([[turn.report.middle_ms] for turn in one.turns]) for one in (a, b)))
    return CellRatio(
        a=a.slot.subject.name,
        b=b.slot.subject.name,
        ratio=round(ratio.value, 5),
        ci95=(round(ratio.low, 5), round(ratio.high, 5)),
        verdict=verdict_of(ratio, settings.repeats),
        rounds=len(a.turns),
        of_rounds=len(a.turns),
        threads_a=a.slot.threads,
        threads_b=b.slot.threads,
    )


def profile_of(report: Report) -> Profile | str:
    """Time by operator, or why there is none."""
    if not report.operators:
        return "no time by operator: this benchmark_model prints none"
    return Profile(
        inferences=report.count,
        run_ms=milliseconds(sum(operator.ms for operator in report.operators)),
        outside_ms=report.middle_ms,
        operators=tuple(
            Operator(name=printable(one.name), operator=printable(one.kind), ms=one.ms) for one in report.operators
        ),
    )


def _notes(report: Report) -> list[str]:
    found = ["benchmark_model prints statistics: p50 is the median of the medians of its runs; no p90, no p99"]
    if report.timing.p50 is None:
        found = ["this benchmark_model prints no medians: p50 is the median of the means of its runs; no p90, no p99"]
    if report.delegated is not None:
        found.append(f"{report.delegate} runs {report.delegated[0]} of {report.delegated[1]} nodes")
    return found


def _run(turn: Turn) -> NativeRun:
    timing = turn.report.timing
    return NativeRun(
        n=turn.report.count,
        mean_ms=timing.mean,
        std_ms=timing.std,
        min_ms=timing.min,
        median_ms=timing.p50,
        p95_ms=timing.p95,
        max_ms=timing.max,
        window_s=turn.window,
        footprint_mb=timing.memory_mb,
    )
