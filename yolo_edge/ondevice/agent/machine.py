"""What a machine says about itself: what it is, and how it fares right now.

Everything comes from /proc, /sys and the standard library. What a kernel, a container or a virtual machine does not
show is left out: nothing is guessed.
"""

import os
import platform
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from yolo_edge.ondevice.agent.throttling import (
    arm_clock,
    arm_temperature,
    cooling,
    overcurrent_count,
    passive_limits,
    throttle_count,
    throttled_bits,
)
from yolo_edge.ondevice.sysfs import board_model, matches, read_number, read_text

ROOT = Path("/")

# of the many flags of a CPU those that decide how fast networks run
_VECTOR_FEATURES = re.compile(
    r"sse4_1|sse4_2|avx|avx2|fma|f16c|avx_vnni|avx_vnni_int8|avx512\w+|amx_\w+"
    r"|neon|vfpv4|asimd|asimdhp|asimddp|i8mm|bf16|sve|sve2|svei8mm|sme"
)
# Linux has numbers for ARM cores: MIDR_EL1's implementer and part, from arch/arm64/include/asm/cputype.h
_ARM_CORES = {
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x4e", "0x004"): "Carmel",
}
_PACKAGES = (
    "ai-edge-litert",
    "numpy",
    "onnxruntime",
    "opencv-python",
    "opencv-python-headless",
    "openvino",
    "tflite-runtime",
)


def host_facts(root: Path = ROOT) -> Dict[str, Any]:
    """What does not change: the CPU and its vector features, memory, system, versions. Unknown things are null."""
    return {
        "name": platform.node(),
        "model": board_model(root),
        "machine": platform.machine(),
        "cpu": _cpu(root),
        "memory_mb": _kilobytes(root / "proc/meminfo", "MemTotal"),
        "os": _os_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": _versions(),
    }


def conditions(root: Path = ROOT) -> Dict[str, Any]:
    """How the machine fares: clocks, governors, load, temperatures, signs of throttling.

    Returns:
        `time` in seconds since 1970; `load` of the last minute; `busy_s`, `stolen_s`: CPU time of all programs and that
        which a hypervisor took, since boot; `clock_mhz` and `governors` of the CPUs; `temperatures_c` by sensor;
        `passive_limits_c`: from where on a sensor's zone is slowed down; `throttled`: the Raspberry Pi's bits;
        `throttle_count`: events of x86 cores; `overcurrent_count`: events of a Jetson's supply; `cooling`: steps by
        which the kernel slows something down; `available_mb` of memory. None or empty where the machine does not show
        it.
    """
    busy, stolen = _cpu_time(root)
    return {
        "time": time.time(),
        "load": _load(root),
        "busy_s": busy,
        "stolen_s": stolen,
        "clock_mhz": clocks(root),
        "governors": sorted({read_text(path) for path in _cpu_files(root, "cpufreq/scaling_governor")} - {""}),
        "temperatures_c": _temperatures(root),
        "passive_limits_c": passive_limits(root),
        "throttled": throttled_bits(root),
        "throttle_count": throttle_count(root),
        "overcurrent_count": overcurrent_count(root),
        "cooling": cooling(root),
        "available_mb": _kilobytes(root / "proc/meminfo", "MemAvailable"),
    }


def clocks(root: Path = ROOT) -> List[float]:
    """The clock of each CPU in MHz, as the kernel's frequency scaling reports it; empty where there is none.

    Of a Raspberry Pi the one that all its CPUs have, by the firmware, which does not tell the kernel when it throttles.
    """
    found = [read_number(path) for path in _cpu_files(root, "cpufreq/scaling_cur_freq")]
    arm = arm_clock(root)
    if arm is not None:
        return [round(arm, 3)] * max(len(found), 1)
    return [kilohertz / 1000 for kilohertz in found if kilohertz is not None]


