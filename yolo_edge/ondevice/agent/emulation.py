"""Processors that are programs: whether this is one, and which processor it should be."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict

from yolo_edge.ondevice.agent.machine import ROOT, cores_of
from yolo_edge.ondevice.sysfs import read_text

_VARIABLE = "QEMU_CPU"
_SECONDS = 60.0
_NAMES = {  # in /proc/cpuinfo → of qemu
    "Cortex-A7": "cortex-a7",
    "Cortex-A35": "cortex-a35",
    "Cortex-A53": "cortex-a53",
    "Cortex-A55": "cortex-a55",
    "Cortex-A57": "cortex-a57",
    "Cortex-A72": "cortex-a72",
    "Cortex-A76": "cortex-a76",
    "Neoverse-N1": "neoverse-n1",
}


def is_emulated(root: Path = ROOT) -> bool:
    """Whether this processor is a program.

    qemu's user mode hides its own executable from /proc/self alone; its whole machines, without virtualisation, give
    themselves away by the name or the number of the CPU.
    """
    if root == ROOT and _executable().startswith("qemu-"):
        return True
    text = read_text(root / "proc/cpuinfo")
    numbers = (r"(?m)^CPU implementer\s*: 0x00$", r"(?m)^CPU part\s*: 0x051$")  # MIDR_EL1 of qemu's `-cpu max`
    return "QEMU TCG CPU" in text or all(re.search(pattern, text) for pattern in numbers)


def become_stated_cpu() -> None:
    """Where qemu's user mode runs this, start again with the CPU that /proc/cpuinfo states.

    Left to itself qemu offers all instructions that it knows. Libraries ask the kernel, not /proc/cpuinfo, and take
    kernels that the stated CPU would never run: those with i8mm of XNNPACK compute something else in qemu 7.2.
    """
    if _VARIABLE in os.environ or not _executable().startswith("qemu-"):
        return
    kinds = {kind for _, kind in cores_of()}
    name = _NAMES.get(kinds.pop()) if len(kinds) == 1 else None
    environment: Dict[str, str] = {**os.environ, _VARIABLE: name or "max"}
    flags = [flag for flag, is_set in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)) if is_set]
    command = [sys.executable, *flags]
    if name is not None and _works([*command, "-c", ""], environment):
        os.execve(sys.executable, [*command, *sys.argv], environment)  # noqa: S606 - this program once more


def _works(command: "list[str]", environment: Dict[str, str]) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0  # a qemu that does not know the CPU says so


def _executable() -> str:
    """The file name of the program that really runs."""
    try:
        return Path(os.readlink("/proc/thread-self/exe")).name
    except OSError:
        return ""
