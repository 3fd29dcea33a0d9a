"""Whether figures are to be trusted: what was seen of throttling, and of other programs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_edge.benchmarks.host import Conditions
from yolo_edge.benchmarks.settings import Limits
from yolo_edge.devices.android.thermal import STATUSES
from yolo_edge.ondevice.agent.throttling import throttled_words

_MIN_BUSY_SECONDS = 1.0  # of one CPU: below, the kernel's ticks of 10 ms say little
# what the reasons of this file say → in a word; "not valid" for those of others
_WORDS = {
    "busy": ("the machine was busy", "the hypervisor gave"),
    "another result": ("the outputs differ",),
    "throttled": ("throttled", "the board reports", "the CPU clock fell"),
}


def in_words(reason: str | None) -> list[str]:
    """Why a cell is not valid in a word or two, for places where the reason is too long.

    Args:
        reason: Of the cell; see `machine_faults` and `cell_faults`.
    """
    found = [word for word, signs in _WORDS.items() if any(sign in (reason or "") for sign in signs)]
    return found or ["not valid"]


def machine_faults(conditions: Sequence[Conditions], cpus: int | None, limits: Limits) -> list[str]:
    """What was wrong with the machine during the run, in words; empty where nothing was seen.

    Args:
        conditions: At the begin and the end of each repeat, in turn.
        cpus: Of the machine, all of them.
        limits: From when on it counts.
    """
    return [*_throttled(conditions), *_busy(conditions, cpus, limits)]


def cell_faults(medians: NDArray[np.float64], clocks: Sequence[float], limits: Limits) -> list[str]:
    """What was wrong with one cell.

    Args:
        medians: Of its turns in milliseconds, in the order of measuring.
        clocks: Mean clock at the end of each turn in MHz; empty where unknown.
        limits: From when on it counts.
    """
    faults = []
    if len(medians) >= 3:
        first, last = _thirds(medians)
        if last > first * (1 + limits.slowdown):
            faults.append(
                f"the last third was {last / first - 1:.0%} slower than the first: throttled, or something else ran"
            )
    if len(clocks) >= 3:
        first, last = _thirds(np.array(clocks))
        if last < first * (1 - limits.clock_drop):
            faults.append(f"the CPU clock fell from {first:.0f} to {last:.0f} MHz")
    return faults


def output_faults(agreement: float | None, snr: float | None, limits: Limits) -> list[str]:
    """What is wrong with the outputs of a device that runs the network alone, compared with this machine's.

    Args:
        agreement: See `Cell.agreement`; None: not compared.
        snr: See `Cell.snr_db`; None: not compared.
        limits: From when on it counts.
    """
    found = []
    if agreement is not None and not agreement >= limits.agreement:
        found.append(f"{agreement:.2f} of the boxes are the same")
    if snr is not None and not snr >= limits.snr_db:
        found.append(f"an SNR of {snr:.1f} dB")
    return [f"the outputs differ from this machine's ({', '.join(found)}): the run is broken"] if found else []


def busy_share(conditions: Sequence[Conditions], cpus: int | None) -> tuple[float | None, float | None]:
    """The share of the machine's CPU time that other programs, and a hypervisor, took in the rounds; None: not shown.

    Args:
        conditions: At the begin and the end of each repeat, in turn.
        cpus: Of the machine, all of them.
    """
    others = stolen = elapsed = 0.0
    for begins, ends in _pairs(conditions):
        if begins.busy_s is None or ends.busy_s is None or not cpus:
            return None, None
        ours = ends.workers_s - begins.workers_s
        others += max(ends.busy_s - begins.busy_s - ours, 0)
        stolen += (ends.stolen_s or 0) - (begins.stolen_s or 0)
        elapsed += (ends.time - begins.time) * cpus
    if elapsed < _MIN_BUSY_SECONDS:
        return None, None
    return others / elapsed, stolen / elapsed


def throttle_events(conditions: Sequence[Conditions]) -> int | None:
    """How often the CPU was throttled for heat in the rounds; None: the machine does not show it.

    Args:
        conditions: At the begin and the end of each repeat, in turn.
    """
    return _rise([(begins.throttle_count, ends.throttle_count) for begins, ends in _pairs(conditions)])


def _rise(counts: Sequence[tuple[int | None, int | None]]) -> int | None:
    """By how much a count rose in all repeats together; None: the machine has none.

    Each repeat is looked at by itself: between two of a resumed run the machine did other things, or was booted, and
    counts from 0 again.
    """
    rises = [max(ends - begins, 0) for begins, ends in counts if begins is not None and ends is not None]
    return sum(rises) if rises else None


def _pairs(conditions: Sequence[Conditions]) -> list[tuple[Conditions, Conditions]]:
    return list(zip(conditions[::2], conditions[1::2], strict=True))


def _busy(conditions: Sequence[Conditions], cpus: int | None, limits: Limits) -> list[str]:
    """Each repeat by itself, and all together, which says something of repeats that are too short by themselves."""
    shares = {f" in repeat {i}": busy_share(pair, cpus) for i, pair in enumerate(_pairs(conditions), 1)}
    shares[""] = busy_share(conditions, cpus)
    others = {when: share[0] for when, share in shares.items() if share[0] is not None}
    stolen = {when: share[1] for when, share in shares.items() if share[1] is not None}
    faults = []
    worst = max(others, key=others.__getitem__, default="")
    if others and others[worst] > limits.busy:
        faults.append(f"the machine was busy: other programs used {others[worst]:.0%} of its CPU time{worst}")
    worst = max(stolen, key=stolen.__getitem__, default="")
    if stolen and stolen[worst] > limits.stolen:
        faults.append(f"the hypervisor gave {stolen[worst]:.0%} of the CPU time to others{worst}")
    return faults


def _throttled(snapshots: Sequence[Conditions]) -> list[str]:
    now: set[str] = set()
    for begins, ends in _pairs(snapshots):
        bits = [moment.throttled for moment in (begins, ends) if moment.throttled is not None]
        now |= {word for value in bits for word in throttled_words(value)[0]}
        if len(bits) == 2:
            new = bits[1] & ~bits[0]  # bits that stay set since boot, and were not before
            now |= set(throttled_words(new)[1])
    faults = [f"the board reports: {', '.join(sorted(now))}"] if now else []
    events = throttle_events(snapshots)
    if events:
        faults.append(f"the CPU was throttled for heat {_times(events)}")
    events = _rise([(begins.overcurrent_count, ends.overcurrent_count) for begins, ends in _pairs(snapshots)])
    if events:
        faults.append(f"the supply was at its limit (over-current) {_times(events)}")
    return [*faults, *_slowed(snapshots), *_hot(snapshots), *_modes(snapshots)]


def _hot(snapshots: Sequence[Conditions]) -> list[str]:
    """What a phone says of its heat, from light on."""
    status = max((moment.thermal_status or 0 for moment in snapshots), default=0)
    return [f"the phone was too hot: thermal status {status} ({STATUSES[status]})"] if status else []


def _slowed(snapshots: Sequence[Conditions]) -> list[str]:
    """What the kernel slowed down for its heat, and what was hot enough for that, each once."""
    steps: dict[str, int] = {}
    hottest: dict[str, float] = {}
    for moment in snapshots:
        for name, step in moment.cooling.items():
            steps[name] = max(step, steps.get(name, 0))
        for name, limit in moment.passive_limits_c.items():
            if moment.temperatures_c.get(name, 0) >= limit:
                hottest[name] = max(moment.temperatures_c[name], hottest.get(name, 0))
    slowed = [f"{name} by {step} step{'s' if step > 1 else ''}" for name, step in steps.items() if step]
    faults = [f"the kernel slowed down for heat: {', '.join(sorted(slowed))}"] if slowed else []
    limits = {name: limit for moment in snapshots for name, limit in moment.passive_limits_c.items()}
    return faults + [
        f"{name} was at {hottest[name]:.1f} °C, the kernel slows down from {limits[name]:.1f} °C on"
        for name in sorted(hottest)
    ]


def _modes(snapshots: Sequence[Conditions]) -> list[str]:
    modes = list(dict.fromkeys(moment.power_mode for moment in snapshots if moment.power_mode))
    return [f"the power mode changed: {', '.join(modes)}"] if len(modes) > 1 else []


def _times(count: int) -> str:
    return f"{count} time{'s' if count > 1 else ''}"


def _thirds(values: NDArray[np.float64]) -> tuple[float, float]:
    third = len(values) // 3
    return float(np.median(values[:third])), float(np.median(values[-third:]))
