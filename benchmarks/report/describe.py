"""A machine, how it fared and how it was measured: names and texts."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from yolo_edge.benchmarks.host import Browser, Conditions, Host
from yolo_edge.benchmarks.results import (
    BenchmarkResult,
)
from yolo_edge.benchmarks.verdicts import busy_share, throttle_events
from yolo_edge.ondevice.files import printable

# of `describe_method`: what differs from run to run
OF_ONE_RUN = ("begun", "measuring took", "git revision", "command")


def describe_host(host: Host) -> list[tuple[str, str]]:
    """What the machine is, as names and texts; what it does not show is "not available"."""
    peaks = [f"{peak.gflops:.0f} GFLOP/s with {threads} ({peak.by})" for threads, peak in host.peak.items()]
    memory = None if host.memory_mb is None else f"{host.memory_mb / 1e3:.1f} GB"
    virtual = ", virtual" if host.cpu.virtual else ""
    clock = "" if host.cpu.max_mhz is None else f", up to {host.cpu.max_mhz:.0f} MHz"
    facts = {
        "host": host.name,
        "model": host.model,
        "CPU": f"{host.cpu.name or host.machine}, {host.cpu.cpus} CPUs{clock}{virtual}",
        "vector features": " ".join(host.cpu.features),
        "memory": memory,
        "system": f"{host.os}, kernel {host.kernel}, {host.machine}",
        "versions": ", ".join(f"{k} {v}" for k, v in {"Python": host.python, **host.versions}.items() if v != "none"),
        "fp32 peak, by threads": ", ".join(peaks) or None,
        **_describe_browser(host.browser),
    }
    return [(name, text or "not available") for name, text in facts.items()]


def _describe_browser(browser: Browser | None) -> dict[str, str]:
    if browser is None:
        return {}
    threads = "cross-origin isolated" if browser.isolated else "not cross-origin isolated: one thread"
    return {
        "browser": f"{printable(browser.user_agent)}; steps of its clock: {browser.clock_us:.3g} µs",
        "page": f"{threads}, {'' if browser.secure else 'not '}in a secure context",
    }


def describe_conditions(result: BenchmarkResult) -> list[tuple[str, str]]:
    """How the machine fared, as names and texts; what it does not show is "not available"."""
    moments = result.conditions
    inside = [moment for moment in moments if moment.when.startswith("repeat ")]
    inside = inside if len(inside) % 2 == 0 else []
    others, stolen = busy_share(inside, result.host.cpu.cpus_in_all)
    facts = {
        "CPU clocks": _span([clock for moment in moments for clock in moment.clock_mhz], "MHz"),
        "governor": ", ".join(sorted({name for moment in moments for name in moment.governors})),
        "power mode": ", ".join(sorted({moment.power_mode for moment in moments if moment.power_mode})),
        "temperature": _hottest(moments),
        "load of the last minute": _span([moment.load for moment in moments if moment.load is not None], "", 2),
        "CPU time of other programs": None if others is None else f"{others:.0%}",
        "CPU time taken by the hypervisor": None if stolen is None else f"{stolen:.1%}",
        "throttling": _throttling(moments, inside),
    }
    return [(name, text or "not available") for name, text in facts.items()]


def describe_method(result: BenchmarkResult) -> list[tuple[str, str]]:
    """How the run was taken, as names and texts."""
    settings = result.settings
    first = result.cells[0]
    turns = 0 if first.samples is None else len(first.samples.turns) // first.samples.repeats
    rounds = f", {turns} rounds each" if turns else ""
    return [
        ("kind", "quick: a first look, not for publishing" if settings.quick else "full"),
        ("begun", when(result)),
        ("measuring took", f"{result.seconds / 60:.1f} min"),
        (
            "repeats",
            f"{settings.repeats}, each of new processes{rounds}; in a round every cell has its turn, in any order",
        ),
        ("a cell", f"at least {settings.seconds:g} s and {settings.inferences} inferences in all repeats together"),
        (
            "warm-up",
            f"until two windows of {settings.warm_up_window_s:g} s agree within {settings.warm_up_within:.0%}, "
            f"at most {settings.warm_up_cap_s:g} s",
        ),
        ("picture", settings.image or "synthetic, 640x480"),
        ("kernels", "the fastest, exact or not (--fast)" if settings.fast else "exact ones"),
        ("written by", result.tool),
        ("git revision", result.revision or "not in a git repository"),
        ("command", " ".join(result.command) or "not recorded"),
    ]


def when(result: BenchmarkResult) -> str:
    """When a run began, for a person."""
    try:
        return f"{datetime.fromisoformat(result.created):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return result.created


def _span(values: Sequence[float], unit: str, digits: int = 0) -> str | None:
    if not values:
        return None
    low, high = f"{np.min(values):.{digits}f}", f"{np.max(values):.{digits}f}"
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def _hottest(moments: Sequence[Conditions]) -> str | None:
    """The sensor that became hottest, from begin to end."""
    sensors = {name for moment in moments for name in moment.temperatures_c}
    if not sensors:
        return None
    seen = {
        name: [moment.temperatures_c[name] for moment in moments if name in moment.temperatures_c] for name in sensors
    }
    hottest = max(sorted(seen), key=lambda name: max(seen[name]))
    values = seen[hottest]
    return f"{hottest}: {values[0]:.1f} °C before, {max(values):.1f} °C at most, {values[-1]:.1f} °C after"


def _throttling(moments: Sequence[Conditions], inside: Sequence[Conditions]) -> str | None:
    texts = []
    bits = [moment.throttled for moment in moments if moment.throttled is not None]
    if bits:
        texts.append(f"board bits {bits[0]:#x} before, {bits[-1]:#x} after")
    events = throttle_events(inside)
    if events is not None:
        texts.append(f"{events} events of the CPU")
    counts = [moment.overcurrent_count for moment in moments if moment.overcurrent_count is not None]
    if counts:
        texts.append(f"over-current count {counts[0]} before, {counts[-1]} after")
    steps = [step for moment in moments for step in moment.cooling.values()]
    if steps:
        texts.append(f"slowed down by the kernel by {max(steps)} steps at most" if any(steps) else "none by the kernel")
    return "; ".join(texts) or None