def memory(root: Path = ROOT) -> Dict[str, Any]:
    """Resident memory of this process in MB: `peak_mb` so far, `now_mb`."""
    status = root / "proc/self/status"
    peak = _kilobytes(status, "VmHWM")  # not ru_maxrss, which begins with what the parent had
    if peak is None:
        unit = 1e6 if sys.platform == "darwin" else 1e3
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"peak_mb": peak, "now_mb": _kilobytes(status, "VmRSS")}


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fastest_cpus(count: int, root: Path = ROOT) -> Optional[List[int]]:
    """Where CPUs differ in speed, those of the fastest kinds that have room for `count` threads together.

    On a phone with two fast and six slow CPUs two threads belong on the two, which the kernel finds out too late for
    what lasts milliseconds. Among equal CPUs it chooses better than we do: it knows what else runs.

    Args:
        count: Of threads.
        root: Of the file system.

    Returns:
        CPU numbers among those that this process may use; None where all are needed, or the same.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    speeds = {cpu: _speed(root / f"sys/devices/system/cpu/cpu{cpu}") for cpu in allowed}
    chosen: List[int] = []
    for speed in sorted(set(speeds.values()), reverse=True):
        chosen += [cpu for cpu in allowed if speeds[cpu] == speed]
        if len(chosen) >= count:
            break
    return None if len(chosen) == len(allowed) else sorted(chosen)


def _speed(folder: Path) -> float:
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        number = read_number(folder / name)
        if number is not None:
            return number
    return 0.0


def cores_of(root: Path = ROOT) -> List[Tuple[int, str]]:
    """The number and the kind of each CPU that /proc/cpuinfo shows, "Cortex-A76"; none where it does not tell."""
    found: List[Tuple[int, str]] = []
    for block in re.split(r"\n\s*\n", read_text(root / "proc/cpuinfo")):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        pair = (fields.get("CPU implementer", ""), fields.get("CPU part", ""))
        kind = _ARM_CORES.get(pair, "ARM implementer {} part {}".format(*pair)) if all(pair) else ""
        kind = kind or fields.get("model name", "")
        if kind:
            number = fields.get("processor", "")
            found.append((int(number) if number.isdigit() else len(found), kind))
    return found


def _cpu(root: Path) -> Dict[str, Any]:
    fields: Dict[str, List[str]] = {}
    for line in read_text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), []).append(value.strip())
    flags = " ".join(fields.get("flags", fields.get("Features", []))[:1]).split()
    names = [kind for _, kind in cores_of(root)] or fields.get("Model") or []
    return {
        "name": " + ".join(dict.fromkeys(names)) or None,
        "cpus": usable_cpus(),
        "cpus_in_all": os.cpu_count(),
        "features": [flag for flag in flags if _VECTOR_FEATURES.fullmatch(flag)],
        "max_mhz": _max_clock(root),
        "virtual": "hypervisor" in flags,
    }


def _max_clock(root: Path) -> Optional[float]:
    found = [read_number(path) for path in _cpu_files(root, "cpufreq/cpuinfo_max_freq")]
    return max((kilohertz / 1000 for kilohertz in found if kilohertz is not None), default=None)


def _os_name(root: Path) -> str:
    match = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)', read_text(root / "etc/os-release"))
    return match.group(1) if match else platform.platform()


def _versions() -> Dict[str, str]:
    from importlib import metadata  # noqa: PLC0415 - slow to import

    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_time(root: Path) -> Tuple[Optional[float], Optional[float]]:
    match = re.match(r"cpu +((?:\d+ ?)+)", read_text(root / "proc/stat"))
    if match is None:
        return None, None
    ticks = [int(word) for word in match.group(1).split()]
    # user nice system idle iowait irq softirq steal guest…, from proc(5)
    user, nice, system, _, _, irq, softirq, steal = (ticks + [0] * 8)[:8]
    second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / second, steal / second


def _load(root: Path) -> Optional[float]:
    match = re.match(r"(\d+\.\d+) ", read_text(root / "proc/loadavg"))
    return float(match.group(1)) if match else None


def _temperatures(root: Path) -> Dict[str, float]:
    found: Dict[str, float] = {}
    for zone in matches(root / "sys/class/thermal", "thermal_zone*"):
        value = read_number(zone / "temp")
        if value is not None and -100_000 < value < 200_000:  # -256 °C means off
            found[f"{read_text(zone / 'type') or 'thermal'} ({zone.name})"] = value / 1000
    for sensor in matches(root / "sys/class/hwmon", "hwmon*/temp*_input"):
        value = read_number(sensor)
        if value is not None and -100_000 < value < 200_000:
            label = read_text(sensor.with_name(sensor.name.replace("_input", "_label"))) or sensor.name[:-6]
            found[f"{read_text(sensor.parent / 'name')} {label} ({sensor.parent.name})"] = value / 1000
    arm = None if found else arm_temperature(root)
    return found if arm is None else {"vcgencmd": arm}


def _cpu_files(root: Path, name: str) -> List[Path]:
    return matches(root / "sys/devices/system/cpu", f"cpu[0-9]*/{name}")


def _kilobytes(path: Path, key: str) -> Optional[float]:
    """`Key:   123 kB` → MB."""
    match = re.search(rf"(?m)^{key}:\s*(\d+) kB", read_text(path))
    return int(match.group(1)) * 1024 / 1e6 if match else None
