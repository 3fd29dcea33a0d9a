"""What a device is, and what can be measured on it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from yolo_edge.devices import profiles
from yolo_edge.devices.agents import AgentProcess
from yolo_edge.devices.device import Device, DeviceError
from yolo_edge.devices.jetson import Power
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.ondevice.agent import emulation, facts, machine

_SECONDS = 300.0

# what is read from a device without a Python for the agent; the shell there finds the files
_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/device-tree/model",
    "/proc/device-tree/compatible",
    "/sys/firmware/devicetree/base/model",
    "/sys/firmware/devicetree/base/compatible",
    "/sys/devices/virtual/dmi/id/product_name",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/sys/class/thermal/thermal_zone[0-9]*/type",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/devices/platform/*/get_throttled",
    "/sys/devices/platform/soc/*/get_throttled",
    "/etc/os-release",
    "/etc/nv_tegra_release",
)
_LONGEST_FILE = 1 << 16
# names and contents, apart by the ASCII separators of records and units, which none of these files has
_SNAPSHOT = (
    'for f in {}; do if [ -r "$f" ] && [ -f "$f" ]; then printf "\\036%s\\037" "$f"; '
    f'head -c {_LONGEST_FILE} "$f" 2>/dev/null; fi; done; printf "\\036"'
)


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a kind of power meter can be read; see `yolo_edge.ondevice.power.meter.Probe`."""

    kind: str
    available: bool
    scope: str | None = None
    reason: str | None = None
    remedy: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What `devices probe` tells; None where the device does not.

    Attributes:
        name: Of the device, as the inventory calls it.
        model: Of the board or computer.
        machine: The architecture, as `uname -m` names it.
        cpu: `name`, `cpus`, `cores` (a dict a kind: `kind`, `count`, `max_mhz`, and of phones `size`), `features`,
            `vector` (those that matter, as people call them), `governors`, `clock_mhz`, `max_mhz`.
        runtimes: Name → `version` and `problem`; None: not installed.
        thermals: `temperatures_c` by sensor; `throttled`, the Raspberry Pi's bits, with `throttled_now` and
            `throttled_since_boot` in words; `throttle_count` of x86 cores; of phones `status`, Android's 0 to 6, and
            `status_text`.
        meters: Power meters, and why not.
        emulated: Its processor is a program: times mean nothing there.
        url: Where it is.
        soc: The chip.
        memory_mb: In all.
        available_mb: That is free for programs.
        os: Its name and version.
        kernel: Its version.
        l4t: Version of a Jetson's system.
        jetpack: Its major version.
        power_mode: Of a Jetson.
        power: Of a Jetson: the modes that it could have, and whether its clocks are fixed.
        python: What the agent runs with: `version`, `executable`, `environment`, `machine`, `bits`, `glibc`, `pip`,
            `venv`, `picamera2`; None: there is none that it can run with.
        profile: Which of the boards that we know it is.
        limits: What does not work on it: `what`, `remedy`.
        phone: Of a phone: `build`, `abi`, `battery_percent`, `battery_c`, `charging` (why its battery does not show
            what it takes; null: it does); None: it is none.
    """

    name: str
    model: str | None = None
    machine: str | None = None
    cpu: dict[str, Any] = {}
    runtimes: dict[str, Any] = {}
    thermals: dict[str, Any] = {}
    meters: tuple[Meter, ...] = ()
    emulated: bool = False
    url: str
    soc: str | None = None
    memory_mb: float | None = None
    available_mb: float | None = None
    os: str | None = None
    kernel: str | None = None
    l4t: str | None = None
    jetpack: int | None = None
    power_mode: str | None = None
    power: Power | None = None
    python: dict[str, Any] | None = None
    profile: str
    limits: tuple[dict[str, str], ...] = ()
    phone: dict[str, Any] | None = None


def ask_facts(name: str, url: str, agent: AgentProcess, *, emulated: bool = False) -> Facts:
    """Facts from the agent.

    Args:
        name: Of the device.
        url: Of the device.
        agent: That runs on it.
        emulated: What the inventory says; the device may find out by itself.

    Raises:
        YoloEdgeError: It does not answer.
    """
    host, found = agent.host, agent.ask("facts", _SECONDS)
    board = profiles.match(host.get("model"))
    meters = agent.ask("meters", _SECONDS, board=board.board())["meters"]
    return _facts(
        name,
        url,
        {**host, "emulated": emulated or host.get("emulated")},
        agent.ask("conditions", _SECONDS),
        found["facts"],
        meters,
        board,
        runtimes=agent.ask("runtimes", _SECONDS)["runtimes"],
        python=found["python"],
    )


def read_facts(device: Device, why: str, *, emulated: bool = False) -> Facts:
    """Facts from the device's files: for one without a Python that the agent runs with.

    Args:
        device: Connected.
        why: The agent does not run, in a sentence; the reason that there are no meters.
        emulated: What the inventory says.

    Raises:
        DeviceError: The device is gone, or is none that has such files.
    """
    names = device.run(["uname", "-n", "-r", "-m"])
    words = names.stdout.decode("utf-8", "replace").split()
    if len(words) != 3:
        raise DeviceError(f"{device.name}: tells neither its name nor its architecture: is it Linux?")
    with scratch_folder() as root:
        take_snapshot(device, _FILES, root)
        host = machine.host_facts(root)
        cpus = facts.count_cpus(root) or None
        host.update(name=words[0], kernel=words[1], machine=words[2], python=None, versions={})
        host["cpu"].update(cpus=cpus, cpus_in_all=cpus)
        host["emulated"] = emulated or emulation.is_emulated(root)
        board = profiles.match(host["model"])
        reason, remedy = "it is read by the agent, which needs Python 3.8 or newer there", why
        return _facts(
            device.name,
            device.url,
            host,
            machine.conditions(root),
            facts.device_facts(root, words[2]),
            [{"kind": "any", "available": False, "scope": None, "reason": reason, "remedy": remedy}],
            board,
        )


def read_conditions(device: Device) -> dict[str, Any]:
    """How a device fares now, from its files; see `yolo_edge.ondevice.agent.machine.conditions`.

    Raises:
        DeviceError: It is gone.
    """
    with scratch_folder() as folder:
        take_snapshot(device, _FILES, folder)
        return machine.conditions(folder)


def take_snapshot(device: Device, names: Sequence[str], root: Path) -> None:
    """Write copies of small files of a device under a folder.

    Args:
        device: Connected.
        names: Of the files, as the shell matches them; our own, none from outside.
        root: The folder; what was not asked for is left out.

    Raises:
        DeviceError: The device is gone.
    """
    output = device.run(["sh", "-c", _SNAPSHOT.format(" ".join(names))]).stdout
    for record in output.split(b"\x1e"):
        name, separator, data = record.partition(b"\x1f")
        path = PurePosixPath(name.decode("utf-8", "replace"))
        if not separator or ".." in path.parts or not any(path.match(pattern) for pattern in names):
            continue
        target = root / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[:_LONGEST_FILE])


def _facts(
    name: str,
    url: str,
    host: Mapping[str, Any],
    now: Mapping[str, Any],
    more: Mapping[str, Any],
    meters: list[dict[str, Any]],
    board: profiles.Profile,
    *,
    runtimes: Mapping[str, Any] | None = None,
    python: Mapping[str, Any] | None = None,
) -> Facts:
    bits = now.get("throttled")
    cpu = {key: value for key, value in host["cpu"].items() if key != "cpus_in_all"}
    document = {
        "name": name,
        "url": url,
        **{key: host.get(key) for key in ("model", "machine", "memory_mb", "os", "kernel", "emulated")},
        "available_mb": now.get("available_mb"),
        "cpu": {
            **cpu,
            "cores": more["cores"],
            "vector": more["vector"],
            "governors": now["governors"],
            "clock_mhz": now["clock_mhz"],
        },
        **{key: more[key] for key in ("soc", "l4t", "jetpack", "power_mode")},
        "thermals": {
            "temperatures_c": now["temperatures_c"],
            "throttled": bits,
            **facts.describe_throttled(bits),
            "throttle_count": now.get("throttle_count"),
        },
        "runtimes": runtimes or {},
        "python": python,
        "meters": meters,
        "profile": board.name,
        "limits": [{"what": limit.what, "remedy": limit.remedy} for limit in board.limits_of(host.get("machine"))],
    }
    try:
        return msgspec.convert(document, Facts)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{name}: its agent answers something else than facts ({error})") from error


def shown_version(version: object) -> str:
    """[3, 11, 2] → "3.11.2"; what is none is "?"."""
    text = ".".join(map(str, version)) if isinstance(version, list | tuple) else ""
    return text if re.fullmatch(r"\d+(\.\d+)*", text) else "?"
