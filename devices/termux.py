"""Termux, a Linux userland as an Android app: its Python takes no wheels, its packages have what models need.

Android's C library is not the one that wheels are made for, so everything comes from Termux' own repository.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from yolo_edge.devices.device import DeviceError

# answers to questions of dpkg about files that were changed by hand: they stay as they are
INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "Dpkg::Options::=--force-confold")

_LIBRARIES = ("python-numpy", "opencv-python")
_HOME = "/data/data/com.termux/"


def is_termux(python: Mapping[str, Any]) -> bool:
    """Whether a Python is Termux'.

    Args:
        python: See `yolo_edge.ondevice.agent.facts.python_facts`.
    """
    return str(python.get("executable") or "").startswith(_HOME)


def packages(name: str, runtimes: Sequence[str]) -> tuple[str, ...]:
    """What to install for those of these runtimes that Termux has.

    Args:
        name: Of the device, for messages.
        runtimes: Of `yolo_edge.ondevice.runtimes.RUNTIMES`.

    Raises:
        DeviceError: It has none of them.
    """
    if not {"onnxruntime", "opencv"} & set(runtimes):
        raise DeviceError(f"{name}: Termux has no package of {' or '.join(runtimes)}: --runtime onnxruntime, or opencv")
    return (*_LIBRARIES, *(["python-onnxruntime"] if "onnxruntime" in runtimes else []))


def notes(runtimes: Sequence[str]) -> tuple[str, ...]:
    """What to know of those packages, and how to be rid of them; `runtimes` as for `packages`."""
    missing = [runtime for runtime in ("tflite", "openvino") if runtime in runtimes]
    return (
        *([f"Termux has no package of {' or '.join(missing)}: .onnx files run there"] if missing else []),
        "removed again with: apt-get remove " + " ".join(packages("", runtimes)),
    )
