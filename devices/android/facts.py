"""What `devices probe` tells of a phone."""

import re
from dataclasses import dataclass

from msgspec.structs import replace

from yolo_edge.devices.android import NO_AGENT
from yolo_edge.devices.android.battery import Battery, parse_battery
from yolo_edge.devices.android.cores import Cluster, clusters_of
from yolo_edge.devices.android.odpm import parse_energy, total_of
from yolo_edge.devices.android.thermal import STATUSES, Thermal, parse_thermal
from yolo_edge.devices.device import Device
from yolo_edge.devices.facts import Facts, Meter, read_facts, take_snapshot
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.ondevice.files import printable

BATTERY, ODPM = "battery", "odpm"
CURRENT, VOLTAGE = (f"/sys/class/power_supply/battery/{name}" for name in ("current_now", "voltage_now"))
ODPM_FILES = "/sys/bus/iio/devices/iio:device*/energy_value"
ASK_CURRENT = ("cmd", "battery", "get", "-f", "current_now")

WIRELESS = (
    "measure over Wi-Fi with the cable out: adb tcpip 5555, then yolo-edge devices add NAME adb://PHONE:5555 --replace"
)
_NEEDS_TOOL = "read beside --benchmark-model"
_CPU_FILES = (
    "/sys/devices/system/cpu/cpu[0-9]*/cpu_capacity",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/proc/cpuinfo",
)
_READABLE = (
    f'for f in {CURRENT} {VOLTAGE} {ODPM_FILES}; do if [ -r "$f" ] && cat "$f" >/dev/null 2>&1; then echo "yes $f"; '
    'elif [ -e "$f" ]; then echo "no $f"; fi; done'
)
_PROPERTY = re.compile(r"^\[([^\]]{1,100})\]: \[([^\]]{0,200})\]$", re.MULTILINE)


@dataclass(frozen=True)
class Sources:
    """Where a phone's power can be read.

    Attributes:
        sysfs: The kernel's files of the battery can be read: current_now and voltage_now.
        service: Android's battery service tells the current.
        odpm: Files of counters.
        odpm_rails: Their rails.
        denied: Files that are there, and not for adb's shell.
    """

    sysfs: bool
    service: bool
    odpm: tuple[str, ...]
    odpm_rails: tuple[str, ...]
    denied: tuple[str, ...]


def android_facts(device: Device, *, emulated: bool = False) -> Facts:
    """Facts of a phone that is connected by adb.

    Raises:
        DeviceError: It is gone, or none with Android.
    """
    found = read_facts(device, NO_AGENT, emulated=emulated)
    properties = read_properties(device)
    clusters = read_clusters(device)
    thermal, battery = read_thermal(device), read_battery(device)
    maker, model = (properties.get(f"ro.product.{key}") for key in ("manufacturer", "model"))
    chip = " ".join(filter(None, (properties.get("ro.soc.manufacturer"), properties.get("ro.soc.model"))))
    release, sdk = properties.get("ro.build.version.release"), properties.get("ro.build.version.sdk")
    cores = [
        {"kind": c.kind or "core", "count": len(c.cpus), "max_mhz": c.max_mhz, "size": c.size, "cpus": list(c.cpus)}
        for c in clusters
    ]
    return replace(
        found,
        model=" ".join(filter(None, (maker, model))) or found.model,
        soc=chip or properties.get("ro.board.platform") or found.soc,
        os=f"Android {release} (API {sdk})" if release else found.os,
        cpu={**found.cpu, "cores": cores or found.cpu["cores"]},
        thermals={
            **found.thermals,
            "temperatures_c": thermal.temperatures_c or found.thermals["temperatures_c"],
            "status": thermal.status,
            "status_text": None if thermal.status is None else STATUSES[thermal.status],
        },
        emulated=found.emulated or is_emulator(properties),
        profile="phone",
        meters=tuple(_meters(read_sources(device), battery)),
        limits=({"what": "The agent: detect, validate, .onnx files", "remedy": NO_AGENT},),
        phone={
            "build": properties.get("ro.build.fingerprint"),
            "abi": properties.get("ro.product.cpu.abi"),
            "battery_percent": battery.level,
            "battery_c": battery.temperature_c,
            "charging": battery.charging,
        },
    )


