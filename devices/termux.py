"""Termux, a Linux userland as an Android app: its Python takes no wheels, its packages have what models need.

Android's C library is not the one that wheels are made for, so everything comes from Termux' own repository.
"""

from collections.abc import Mapping
from typing import Any

PACKAGES = ("python-numpy", "opencv-python", "python-onnxruntime")
# answers to questions of dpkg about files that were changed by hand: they stay as they are
INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "Dpkg::Options::=--force-confold")

NOTES = (
    "no TFLite: Termux has no package of LiteRT; .onnx files run there",
    "removed again with: apt-get remove " + " ".join(PACKAGES),
)

_HOME = "/data/data/com.termux/"


def is_termux(python: Mapping[str, Any]) -> bool:
    """Whether a Python is Termux'.

    Args:
        python: See `yolo_edge.ondevice.agent.facts.python_facts`.
    """
    return str(python.get("executable") or "").startswith(_HOME)
