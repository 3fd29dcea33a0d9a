"""What the tests of this folder share: processes, virtual environments, and when two lists of detections agree."""

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(
    command: Sequence[str | Path], *, cwd: Path, status: int = 0, timeout: float = 120, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command that should end with `status`, with nothing of this process's Python set-up but `variables`."""
    words = [str(word) for word in command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "YOLO_EDGE_"))}
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert done.returncode == status, (
        f"{shlex.join(words)}: exit code {done.returncode}, expected {status}\n"
        f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    )
    return done


@contextmanager
def new_environment(folder: Path, python: str | Path = sys.executable) -> Iterator[Path]:
    """An empty virtual environment; gives the folder of its programs."""
    try:
        run([python, "-m", "venv", folder], cwd=folder.parent)
        yield folder / "bin"
    finally:  # hundreds of megabytes, and pytest keeps the folders of three runs
        shutil.rmtree(folder, ignore_errors=True)


def install(programs: Path, *requirements: str) -> None:
    """Let the environment's own pip install something."""
    # --no-compile: most of what comes along is never imported
    options = ["--disable-pip-version-check", "-q", "--no-compile"]
    run([programs / "python", "-m", "pip", "install", *options, *requirements], cwd=programs, timeout=600)


def find_python(*versions: str) -> Path | None:
    """A Python of one of these versions ("3.8"), the first that runs and can make environments."""
    for version in versions:
        on_path = shutil.which(f"python{version}")
        candidates = [Path(on_path)] if on_path else []
        for pyenv in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
            if pyenv:
                candidates += sorted(Path(pyenv).glob(f"versions/{version}*/bin/python"))
        # a shim of pyenv is on PATH even where it runs nothing
        for python in candidates:
            if _runs(python, version):
                return python
    return None


def _runs(python: Path, version: str) -> bool:
    ask = "import ensurepip, sys, venv; print(*sys.version_info[:2], sep='.')"
    done = subprocess.run([python, "-c", ask], capture_output=True, encoding="utf-8", timeout=60, check=False)
    return done.stdout == f"{version}\n"


def zip_device_part(folder: Path) -> Path:
    """A zip with what travels to a device, from which Python can import it."""
    package = folder / "device.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for file in (
            ROOT / "yolo_edge/__init__.py",
            ROOT / "yolo_edge/_version.py",
            *(ROOT / "yolo_edge/ondevice").rglob("*.py"),
        ):
            archive.write(file, file.relative_to(ROOT))
    return package


def assert_same_detections(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Same number and classes, confidence within 1e-3, boxes within half a pixel; both as `Detections.to_dicts`."""
    # the cap would leave it to the last bit which of the weakest are in
    assert 0 < len(expected) < 300, f"{len(expected)} detections: choose another network"
    left = list(found)
    for item in expected:
        # confidences may differ by less than their error, so the order says nothing
        same = next((other for other in left if _close(other, item)), None)
        assert same is not None, f"nothing like {item} among {left}"
        left.remove(same)
    assert not left, f"found too many: {left}"


def _close(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (
        (one["class"], one["class_id"]) == (other["class"], other["class_id"])
        and abs(one["confidence"] - other["confidence"]) <= 1e-3
        and all(abs(a - b) <= 0.5 for a, b in zip(one["box"], other["box"], strict=True))
    )
