"""What a machine tells of being slowed down: by heat, by its supply, by its firmware."""

import re
import subprocess
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from yolo_edge.ondevice.sysfs import find_program, matches, read_number, read_text

_THROTTLED_FILES = (  # the Raspberry Pi's: hex without 0x
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc/firmware/get_throttled",
    "sys/devices/platform/firmware/get_throttled",
)
# of the Raspberry Pi's get_throttled: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT = 16  # bits higher: the same, at any time since the boot
# cooling devices that cool by slowing down, as Linux' thermal framework names them; fans do not
_SLOWING = re.compile(r"(thermal-)?(cpufreq|devfreq|cpu-freq)\b.*|Processor|intel_powerclamp|.*-throttle|.*_throttle")


def parse_throttled(text: str) -> Optional[int]:
    """`throttled=0x50005` of `vcgencmd get_throttled`."""
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", text.strip())
    return int(found[1], 16) if found else None


def parse_temperature(text: str) -> Optional[float]:
    """`temp=80.6'C` of `vcgencmd measure_temp`, in °C."""
    found = re.fullmatch(r"temp=(-?\d+(?:\.\d+)?)'C", text.strip())
    return float(found[1]) if found else None


def parse_clock(text: str) -> Optional[float]:
    """`frequency(48)=1141118000` of `vcgencmd measure_clock arm`, in MHz."""
    found = re.fullmatch(r"frequency\(\d+\)=(\d+)", text.strip())
    return int(found[1]) / 1e6 if found else None


def throttled_bits(root: Path) -> Optional[int]:
    """The Raspberry Pi's bits; None elsewhere."""
    for name in _THROTTLED_FILES:
        text = read_text(root / name)
        if re.fullmatch(r"[0-9a-fA-F]{1,8}", text):
            return int(text, 16)
    return parse_throttled(_vcgencmd(root, "get_throttled"))  # where the kernel is an older one


def throttled_words(bits: int) -> Tuple[List[str], List[str]]:
    """The Raspberry Pi's bits in words: what is now, and what was at any time since the boot."""
    now, since_boot = ([word for bit, word in _BITS.items() if bits >> (bit + up) & 1] for up in (0, _SINCE_BOOT))
    return now, since_boot


def arm_clock(root: Path) -> Optional[float]:
    """The Raspberry Pi's CPU clock in MHz, as its firmware sets it: lower than the kernel knows where it throttles."""
    return parse_clock(_vcgencmd(root, "measure_clock", "arm"))


def arm_temperature(root: Path) -> Optional[float]:
    """The Raspberry Pi's temperature in °C, by its firmware."""
    return parse_temperature(_vcgencmd(root, "measure_temp"))


def throttle_count(root: Path) -> Optional[int]:
    """Throttling events of x86 cores and packages since boot."""
    found = [
        read_number(path)
        for kind in ("core", "package")
        for path in matches(root / "sys/devices/system/cpu", f"cpu[0-9]*/thermal_throttle/{kind}_throttle_count")
    ]
    numbers = [int(number) for number in found if number is not None]
    return sum(numbers) if numbers else None


def overcurrent_count(root: Path) -> Optional[int]:
    """Over-current events of a Jetson's supply since boot (`oc*_event_cnt` of its soctherm)."""
    found = [read_number(path) for path in matches(root / "sys/class/hwmon", "hwmon*/oc*_event_cnt")]
    numbers = [int(number) for number in found if number is not None]
    return sum(numbers) if numbers else None


def cooling(root: Path) -> Dict[str, int]:
    """How far the kernel slows something down for its heat: steps by cooling device, 0 for not at all."""
    found = {}
    for folder in matches(root / "sys/class/thermal", "cooling_device*"):
        name, state = read_text(folder / "type"), read_number(folder / "cur_state")
        if state is not None and _SLOWING.fullmatch(name):
            found[f"{name} ({folder.name})"] = max(int(state), 0)  # powerclamp says -1 for off
    return found


def passive_limits(root: Path) -> Dict[str, float]:
    """The temperature in °C from which on each thermal zone is slowed down for certain; zones without are left out.

    Of several passive trip points the highest: some kernels only begin to watch at the lowest.
    """
    found = {}
    for zone in matches(root / "sys/class/thermal", "thermal_zone*"):
        limits = [
            read_number(zone / f"{path.name[:-5]}_temp")
            for path in matches(zone, "trip_point_*_type")
            if read_text(path) == "passive"
        ]
        known = [limit / 1000 for limit in limits if limit is not None and limit > 0]
        if known:
            found[f"{read_text(zone / 'type') or 'thermal'} ({zone.name})"] = max(known)
    return found


def _vcgencmd(root: Path, *arguments: str) -> str:
    program = find_program("vcgencmd", root)
    if program is None:
        return ""
    command: List[str] = [program, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
