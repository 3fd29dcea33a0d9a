"""What machines tell of themselves, from recorded trees and files."""

from pathlib import Path
from typing import Any

import pytest

from tests.devices.test_agents import tree
from tests.support import shared_dir
from yolo_edge.devices.device import Completed
from yolo_edge.devices.facts import take_snapshot
from yolo_edge.ondevice.agent import emulation, facts
from yolo_edge.ondevice.agent.machine import cores_of

BIG_LITTLE = "\n\n".join(
    f"processor\t: {number}\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU part\t: {part}"
    for number, part in enumerate(["0xd05"] * 4 + ["0xd0b"] * 2)
)


def test_the_double() -> None:
    cpuinfo = (shared_dir() / "doubles" / "cpuinfo-cortex-a76.txt").read_text()
    assert cpuinfo.count("processor") == 2


def test_a_phone_with_two_kinds_of_cores(tmp_path: Path) -> None:
    clocks = {
        f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": f"{mhz}000\n" for i, mhz in [(0, 1800), (4, 2400)]
    }
    root = tree(tmp_path, {"proc/cpuinfo": BIG_LITTLE, **clocks})
    found = facts.device_facts(root, "aarch64")
    assert found["cores"] == [
        {"kind": "Cortex-A55", "count": 1, "max_mhz": 1800},
        {"kind": "Cortex-A55", "count": 3, "max_mhz": None},
        {"kind": "Cortex-A76", "count": 1, "max_mhz": 2400},
        {"kind": "Cortex-A76", "count": 1, "max_mhz": None},
    ]
    assert found["vector"] == ["NEON", "dotprod", "i8mm"]
    assert facts.count_cpus(root) == len(cores_of(root)) == 6


def test_an_x86_machine(tmp_path: Path) -> None:
    text = "processor : 0\nmodel name : AMD EPYC\nflags : fpu avx2 avx512f avx512_vnni\n"
    found = facts.device_facts(tree(tmp_path, {"proc/cpuinfo": text}), "x86_64")
    assert found["vector"] == ["AVX2", "AVX-512", "VNNI"]
    assert found["soc"] is found["jetpack"] is found["power_mode"] is None


@pytest.mark.parametrize(
    ("text", "l4t", "jetpack"),
    [
        ("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64", "32.7.1", 4),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref", "35.4.1", 5),
        ("# R36 (release), REVISION: 4.3", "36.4.3", 6),
        ("# R99 (release), REVISION: 1.0", "99.1.0", None),
        ("nonsense", None, None),
        ("", None, None),
    ],
)
def test_jetpack(tmp_path: Path, text: str, l4t: object, jetpack: object) -> None:
    found = facts.device_facts(tree(tmp_path, {"etc/nv_tegra_release": text}))
    assert (found["l4t"], found["jetpack"]) == (l4t, jetpack)


def test_the_chip_is_the_last_compatible_name(tmp_path: Path) -> None:
    names = "raspberrypi,5-model-b\0brcm,bcm2712\0"
    assert facts.device_facts(tree(tmp_path, {"proc/device-tree/compatible": names}))["soc"] == "bcm2712"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE"),
        ("NV Fan Mode:quiet\nNV Power Mode: 25W\n1\n", "25W"),
        ("Power Mode : 15W", "15W"),
        ("NVPM ERROR: failed", None),
    ],
)
def test_power_modes(text: str, mode: object) -> None:
    assert facts.parse_power_mode(text) == mode


def test_the_power_mode_of_a_recorded_jetson() -> None:
    text = (shared_dir() / "device-samples/jetson/tx2_jetson_clocks_show.txt").read_text()
    assert facts.parse_power_mode(text) == "MAXP_CORE_ARM"


def test_bits_of_throttling() -> None:
    assert facts.describe_throttled(None) == {"throttled_now": None, "throttled_since_boot": None}
    assert facts.describe_throttled(0x50005) == {
        "throttled_now": ["under-voltage", "throttled"],
        "throttled_since_boot": ["under-voltage", "throttled"],
    }
    assert facts.describe_throttled(0x80002) == {
        "throttled_now": ["frequency capped"],
        "throttled_since_boot": ["soft temperature limit"],
    }


@pytest.mark.parametrize(
    ("text", "emulated"),
    [
        ("model name : QEMU TCG CPU version 2.5+\n", True),
        ("CPU implementer : 0x00\nCPU part : 0x051\n", True),
        ("CPU implementer : 0x41\nCPU part : 0xd0b\n", False),
        ("", False),
    ],
)
def test_machines_of_qemu(tmp_path: Path, text: str, emulated: bool) -> None:
    assert emulation.is_emulated(tree(tmp_path, {"proc/cpuinfo": text})) is emulated
    assert emulation.is_emulated() is False


def test_libraries_that_crash_or_fail_to_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package: dict[str, Any] = {
        "fine": "__version__ = '1.2'",
        "openvino": "__version__ = '2026.4.1-22982-e213a147257-releases/2026/4'",
        "opencv": "__version__ = '4.10.0-dev'",
        "crashes": "import os; os.kill(os.getpid(), 4)",
        "raises": "raise ImportError('libfoo.so: no such file')",
    }
    for name, text in package.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(facts, "_RUNTIMES", {**{name: name for name in package}, "missing": "no_such_module"})
    assert facts.check_runtimes() == {
        "fine": {"version": "1.2", "problem": None},
        "openvino": {"version": "2026.4.1", "problem": None},
        "opencv": {"version": "4.10.0-dev", "problem": None},
        "crashes": {"version": None, "problem": "crashes when it is loaded (signal 4)"},
        "raises": {"version": None, "problem": "ImportError: libfoo.so: no such file"},
        "missing": None,
    }


def test_a_snapshot_holds_what_was_asked_for_alone(tmp_path: Path) -> None:
    records = {
        "/proc/cpuinfo": b"processor : 0\n",
        "/sys/class/thermal/thermal_zone0/temp": b"52000\n",
        "/etc/passwd": b"x",
        "/sys/class/thermal/thermal_zone0/../../../../etc/evil": b"x",
        "proc/cpuinfo": b"relative",
        "/proc/stat": b"cpu 1 2",
    }
    said = b"".join(b"\x1e" + name.encode() + b"\x1f" + data for name, data in records.items()) + b"\x1e"

    class Liar:
        """A device that gives more than it was asked for."""

        def run(self, argv: object) -> Completed:
            return Completed(0, said, b"")

    names = ("/proc/cpuinfo", "/proc/stat", "/sys/class/thermal/thermal_zone*/temp")
    take_snapshot(Liar(), names, tmp_path)  # type: ignore[arg-type]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "proc/cpuinfo",
        "proc/stat",
        "sys/class/thermal/thermal_zone0/temp",
    ]
    assert (tmp_path / "proc/cpuinfo").read_bytes() == b"processor : 0\n"
