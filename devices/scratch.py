"""Folders of this machine for the time of a run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_edge.ondevice.agent.keeper import make_folder


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A private folder, removed at the end; where this process is killed before, by the next that makes one there.

    Args:
        parent: The folder that it is in; None: that of temporary files.
    """
    folder, descriptor = make_folder(Path(tempfile.gettempdir()) if parent is None else parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
