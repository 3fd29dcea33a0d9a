"""A Jetson's power modes and clocks, as NVIDIA's tools print them."""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from yolo_edge.devices.device import Device
from yolo_edge.ondevice.errors import InputError

T = TypeVar("T")


class PowerMode(msgspec.Struct, frozen=True, kw_only=True):
    """One of nvpmodel's modes.

    Attributes:
        number: As `nvpmodel -m` takes it.
        name: For a person.
        default: Whether the board starts with it.
        cpus: That are on.
        max_mhz: Highest clocks in MHz by what they are of; what has no limit is left out.
    """

    number: int
    name: str
    default: bool
    cpus: int
    max_mhz: dict[str, float]


class CpuClock(msgspec.Struct, frozen=True, kw_only=True):
    """One CPU in `jetson_clocks --show`; clocks in MHz."""

    number: int
    online: bool
    governor: str
    min_mhz: float
    max_mhz: float
    current_mhz: float


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    """`jetson_clocks --show`.

    Attributes:
        soc: The SoC's family, such as tegra186.
        cpus: Each of them.
        gpu_mhz: Lowest, highest and current clock.
        memory_mhz: The same of the memory controller (EMC).
        power_mode: As nvpmodel names it; None where it is not printed.
    """

    soc: str | None
    cpus: tuple[CpuClock, ...]
    gpu_mhz: tuple[float, float, float] | None
    memory_mhz: tuple[float, float, float] | None
    power_mode: str | None

    @property
    def fixed(self) -> bool:
        """Whether the clocks of all CPUs that are on stay where they are, as `sudo jetson_clocks` makes them."""
        online = [cpu for cpu in self.cpus if cpu.online]
        return bool(online) and all(cpu.min_mhz == cpu.max_mhz for cpu in online)


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What a Jetson may draw, and whether its clocks stay.

    Attributes:
        modes: That nvpmodel knows; empty: it does not tell.
        clocks: None: `jetson_clocks` does not tell, as where it wants root.
    """

    modes: tuple[PowerMode, ...] = ()
    clocks: Clocks | None = None


_MORE_PATHS = "PATH=$PATH:/usr/sbin:/sbin; "  # which a login over SSH may lack
_UNLIMITED = 2**31 - 1
_HERTZ = {"GPU", "EMC", "DLA_CORE", "DLA_FALCON", "PVA_VPS", "PVA_CORE", "CVNAS"}  # CPUs are in kHz


def ask_power(device: Device) -> Power:
    """What its tools say; they only look, and are not asked as root.

    Raises:
        DeviceError: The device is gone.
    """
    return Power(
        modes=tuple(_asked(device, "nvpmodel -p --verbose", parse_power_modes) or ()),
        clocks=_asked(device, "jetson_clocks --show", parse_clocks),
    )


def _asked(device: Device, command: str, parse: Callable[[str], T]) -> T | None:
    done = device.run(["sh", "-c", f"{_MORE_PATHS}{command} 2>/dev/null"])
    try:
        return parse(done.stdout.decode("utf-8", "replace"))
    except InputError:
        return None


def parse_power_modes(text: str) -> list[PowerMode]:
    """The modes in what `nvpmodel -p --verbose` prints.

    Raises:
        InputError: There are none in it.
    """
    default = re.search(r"PM_CONFIG: DEFAULT=.*?\((\d+)\)", text)
    head, *parts = re.split(r"(?m)^.*?POWER_MODEL: ", text)
    found = []
    for part in parts:
        title = re.match(r"ID=(\d+) NAME=(\S+)", part)
        if title is None:
            continue
        clocks = {}
        for name, value in re.findall(r"(?m)^.*?VERB: (\w+) MAX_FREQ (\d+)\s*$", part):
            if 0 < int(value) < _UNLIMITED:
                clocks[name] = int(value) / (1e6 if name in _HERTZ else 1e3)
        found.append(
            PowerMode(
                number=int(title[1]),
                name=title[2],
                default=default is not None and title[1] == default[1],
                cpus=len(re.findall(r"(?m)CPU_ONLINE CORE_\d+ 1\s*$", part)),
                max_mhz=clocks,
            )
        )
    if not found:
        raise InputError(f"nvpmodel -p --verbose printed no power mode: {head[:100]!r}")
    return found


def parse_clocks(text: str) -> Clocks:
    """What `jetson_clocks --show` prints.

    Raises:
        InputError: There is no CPU in it.
    """
    cpus = [
        CpuClock(
            number=int(number),
            online=online == "1",
            governor=governor,
            min_mhz=int(low) / 1e3,
            max_mhz=int(high) / 1e3,
            current_mhz=int(now) / 1e3,
        )
        for number, online, governor, low, high, now in re.findall(
            r"(?m)^cpu(\d+): Online=([01]) Governor=(\S+) MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", text
        )
    ]
    if not cpus:
        raise InputError(f"jetson_clocks --show printed no CPU: {text[:100]!r}")
    family = re.search(r"SOC family:(\S+)", text)
    mode = re.search(r"NV Power Mode: (\S+)", text)
    return Clocks(
        soc=family and family[1],
        cpus=tuple(cpus),
        gpu_mhz=_three("GPU", text),
        memory_mhz=_three("EMC", text),
        power_mode=mode and mode[1],
    )


def _three(name: str, text: str) -> tuple[float, float, float] | None:
    found = re.search(rf"(?m)^{name} MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", text)
    return None if found is None else (int(found[1]) / 1e6, int(found[2]) / 1e6, int(found[3]) / 1e6)
