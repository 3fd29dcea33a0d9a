"""Making an environment with runtimes on a device."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from yolo_edge.devices import termux
from yolo_edge.devices.device import Completed, Device, DeviceError
from yolo_edge.devices.scratch import scratch_folder
from yolo_edge.devices.session import Session
from yolo_edge.devices.wheels import USUAL, Needs, Wheel, fetch, needs_of
from yolo_edge.ondevice.agent.keeper import ENVIRONMENT, READY
from yolo_edge.ondevice.files import printable

_SECONDS = 600.0  # for a step, on a slow board
_PIP_SECONDS = 3600.0

# a new, empty environment; what was there is removed: it is ours
_MAKE = """\
import json, shutil, sys, venv
folder, system, pip = sys.argv[1], sys.argv[2] == "1", sys.argv[3] == "1"
shutil.rmtree(folder, ignore_errors=True)
venv.EnvBuilder(system_site_packages=system, symlinks=True, with_pip=pip).create(folder)
"""
# a wheel into site-packages, as the standard of binary distributions says; programs and headers are left out
_UNPACK = """\
import os, re, sys, zipfile
wheel, site = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for item in archive.infolist():
        data = re.match(r"[^/]+\\.data/([^/]+)/(.+)", item.filename)
        if data:
            if data.group(1) not in ("purelib", "platlib"):
                continue
            item.filename = data.group(2)
        archive.extract(item, site)
os.remove(wheel)
"""
_READY = """\
import json, sys
with open(sys.argv[1], "w") as file:
    json.dump({"prefix": sys.base_prefix, "python": list(sys.version_info[:2]), "by": sys.argv[2]}, file)
"""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `devices setup` is about to do.

    Attributes:
        name: Of the device.
        environment: The folder on it that will be made; empty: none.
        python: The version of the interpreter.
        machine: The architecture of the wheels.
        system_site: The environment sees the distribution's packages.
        way: "pip": the device's own pip fetches; "wheels": this machine does, and unpacks them there; "termux": its
            package manager installs, and there is no environment.
        requirements: For pip; of Termux the packages.
        wheels: What is brought there, of the way "wheels".
        notes: What else to know.
    """

    name: str
    environment: str
    python: str
    machine: str
    system_site: bool
    way: Literal["pip", "wheels", "termux"]
    requirements: tuple[str, ...]
    wheels: tuple[Wheel, ...] = ()
    notes: tuple[str, ...] = ()


