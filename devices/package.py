"""What travels to a device, as a zip."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import yolo_edge

_MAIN = """\
import sys

from yolo_edge.ondevice.agent.emulation import become_stated_cpu

become_stated_cpu()

from yolo_edge.ondevice.agent.server import main

main(sys.argv[1:])
"""
_TIME = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip


def agent_zip() -> bytes:
    """The agent and all that it may import of ours; Python runs the zip, or the folder that it is unpacked into."""
    return package_zip(("__init__.py", "_version.py", "ondevice/**/*.py"), "__main__.py", _MAIN)


def package_zip(patterns: Sequence[str], name: str, program: str) -> bytes:
    """Files of ours, and a program that uses them.

    Args:
        patterns: Of files in the package `yolo_edge`.
        name: Of the program, beside the package.
        program: Its text.
    """
    package = Path(yolo_edge.__file__).parent
    sources = sorted({path for pattern in patterns for path in package.glob(pattern)})
    files = {f"yolo_edge/{path.relative_to(package).as_posix()}": path.read_bytes() for path in sources}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in {**files, name: program.encode()}.items():
            archive.writestr(zipfile.ZipInfo(entry, _TIME), data, zipfile.ZIP_DEFLATED)
    return target.getvalue()
