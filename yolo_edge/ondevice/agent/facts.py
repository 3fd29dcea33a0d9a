"""What `yolo-edge devices probe` tells of a machine beside `machine`: slower to find out, or for people."""

import importlib.util
import os
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from yolo_edge.ondevice.agent.machine import ROOT, cores_of
from yolo_edge.ondevice.agent.throttling import throttled_words
from yolo_edge.ondevice.sysfs import find_program, matches, read_number, read_text

# what people call the vector features that decide how fast networks run → the kernel's names for them, any of them
_VECTOR = {
    "NEON": ("neon", "asimd"),
    "fp16": ("asimdhp",),
    "dotprod": ("asimddp",),
    "i8mm": ("i8mm",),
    "bf16": ("bf16", "avx512_bf16"),
    "SVE": ("sve",),
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx_vnni", "avx512_vnni"),
    "AMX": ("amx_int8",),
}
# major version of Jetson Linux → that of JetPack: https://developer.nvidia.com/embedded/jetpack-archive
_JETPACKS = {28: 3, 32: 4, 34: 5, 35: 5, 36: 6, 38: 7}

_RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "numpy": "numpy",
    "opencv": "cv2",
    "openvino": "openvino",
}
_SECONDS = 60.0  # to import one, on a slow board


def device_facts(root: Path = ROOT, machine: Optional[str] = None) -> Dict[str, Any]:
    """What a machine is, as far as its files tell.

    Args:
        root: Of the file system.
        machine: The architecture of a recorded tree; None: that of this machine.

    Returns:
        `soc`; `cores`, a dict a kind: `kind`, `count`, `max_mhz`; `vector`, the features that matter as people call
        them; `jetpack` and `l4t` of a Jetson; `power_mode`, its nvpmodel's. What is not known is null.
    """
    flags = _flags(root)
    vector = [name for name, known in _VECTOR.items() if flags & set(known)]
    if not vector and (machine or platform.machine()) == "aarch64":
        vector = ["NEON"]  # part of the architecture
    l4t = _l4t(root)
    return {
        "soc": _soc(root),
        "cores": _cores(root),
        "vector": vector,
        "l4t": None if l4t is None else ".".join(map(str, l4t)),
        "jetpack": None if l4t is None else _JETPACKS.get(l4t[0]),
        "power_mode": power_mode(root),
    }


def python_facts() -> Dict[str, Any]:
    """What decides which wheels fit here: `version`, `machine`, `bits`, `glibc`; and what is there to install them.

    Returns:
        `executable`; `environment`, the folder of a virtual environment or null; `pip`, `venv`: whether the modules
        are there, the second with what it needs to put pip into an environment; `picamera2`: whether it is installed,
        and its environment's numpy is to be left alone.
    """
    libc, version = platform.libc_ver()
    return {
        "version": list(sys.version_info[:3]),
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "glibc": [int(part) for part in version.split(".")[:2]] if libc == "glibc" else None,
        "executable": sys.executable,
        "environment": sys.prefix if sys.prefix != sys.base_prefix else None,
        "pip": importlib.util.find_spec("pip") is not None,
        "venv": all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip")),
        "picamera2": importlib.util.find_spec("picamera2") is not None,
    }


def check_runtimes() -> Dict[str, Any]:
    """The libraries that run models and prepare pictures, each imported in a process of its own: some crash.

    Returns:
        Name → `version`, and `problem`: null, or why it does not load. Null where it is not installed.
    """
    return {name: _check_import(module) for name, module in _RUNTIMES.items()}


def describe_throttled(bits: Optional[int]) -> Dict[str, Optional[List[str]]]:
    """The Raspberry Pi's bits as words: `throttled_now`, `throttled_since_boot`; null where there are none."""
    if bits is None:
        return {"throttled_now": None, "throttled_since_boot": None}
    now, since_boot = throttled_words(bits)
    return {"throttled_now": now, "throttled_since_boot": since_boot}


def power_mode(root: Path = ROOT) -> Optional[str]:
    """The name of a Jetson's power mode, as `nvpmodel -q` prints it; None elsewhere."""
    program = find_program("nvpmodel", root)
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system
            [program, "-q"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_power_mode(done.stdout.decode("utf-8", "replace"))


def parse_power_mode(text: str) -> Optional[str]:
    """The power mode in what `nvpmodel -q` prints; versions differ in what stands around it."""
    found = re.search(r"(?im)^\s*(?:NV\s+)?Power\s+Mode\s*:\s*([\w.-]+)", text)
    return found.group(1) if found else None


def _check_import(module: str) -> Optional[Dict[str, Any]]:
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        return None
    script = (
        f"import importlib; module = importlib.import_module({module!r}); "
        f"print(getattr(importlib.import_module({package!r}), '__version__', ''))"
    )
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"version": None, "problem": f"{type(error).__name__}: no answer within {_SECONDS:.0f} s"}
    lines = done.stdout.decode("utf-8", "replace").split()
    if done.returncode == 0 and lines:
        # OpenVINO's goes on with the number of the build, and its branch
        return {"version": re.sub(r"-\d+-.*", "", lines[-1])[:100], "problem": None}
    if done.returncode < 0:
        return {"version": None, "problem": f"crashes when it is loaded (signal {-done.returncode})"}
    complaint = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it says nothing"]
    return {"version": None, "problem": complaint[-1][:300]}


def _soc(root: Path) -> Optional[str]:
    """The last of the device tree's compatible names is the chip: "brcm,bcm2712"."""
    for name in ("sys/firmware/devicetree/base/compatible", "proc/device-tree/compatible"):
        names = [part for part in read_text(root / name).split("\0") if part]
        if names:
            return names[-1].rpartition(",")[2]
    return None


def _flags(root: Path) -> "set[str]":
    found = re.search(r"(?m)^(?:flags|Features)\s*:\s*(.*)$", read_text(root / "proc/cpuinfo"))
    return set(found.group(1).split()) if found else set()


def _cores(root: Path) -> List[Dict[str, Any]]:
    counts: Dict[Tuple[str, Optional[float]], int] = {}
    for number, kind in cores_of(root):
        kilohertz = read_number(root / f"sys/devices/system/cpu/cpu{number}/cpufreq/cpuinfo_max_freq")
        key = (kind, None if kilohertz is None else kilohertz / 1000)
        counts[key] = counts.get(key, 0) + 1
    return [{"kind": kind, "count": count, "max_mhz": mhz} for (kind, mhz), count in counts.items()]


def _l4t(root: Path) -> Optional[Tuple[int, ...]]:
    """The version of Jetson Linux: `# R35 (release), REVISION: 4.1, …`."""
    found = re.match(r"# R(\d+) \(release\), REVISION: (\d+)\.(\d+)", read_text(root / "etc/nv_tegra_release"))
    return tuple(int(part) for part in found.groups()) if found else None


def count_cpus(root: Path) -> int:
    """CPUs of a recorded tree."""
    return len(cores_of(root)) or len(matches(root / "sys/devices/system/cpu", "cpu[0-9]*"))