class Setup:
    """The setting up of one device: `plan` says what, `carry_out` does it. A context manager: it holds the wheels."""

    def __init__(self, device: Device, *, offline: bool, wheels: Path | None, runtimes: Sequence[str] = USUAL):
        """Look at the device, and fetch what it needs; nothing is changed there yet.

        Args:
            device: Connected.
            offline: The device needs no network: wheels come from this machine.
            wheels: A folder of wheels to take them from; None: the package index that pip is set up for here.
            runtimes: Which to install, of `yolo_edge.ondevice.runtimes.RUNTIMES`; "opencv" comes along with any.

        Attributes:
            plan: What would be done.

        Raises:
            InputError: The folder of wheels cannot be used.
            DeviceError: Nothing fits the device.
        """
        self._device, self._stack = device, ExitStack()
        self._python = _base_python(device)
        with Session(device, self._python).connect("looking at the packages") as agent:
            python = agent.ask("facts", _SECONDS)["python"]
            # only these leave something to the distribution
            there = agent.ask("runtimes", _SECONDS)["runtimes"] if python["picamera2"] or python["bits"] == 32 else {}
        if python["environment"] is not None:
            raise DeviceError(
                f"{device.name}: {python['executable']} is of an environment already: install what is missing with its "
                "own pip, or let setup make one: yolo-edge devices add … --replace, without --python"
            )
        if termux.is_termux(python):
            if offline or wheels is not None:
                raise DeviceError(
                    f"{device.name}: Termux takes no wheels: its own packages are installed, from a network"
                )
            self.plan = _termux_plan(device.name, python, runtimes)
            return
        needs = needs_of(device.name, python, there, runtimes)
        way: Literal["pip", "wheels"] = "wheels" if offline or wheels or not python["venv"] else "pip"
        notes = list(needs.notes)
        if way == "wheels" and not offline and wheels is None:
            notes.append("there is no pip on the device: this machine fetches the wheels, and unpacks them there")
        self._folder = self._stack.enter_context(scratch_folder())
        try:
            files = fetch(device.name, needs, python, self._folder, wheels) if way == "wheels" else []
            self.plan = _plan(device, needs, python, way, files, notes)
        except BaseException:
            self._stack.close()
            raise

    def steps(self) -> int:
        """How often `carry_out` reports progress."""
        if self.plan.way == "termux":
            return 2
        return 2 + (len(self.plan.wheels) if self.plan.way == "wheels" else 1)

    def carry_out(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Do it; what is half done is removed again.

        Args:
            progress: Called before each step with what it does.

        Raises:
            DeviceError: The device is gone, its disk is full, or pip fails there.
        """
        plan, device = self.plan, self._device
        if plan.way == "termux":
            progress("fetching the lists of packages")
            _must(device, [*termux.INSTALL, "update"], "Termux' package lists cannot be fetched", _PIP_SECONDS)
            progress("installing")
            _must(
                device,
                [*termux.INSTALL, "install", "-y", *plan.requirements],
                "Termux' packages cannot be installed",
                _PIP_SECONDS,
            )
            return
        python = f"{plan.environment}/bin/python"
        try:
            progress("making the environment")
            options = ["1" if plan.system_site else "0", "1" if plan.way == "pip" else "0"]
            _must(device, [self._python, "-c", _MAKE, plan.environment, *options], "the environment cannot be made")
            if plan.way == "pip":
                progress("pip installs")
                command = [python, "-E", "-s", "-m", "pip", "install", "--quiet", "--no-input", "--only-binary=:all:"]
                # most of what comes along is never imported; what is, Python compiles then, once
                command += ["--disable-pip-version-check", "--no-compile", *plan.requirements]
                _must(device, command, "pip fails there", _PIP_SECONDS)
            site = f"{plan.environment}/lib/python{'.'.join(plan.python.split('.')[:2])}/site-packages"
            for wheel in plan.wheels:
                progress(f"{wheel.name} {wheel.version}")
                there = f"{device.folder}/{wheel.file}"
                device.push(self._folder / wheel.file, there)
                _must(device, [self._python, "-c", _UNPACK, there, site], f"{wheel.file} cannot be unpacked there")
            progress("finishing")
            ready = f"{plan.environment}/{READY}"
            _must(device, [python, "-E", "-c", _READY, ready, "yolo-edge devices setup"], f"{ready} cannot be written")
        except BaseException:
            _remove(device, plan.environment)
            raise

    def __enter__(self) -> "Setup":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _termux_plan(name: str, python: dict[str, Any], runtimes: Sequence[str]) -> Plan:
    return Plan(
        name=name,
        environment="",
        python=".".join(str(part) for part in python["version"]),
        machine=str(python["machine"]),
        system_site=True,
        way="termux",
        requirements=termux.packages(name, runtimes),
        notes=termux.notes(runtimes),
    )


def _plan(
    device: Device,
    needs: Needs,
    python: dict[str, Any],
    way: Literal["pip", "wheels"],
    wheels: list[Wheel],
    notes: list[str],
) -> Plan:
    return Plan(
        name=device.name,
        environment=f"{_home(device)}/{ENVIRONMENT}",
        python=".".join(str(part) for part in python["version"]),
        machine=needs.machine,
        system_site=needs.system_site,
        way=way,
        requirements=needs.requirements,
        wheels=tuple(wheels),
        notes=tuple(notes),
    )


def _home(device: Device) -> str:
    done = device.run(["sh", "-c", 'printf %s "$HOME"'])
    home = done.stdout.decode("utf-8", "replace")
    if done.returncode or not home.startswith("/") or not home.isprintable():
        raise DeviceError(f"{device.name}: its user has no home folder")
    return home.rstrip("/")


def _base_python(device: Device) -> str:
    """The interpreter that the environment is made from: not that of an older one, which is about to go."""
    if not device.python.endswith(f"/{ENVIRONMENT}/bin/python"):
        return device.python
    ask = "import os, sys; print(os.path.realpath(sys.executable))"
    done = _must(device, [device.python, "-c", ask], "its Python does not start")
    return done.stdout.decode("utf-8", "replace").strip()


def _must(device: Device, argv: list[str], what: str, seconds: float = _SECONDS) -> Completed:
    done = device.run(argv, timeout=seconds)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        said = printable(next((line for line in lines if line.startswith("ERROR:")), lines[-1]))[:300]
        remedy = ": free some space there" if "No space left" in said else ""
        if "pip" in what and "ERROR" in said:
            remedy = "; without a network there, --offline brings the wheels from here"
        raise DeviceError(f"{device.name}: {what} ({said}){remedy}")
    return done


def _remove(device: Device, folder: str) -> None:
    try:
        device.run(["rm", "-rf", "--", folder])
    except DeviceError:  # gone; an environment without its last file is not used
        return
