"""What travels to a device, as a zip."""

import io
import zipfile
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
    package = Path(yolo_edge.__file__).parent
    sources = [package / "__init__.py", package / "_version.py", *sorted((package / "ondevice").rglob("*.py"))]
    files = {f"yolo_edge/{path.relative_to(package).as_posix()}": path.read_bytes() for path in sources}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, "__main__.py": _MAIN.encode()}.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return target.getvalue()
