"""Whether a wheel of yolo-edge installs and works, Python by Python.

    python tools/check_wheels.py dist/yolo_edge-*.whl

Of each Python that `setup.cfg` names: pip is asked whether all that `[all]` needs has wheels, for x86-64 and for 64-bit
ARM; and where this machine is one of them and has that Python, the wheel is installed into an empty environment and
exports the sample model to both formats, in fp32 and int8, and finds as many codes in sixteen scenes with each file.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.frame.tools import find_python

ROOT = Path(__file__).parent.parent
PYTHONS = re.findall(r"(?m)^    Programming Language :: Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text())
MACHINES = ("x86_64", "aarch64")
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)  # 2.x; Debian 12 has 2.36

_SMOKE = """
import json, subprocess, sys
from importlib.metadata import version
from pathlib import Path
import cv2
from yolo_edge import Detector
from yolo_edge.sample import CFG, NAMES
from yolo_edge.sample.scenes import scene

program = Path(sys.executable).with_name("yolo-edge")
pictures = Path("pictures")
pictures.mkdir()
for index in range(16):
    cv2.imwrite(str(pictures / f"{index}.png"), scene(3, index).image)
command = [program, "export", CFG, "-o", "out", "--names", NAMES, "--format", "onnx,tflite", "--precision", "fp32,int8"]
subprocess.run([*command, "--calibration", pictures], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
files = [file for file in sorted(Path("out").iterdir()) if file.suffix != ".json"]
found = {}
for file in files:
    detector = Detector(file)
    found[file.name] = sum(len(detector(cv2.imread(str(picture)))) for picture in sorted(pictures.iterdir()))
truth = found["codes-320-fp32.onnx"]
assert len(found) == 4 and truth == found["codes-320-fp32.tflite"] >= 10, found
assert all(abs(count - truth) <= 2 for count in found.values()), found  # int8: some are near the threshold
libraries = ("numpy", "opencv-python-headless", "onnxruntime", "ai-edge-litert", "onnx", "onnx-ir")
versions = ", ".join(f"{name} {version(name)}" for name in libraries)
print(f"{sys.version.split()[0]}, {versions}: {json.dumps(found)}")
"""


def main() -> None:
    """Print a line a Python and machine; exit with 1 where something is missing or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--no-run", action="store_true", help="ask pip alone")
    options = parser.parse_args()
    wheel, failed = options.wheel.resolve(), False
    for version in PYTHONS:
        python = find_python(version)
        if python is None:
            print(f"{version}: not on this machine, so nothing was checked")
            continue
        for machine in MACHINES:
            failed |= _say(f"{version} {machine}: wheels", _resolve(python, wheel, version, machine))
        if not options.no_run:
            failed |= _say(f"{version} here", _run(python, wheel))
    sys.exit(failed)


def _say(what: str, answer: "subprocess.CompletedProcess[str]") -> bool:
    failed = answer.returncode != 0
    lines = [line for line in answer.stderr.splitlines() if "ERROR" in line or "Error" in line] or [""]
    print(f"{what}: {'FAILED: ' + lines[-1] if failed else answer.stdout.strip().splitlines()[-1]}", flush=True)
    return failed


def _resolve(python: Path, wheel: Path, version: str, machine: str) -> "subprocess.CompletedProcess[str]":
    """Ask pip, run by that Python since it takes markers from there, what it would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--target", f"{folder}/target", "--only-binary=:all:", "--report", report]
        command += [
            "--python-version",
            version,
            "--platform",
            f"linux_{machine}",
            "--platform",
            f"manylinux2014_{machine}",
        ]
        command += [word for minor in _GLIBC for word in ("--platform", f"manylinux_2_{minor}_{machine}")]
        done = subprocess.run([*command, f"{wheel}[all]"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            count = len(json.loads(report.read_text())["install"])
            done.stdout = f"all of {count} packages"
    return done


def _run(python: Path, wheel: Path) -> "subprocess.CompletedProcess[str]":
    """Install it into an empty environment and let it work."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", f"{folder}/venv"], check=True)
        programs = Path(folder) / "venv" / "bin"
        install = [
            programs / "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            f"{wheel}[all]",
        ]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            return done
        return subprocess.run(
            [programs / "python", "-c", _SMOKE], cwd=folder, capture_output=True, text=True, check=False
        )


if __name__ == "__main__":
    main()