def read_properties(device: Device) -> dict[str, str]:
    """Android's properties that may be read.

    Raises:
        DeviceError: It is gone.
    """
    text = device.run(["getprop"]).stdout.decode("utf-8", "replace")
    return {key: printable(value) for key, value in _PROPERTY.findall(text)}


def is_emulator(properties: dict[str, str]) -> bool:
    """Whether this is Android's emulator."""
    hardware = properties.get("ro.hardware", "")
    return "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")) or hardware in (
        "ranchu",
        "goldfish",
    )


def read_thermal(device: Device) -> Thermal:
    """How hot it is now.

    Raises:
        DeviceError: It is gone.
    """
    return parse_thermal(_dump(device, "thermalservice"))


def read_battery(device: Device) -> Battery:
    """How its battery is now.

    Raises:
        DeviceError: It is gone.
    """
    return parse_battery(_dump(device, "battery"))


def read_clusters(device: Device) -> list[Cluster]:
    """Its kinds of cores, the fastest first.

    Raises:
        DeviceError: It is gone.
    """
    with scratch_folder() as folder:
        take_snapshot(device, _CPU_FILES, folder)
        return clusters_of(folder)


def read_sources(device: Device) -> Sources:
    """Where its power can be read.

    Raises:
        DeviceError: It is gone.
    """
    done = device.run(["sh", "-c", _READABLE])
    lines = [line.partition(" ") for line in done.stdout.decode("utf-8", "replace").splitlines()]
    readable = [name for word, _, name in lines if word == "yes"]
    counters = tuple(name for name in readable if name.endswith("/energy_value"))
    text = device.run(["cat", *counters]).stdout.decode("utf-8", "replace") if counters else ""
    asked = device.run(list(ASK_CURRENT))
    return Sources(
        sysfs={CURRENT, VOLTAGE} <= set(readable),
        service=asked.returncode == 0 and re.fullmatch(rb"\s*-?\d{1,12}\s*", asked.stdout) is not None,
        odpm=counters,
        odpm_rails=tuple(parse_energy(text)),
        denied=tuple(name for word, _, name in lines if word == "no"),
    )


def _dump(device: Device, service: str) -> str:
    return device.run(["dumpsys", service]).stdout.decode("utf-8", "replace")


def _meters(sources: Sources, battery: Battery) -> list[Meter]:
    return [_odpm(sources), _battery(sources, battery)]


def _odpm(sources: Sources) -> Meter:
    total = total_of(sources.odpm_rails)
    if total:
        what = f"{len(total)} of {len(sources.odpm_rails)} rails: {', '.join(total)}; {_NEEDS_TOOL}"
        return Meter(kind=ODPM, available=True, scope="soc_rails", reason=what)
    if any(name.endswith("/energy_value") for name in sources.denied):
        return Meter(
            kind=ODPM,
            available=False,
            reason="its energy counters are not for adb's shell (permission denied)",
            remedy="adb root, on a debug build; else the battery is read",
        )
    reason = "it has no energy counters: Pixels from 6 on have" if not sources.odpm_rails else "no rail of the chip"
    return Meter(kind=ODPM, available=False, reason=reason, remedy="the battery is read")


def _battery(sources: Sources, battery: Battery) -> Meter:
    if not (sources.sysfs or sources.service):
        denied = "is not for adb's shell (permission denied)" if CURRENT in sources.denied else "is not there"
        return Meter(
            kind=BATTERY,
            available=False,
            reason=f"{CURRENT} {denied}, and the battery service does not tell the current (Android 15 does)",
            remedy="a USB meter in a phone without its battery, recorded: --meter csv:FILE, by ssh:// and Termux",
        )
    how = "its kernel's files" if sources.sysfs else "Android's battery service"
    if battery.charging:
        return Meter(kind=BATTERY, available=False, reason=f"invalid (charging): {battery.charging}", remedy=WIRELESS)
    return Meter(kind=BATTERY, available=True, scope="battery", reason=f"the gauge, by {how}; {_NEEDS_TOOL}")
