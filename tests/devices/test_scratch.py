"""Folders of a run, and of runs that were killed."""

import subprocess
import sys
from pathlib import Path

from yolo_edge.devices.scratch import scratch_folder

HOLD = """
import sys
from pathlib import Path
from yolo_edge.devices.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "model.onnx").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_nothing_is_left(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder, scratch_folder(tmp_path) as other:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder != other
        (folder / "inside").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "yolo-edge-of-others").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        with scratch_folder(tmp_path):
            assert (held / "model.onnx").exists(), "its process lives"
        process.kill()
    assert (held / "model.onnx").exists()
    with scratch_folder(tmp_path):
        assert not held.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["yolo-edge-of-others"], "it says nothing of whose it is"
