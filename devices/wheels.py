"""Wheels for another machine, fetched by the pip of this one."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from yolo_edge.devices.device import DeviceError
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import printable

USUAL = ("onnxruntime", "tflite")  # the runtimes of a device where nobody chose others

_SECONDS = 3600.0
_OLDEST_GLIBC = 17  # of 2.x: what manylinux2014 stands for
_TFLITE_RUNTIME = (3, 11)  # the last Python that it has wheels for
_LITERT = (3, 10)  # the first that ai-edge-litert has wheels for
_DEMO = ("starlette>=0.37", "uvicorn>=0.35", "websockets>=13")  # as in setup.cfg: the page of `demo --device`
_DEMO_PYTHON = (3, 10)
_LGPIO_PYTHON, _LGPIO_GLIBC = (3, 12), (2, 34)  # the last and the first that its wheels are for


class Wheel(msgspec.Struct, frozen=True):
    """One file to be unpacked.

    Attributes:
        name: Of the package.
        version: Its version.
        bytes: Size of the file.
        file: Its name.
    """

    name: str
    version: str
    bytes: int
    file: str


class Needs(msgspec.Struct, frozen=True):
    """What a device needs to run models.

    Attributes:
        requirements: For pip.
        machine: The architecture of the wheels.
        system_site: Use the packages of the distribution, too.
        notes: What to know of it.
    """

    requirements: tuple[str, ...]
    machine: str
    system_site: bool
    notes: tuple[str, ...] = ()


def setup_command(name: str, runtime: str | None = None) -> str:
    """What a person runs to have a runtime on a device; None: the usual ones."""
    chosen = "" if runtime in (None, "auto", *USUAL) else f" --runtime {','.join([*USUAL, str(runtime)])}"
    return f"yolo-edge devices setup {name}{chosen}"


def needs_of(name: str, python: Mapping[str, Any], there: Mapping[str, Any], runtimes: Sequence[str] = USUAL) -> Needs:
    """What to install on a device.

    Args:
        name: Of the device, for messages.
        python: See `yolo_edge.ondevice.agent.facts.python_facts`.
        there: What is installed already, see `check_runtimes` there.
        runtimes: Which to install, of `yolo_edge.ondevice.runtimes.RUNTIMES`; "opencv" comes along with any.

    Raises:
        DeviceError: There are no wheels for it; the message says what to do instead.
    """
    version = (int(python["version"][0]), int(python["version"][1]))
    machine = _machine_of(str(python["machine"]), int(python["bits"]))
    if machine == "armv6l":
        raise DeviceError(
            f"{name}: no runtime has a wheel for ARMv6: run the fp32 ONNX file with the distribution's OpenCV there "
            "(sudo apt install python3-opencv; cv2.dnn.readNetFromONNX)"
        )
    if machine is None:
        raise DeviceError(f"{name}: no runtime has a wheel for {printable(str(python['machine']))}")
    if python["glibc"] is None:
        raise DeviceError(
            f"{name}: it has another C library than wheels are made for: install its own packages (Termux: pkg install "
            "python-numpy python-onnxruntime opencv-python), and use that Python: devices add … --python"
        )
    numpy = (there.get("numpy") or {}).get("version") or ""
    old_numpy = bool(python["picamera2"]) and numpy.startswith("1.")
    notes = ["picamera2 is there: the environment sees the distribution's packages"] if python["picamera2"] else []
    if old_numpy:
        notes.append(f"numpy stays below 2, since picamera2 is built for the distribution's {numpy}")
    if machine == "armv7l":
        return _needs_of_armv7(name, version, there, runtimes, notes)
    packages = {
        "onnxruntime": "onnxruntime",
        "openvino": "openvino>=2023.1",
        "tflite": "ai-edge-litert" if version >= _LITERT else "tflite-runtime",
    }
    requirements = [package for runtime, package in packages.items() if runtime in runtimes]
    old_numpy = old_numpy or "tflite-runtime" in requirements
    requirements += ["opencv-python-headless>=4.6,<6", "numpy<2" if old_numpy else "numpy", "smbus2"]
    requirements += _needs_of_demo(version, machine, (int(python["glibc"][0]), int(python["glibc"][1])))
    return Needs(tuple(requirements), machine, bool(python["picamera2"]), tuple(notes))


def _needs_of_armv7(
    name: str, version: tuple[int, int], there: Mapping[str, Any], runtimes: Sequence[str], notes: list[str]
) -> Needs:
    tflite = "tflite" in runtimes
    if not tflite and "opencv" not in runtimes:
        raise DeviceError(f"{name}: on a 32-bit system there is neither onnxruntime nor openvino: --runtime tflite")
    if tflite and version > _TFLITE_RUNTIME:
        raise DeviceError(
            f"{name}: on a 32-bit system there is tflite-runtime alone, and its last wheel is for Python 3.11, not "
            f"{version[0]}.{version[1]}: install a 64-bit system, or a Python 3.11 and name it with --python"
        )
    # PyPI has neither numpy nor OpenCV for it; piwheels.org and the distribution have both
    kept = [package for package in ("numpy", "opencv") if (there.get(package) or {}).get("version")]
    wanted = {"numpy": "numpy<2", "opencv": "opencv-python-headless>=4.6,<6"}
    requirements = ["tflite-runtime"] if tflite else []
    requirements += [*(wanted[package] for package in wanted if package not in kept), "smbus2"]
    if len(kept) < len(wanted):
        notes.append(
            "numpy and OpenCV come from piwheels.org, as Raspberry Pi OS sets it up; or from the distribution, before: "
            "sudo apt install python3-numpy python3-opencv"
        )
    requirements += _needs_of_demo(version, "armv7l", (0, 0))
    missing = [runtime for runtime in ("onnxruntime", "openvino") if runtime in runtimes]
    if missing:
        notes.append(f"a 32-bit system has no {' and no '.join(missing)}: .tflite files run there")
    return Needs(tuple(requirements), "armv7l", bool(kept), tuple(notes))


def _needs_of_demo(version: tuple[int, int], machine: str, glibc: tuple[int, int]) -> list[str]:
    """What a demo needs beside a runtime: some MB. Pins are those of boards."""
    if version < _DEMO_PYTHON:
        return []
    pins = ["gpiozero"] if machine != "x86_64" else []
    if machine == "aarch64" and version <= _LGPIO_PYTHON and glibc >= _LGPIO_GLIBC:
        pins.append("lgpio>=0.2.2")  # an older one, of no machine in particular, is for nothing
    return [*_DEMO, *pins]


def fetch(name: str, needs: Needs, python: Mapping[str, Any], folder: Path, source: Path | None) -> list[Wheel]:
    """Fetch the wheels, with all that they need.

    Args:
        name: Of the device, for messages.
        needs: What for.
        python: Of the device.
        folder: Where to.
        source: A folder of wheels to take them from; None: the package index that pip is set up for.

    Raises:
        InputError: `source` is no folder, or lacks a wheel.
        DeviceError: pip is missing here, or finds no wheels.
    """
    if source is not None and not source.is_dir():
        raise InputError(f"--wheels {source}: expected a folder of wheels")
    minor = int(python["glibc"][1])
    tags = [f"manylinux_2_{number}_{needs.machine}" for number in range(minor, _OLDEST_GLIBC - 1, -1)]
    places = [] if source is None else ["--no-index", "--find-links", str(source.absolute())]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--dest", str(folder), *places]
    command += ["--python-version", ".".join(str(part) for part in python["version"][:2])]
    command += [word for tag in [*tags, f"manylinux2014_{needs.machine}"] for word in ("--platform", tag)]
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            [*command, *needs.requirements],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{name}: pip took more than {_SECONDS / 60:.0f} min to fetch wheels") from error
    if done.returncode:
        raise _failure(name, done.stderr.decode("utf-8", "replace"), source)
    return sorted((_wheel(path) for path in folder.glob("*.whl")), key=lambda wheel: wheel.name.lower())


def _failure(name: str, complaint: str, source: Path | None) -> InputError | DeviceError:
    if "No module named pip" in complaint:
        return DeviceError(f"{name}: this machine's Python has no pip to fetch wheels with: python -m ensurepip")
    lines = [line for line in complaint.splitlines() if line.startswith("ERROR:")] or complaint.strip().splitlines()
    said = printable(lines[-1].removeprefix("ERROR:").strip())[:300] if lines else "it says nothing"
    if source is not None:
        return InputError(f"--wheels {source}: {said}")
    return DeviceError(f"{name}: pip finds no wheels for it ({said})")


def _wheel(path: Path) -> Wheel:
    found = re.match(r"([^-]+)-([^-]+)-", path.name)
    name, version = found.groups() if found else (path.stem, "")
    return Wheel(name.replace("_", "-"), version, path.stat().st_size, path.name)


def _machine_of(machine: str, bits: int) -> str | None:
    """The architecture of the programs: a 64-bit kernel may run a 32-bit system."""
    if machine in ("aarch64", "arm64", "armv8l", "armv7l"):
        return "aarch64" if bits == 64 else "armv7l"
    return {"x86_64": "x86_64" if bits == 64 else None, "armv6l": "armv6l"}.get(machine)
