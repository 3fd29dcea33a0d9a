"""What a power meter read beside latency, and what that is per inference. Parts of a result."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from yolo_edge.benchmarks.samples import decode_floats
from yolo_edge.benchmarks.settings import Limits
from yolo_edge.ondevice.power.meter import Column
from yolo_edge.ondevice.power.trace import PowerTrace

Window = tuple[float, float]


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of one inference in millijoules, of what `scope` says the meter sees.

    From the picture to its boxes where the model has a spec, as `total_ms`; else of the inference alone.

    Attributes:
        gross: All of it.
        net: Without what the idle machine takes.
        scope: board_input, module_input, soc_rails, rail:NAME, battery or wall.
    """

    gross: float
    net: float
    scope: str


class RailColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One of the raw values of a reading.

    Attributes:
        rail: That it belongs to.
        unit: V, mV, uV, A, mA, uA, W, mW, or uJ of a counter.
        wrap: The counter's highest value.
    """

    rail: str
    unit: str
    wrap: float | None = None


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """The power meter that was read.

    Attributes:
        kind: pmic, ina3221-hwmon, ina3221-iio, tegrastats, rapl, ina219, ina226, ina260; of a phone odpm or battery;
            csv: a recorded file.
        scope: What it sees: board_input, module_input, soc_rails, rail:NAME, battery or wall.
        estimated: Whether the hardware computes its figures from a model instead of measuring.
        what: For a person.
        total: The rails whose sum is what `scope` says.
        columns: Of a reading.
        interval_s: How often it was to be read; 0 of a recorded file.
    """

    kind: str
    scope: str
    estimated: bool
    what: str
    total: tuple[str, ...]
    columns: tuple[RailColumn, ...]
    interval_s: Annotated[float, msgspec.Meta(ge=0)]


class PowerRepeat(msgspec.Struct, frozen=True, kw_only=True):
    """What the meter read in one repeat. Times are seconds since its sampling began, on the device's monotonic clock.

    Attributes:
        meter: Which; None: a file that is read at the end.
        time: The host's clock, in seconds since 1970, when the device's was at 0.
        uncertainty_s: Of `time`: half of how long asking took.
        idle: When the machine did nothing, before the workers were there, and after.
        times: Of the readings, encoded; empty of a file.
        values: A row a reading, encoded; empty of a file.
        readings: Their number.
        failures: Readings that failed.
        problem: What the last one failed of.
        cpu_s: CPU time of the sampling …
        wall_s: … in so many seconds.
    """

    meter: Meter | None
    time: float
    uncertainty_s: float
    idle: tuple[Window, Window]
    times: str = ""
    values: str = ""
    readings: int = 0
    failures: int = 0
    problem: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0


class CellPower(msgspec.Struct, frozen=True, kw_only=True):
    """How the energy of a cell was found.

    Attributes:
        gross_w: Mean power in its windows.
        idle_w: Mean power of the idle machine, before and after, over the repeats.
        gross_mj: Energy of an inference, gross, of each repeat.
        net_mj: The same without what the idle machine takes.
        windows: Turns that were measured.
        seconds: Their length together.
        readings: Of the meter in them; of a counter how often it had moved.
        largest_gap_s: The longest time without a reading in them.
    """

    gross_w: float
    idle_w: float
    gross_mj: tuple[float, ...]
    net_mj: tuple[float, ...]
    windows: int
    seconds: float
    readings: int
    largest_gap_s: float


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """The power meter, and what it read.

    Attributes:
        meter: Which.
        others: Kinds that could have been read, too.
        rate_hz: Readings a second: the median over each repeat, and over those.
        overhead: CPU time of the sampling as a fraction of one CPU's; None of a recorded file.
        failures: Readings that failed.
        idle_w: Mean power of the idle machine, before and after each repeat; None where it was not read.
        repeats: The raw readings of each repeat; none in documents without samples.
    """

    meter: Meter
    others: tuple[str, ...] = ()
    rate_hz: float
    overhead: float | None
    failures: Annotated[int, msgspec.Meta(ge=0)]
    idle_w: tuple[tuple[float | None, float | None], ...]
    repeats: tuple[PowerRepeat, ...] = ()

    @property
    def label(self) -> str:
        """The scope, for a heading: figures of two must not stand in one column, nor measured ones beside estimates."""
        return f"{self.meter.scope}, estimated" if self.meter.estimated else self.meter.scope


def trace_of(repeat: PowerRepeat, meter: Meter) -> PowerTrace:
    """The readings of a repeat.

    Raises:
        ValueError: They are damaged.
    """
    width = len(meter.columns)
    return PowerTrace(
        meter.kind,
        meter.scope,
        meter.estimated,
        meter.total,
        tuple(Column(column.rail, column.unit, column.wrap) for column in meter.columns),
        decode_floats(repeat.times, repeat.readings),
        decode_floats(repeat.values, repeat.readings * width).reshape(-1, width),
    )


def summarize(repeats: Sequence[PowerRepeat], others: Sequence[str]) -> Power:
    """The meter of a run, and how it was read.

    Raises:
        ValueError: The repeats are damaged, or none says which meter it was.
    """
    meter = next((repeat.meter for repeat in repeats if repeat.meter), None)
    if meter is None:
        raise ValueError("no repeat says which meter was read")
    traces = [trace_of(repeat, meter) for repeat in repeats]
    wall = sum(repeat.wall_s for repeat in repeats)
    idle = [idle_watts(trace, repeat) for trace, repeat in zip(traces, repeats, strict=True)]
    return Power(
        meter=meter,
        others=tuple(others),
        rate_hz=round(float(np.median([trace.rate for trace in traces])), 4),
        overhead=round(sum(repeat.cpu_s for repeat in repeats) / wall, 5) if wall else None,
        failures=sum(repeat.failures for repeat in repeats),
        idle_w=tuple((_known(before), _known(after)) for before, after in idle),
        repeats=tuple(repeats),
    )


def idle_watts(trace: PowerTrace, repeat: PowerRepeat) -> tuple[float, float]:
    """Mean power of the idle machine before and after; NaN where the readings do not reach over it."""
    starts, ends = np.array(repeat.idle).T
    before, after = trace.joules(starts, ends) / (ends - starts)
    return float(before), float(after)


def cell_power(
    traces: Sequence[PowerTrace],
    repeats: Sequence[PowerRepeat],
    windows: Sequence[Sequence[Window]],
    counts: Sequence[Sequence[int]],
    limits: Limits,
) -> tuple[Energy, CellPower] | str:
    """The energy of an inference of one cell, or why there is none.

    Args:
        traces: Of each repeat.
        repeats: The same.
        windows: Of the cell's turns, of each repeat.
        counts: Inferences in each of them.
        limits: When a figure is not to be trusted.

    Returns:
        Gross is the energy in all windows; net that less the mean power of the idle machine, before and after the
        repeat, over the same time. Both are divided by the inferences in the windows.
    """
    gross, net, idle = [], [], []
    seconds = joules = above = 0.0
    readings = inferences = 0
    gap = 0.0
    for trace, repeat, turns, of_turns in zip(traces, repeats, windows, counts, strict=True):
        starts, ends = np.array(turns).T
        total, length = float(trace.joules(starts, ends).sum()), float((ends - starts).sum())
        quiet = float(np.mean(idle_watts(trace, repeat)))
        gap = max([gap, *(trace.largest_gap(*window) for window in (*turns, *repeat.idle))])
        readings += sum(trace.readings(*window) for window in turns)
        number = sum(of_turns)
        gross.append(1e3 * total / number)
        net.append(1e3 * (total - quiet * length) / number)
        idle.append(quiet)
        seconds, joules, above = seconds + length, joules + total, above + total - quiet * length
        inferences += number
    fault = _fault(traces[0], repeats, gap, readings, limits)
    if fault:
        return fault
    energy = Energy(
        gross=round(1e3 * joules / inferences, 6), net=round(1e3 * above / inferences, 6), scope=traces[0].scope
    )
    return energy, CellPower(
        gross_w=joules / seconds,
        idle_w=float(np.mean(idle)),
        gross_mj=tuple(gross),
        net_mj=tuple(net),
        windows=sum(len(turns) for turns in windows),
        seconds=seconds,
        readings=readings,
        largest_gap_s=gap,
    )


def _fault(trace: PowerTrace, repeats: Sequence[PowerRepeat], gap: float, readings: int, limits: Limits) -> str | None:
    problem = next((f" (the last failure: {repeat.problem})" for repeat in repeats if repeat.problem), "")
    if gap == float("inf"):
        return f"not valid: the meter was not read over the whole time{problem}"
    if gap > limits.power_gap_s and not trace.counts:
        return (
            f"not valid: {gap:.2f} s without a reading of the meter, the limit is {limits.power_gap_s:g} s{problem}; "
            "a meter that records faster, or counts energy itself, can be used"
        )
    if readings < limits.power_readings:
        what = "the meter's counter moved" if trace.counts else "the meter was read"
        return f"not valid: {what} {readings} times while this cell was measured, {limits.power_readings} are needed"
    return None


def _known(watts: float) -> float | None:
    return round(watts, 6) if np.isfinite(watts) else None
