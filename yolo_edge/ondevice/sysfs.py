"""Files of the kernel under a root: /sys and /proc of this machine, or a recorded tree of another."""

import os
import shutil
from pathlib import Path
from typing import List, Optional

_MODEL_FILES = (
    "sys/firmware/devicetree/base/model",
    "proc/device-tree/model",
    "sys/devices/virtual/dmi/id/product_name",
)
# where programs of the boards' makers lie
_PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/local/bin", "opt/vc/bin")


def matches(folder: Path, pattern: str) -> List[Path]:
    """Paths in a folder that fit a pattern, sorted; none where there is no such folder."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def read_text(path: Path) -> str:
    """A file's text without the spaces around it; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):
        return ""


def read_number(path: Path) -> Optional[float]:
    """The whole number in a file; None where there is none."""
    try:
        return float(int(read_text(path)))
    except ValueError:
        return None


def board_model(root: Path) -> Optional[str]:
    """What the board calls itself, of the device tree or the firmware; None where it does not tell."""
    return next(filter(None, (read_text(root / name).rstrip("\0") for name in _MODEL_FILES)), None)


def find_program(name: str, root: Path) -> Optional[str]:
    """The path of a program that is installed under a root; of this machine's those on PATH, too."""
    places = os.pathsep.join(str(root / folder) for folder in _PROGRAM_FOLDERS)
    found = shutil.which(name) if root == Path("/") else None
    return found or shutil.which(name, path=places)
