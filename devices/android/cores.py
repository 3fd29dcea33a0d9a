"""The kinds of cores of a phone, and which of them a program is kept to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_edge.ondevice.agent.machine import cores_of
from yolo_edge.ondevice.sysfs import matches, read_number

_SIZES = {1: ("",), 2: ("big", "little"), 3: ("big", "middle", "little")}


@dataclass(frozen=True)
class Cluster:
    """CPUs of one speed.

    Attributes:
        size: big, middle or little; empty where all are alike.
        kind: Such as Cortex-A76; empty where it is not known.
        cpus: Their numbers.
        max_mhz: Their highest clock.
    """

    size: str
    kind: str
    cpus: tuple[int, ...]
    max_mhz: float | None


def clusters_of(root: Path) -> list[Cluster]:
    """The CPUs of a recorded tree, the fastest first: by what the kernel thinks they can do, else by their clocks."""
    kinds = dict(cores_of(root))
    folders = [path for path in matches(root / "sys/devices/system/cpu", "cpu[0-9]*") if path.name[3:].isdigit()]
    numbers = sorted({*kinds, *(int(path.name[3:]) for path in folders)})
    groups: dict[tuple[float, float, str], list[int]] = {}
    for number in numbers:
        folder = root / f"sys/devices/system/cpu/cpu{number}"
        clock = read_number(folder / "cpufreq/cpuinfo_max_freq") or 0.0
        key = (read_number(folder / "cpu_capacity") or 0.0, clock, kinds.get(number, ""))
        groups.setdefault(key, []).append(number)
    ordered = sorted(groups.items(), reverse=True)
    sizes = _SIZES.get(len(ordered), ("big", *["middle"] * (len(ordered) - 2), "little"))
    return [
        Cluster(size, kind, tuple(cpus), clock / 1000 or None)
        for size, ((_, clock, kind), cpus) in zip(sizes, ordered, strict=False)
    ]


def fastest(clusters: Sequence[Cluster], threads: int) -> tuple[int, ...] | None:
    """The CPUs of the fastest kinds that have room for `threads` together; None: all of them are needed, or alike."""
    chosen: list[int] = []
    for cluster in clusters:
        chosen += cluster.cpus
        if len(chosen) >= threads:
            break
    return None if len(chosen) == sum(len(cluster.cpus) for cluster in clusters) else tuple(sorted(chosen))


def mask_of(cpus: tuple[int, ...]) -> str:
    """What `taskset` takes: a bit a CPU, in hexadecimal."""
    return f"{sum(1 << cpu for cpu in cpus):x}"
