"""Measure what an installation takes on the disk, and which packages it is made of.

    python tools/install_size.py dist/yolo_edge-*.whl

Each row is installed by pip into a folder of its own, from the index that pip is set up for. The device's rows are what
`yolo-edge devices setup` installs on 64-bit boards, where modules are compiled when they are first used; of other
architectures the wheels are unpacked, not run. Elsewhere pip compiles all of them, unless it is told `--no-compile`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from yolo_edge.devices.wheels import USUAL, needs_of
from yolo_edge.ondevice.agent.facts import python_facts

MB = 1e6
_LARGEST = 5  # packages that are named
_GLIBC = (17, 24, 26, 27, 28, 31, 34, 35)  # 2.x, as in check_wheels.py; Debian 12 has 2.36
_THIS = "x86_64"
_DEVICES = (_THIS, "aarch64")
_RUNTIMES = (USUAL, ("onnxruntime",), ("tflite",), ("openvino",), ("opencv",))  # of `devices setup --runtime`


@dataclass(frozen=True)
class Installation:
    """One row.

    Attributes:
        name: What it is called.
        requirements: For pip.
        machine: The architecture of the wheels.
        aim: What the project would like to stay below, in MB; None: nothing.
        options: For `pip install`.
    """

    name: str
    requirements: tuple[str, ...]
    machine: str = _THIS
    aim: float | None = None
    options: tuple[str, ...] = ()


def main() -> None:
    """Print a row an installation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}; MB of 10^6 bytes")
    for item in _installations(options.wheel.resolve()):
        _print_size(item)


def _installations(wheel: Path) -> Iterator[Installation]:
    for machine in _DEVICES:
        for runtimes in _RUNTIMES:
            name, needed = f"device, {machine}, {','.join(runtimes)}", _device_requirements(machine, runtimes)
            yield Installation(name, needed, machine, 120, ("--no-compile",))
    yield Installation("yolo-edge", (str(wheel),))
    small = (f"{wheel}[export]", "onnx-ir<0.2")
    yield Installation("yolo-edge[export] onnx-ir<0.2, --no-compile", small, aim=250, options=("--no-compile",))
    for extra, aim in (("export", 250), ("export,tflite", 250), ("report", None), ("demo", None), ("all", None)):
        yield Installation(f"yolo-edge[{extra}]", (f"{wheel}[{extra}]",), aim=aim)


def _device_requirements(machine: str, runtimes: Sequence[str]) -> tuple[str, ...]:
    facts = {**python_facts(), "machine": machine, "bits": 64, "picamera2": False}
    return needs_of(machine, facts, {}, runtimes).requirements


def _print_size(item: Installation) -> None:
    """Fetch and install it, and print its row."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="yolo-edge-size-") as folder:
        wheels, target = Path(folder) / "wheels", Path(folder) / "target"
        there = ["--only-binary=:all:"]
        if item.machine != _THIS:
            names = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
            there += [word for name in names for word in ("--platform", f"{name}_{item.machine}")]
        _run([*pip, "download", *there, "--dest", wheels, *item.requirements])
        _run([*pip, "install", *item.options, *there, "--no-deps", "--target", target, *sorted(wheels.iterdir())])
        files = [file for file in target.rglob("*") if file.is_file()]
        compiled = sum(file.stat().st_size for file in files if file.suffix == ".pyc")
        total = sum(file.stat().st_size for file in files)
        fetched = sum(file.stat().st_size for file in wheels.iterdir())
        sizes = sorted(
            ((_bytes(found), found.metadata["Name"]) for found in distributions(path=[str(target)])), reverse=True
        )
    largest = ", ".join(f"{name} {size / MB:.0f}" for size, name in sizes[:_LARGEST])
    aim = "" if item.aim is None else f", aim {item.aim:.0f}"
    print(
        f"{item.name}: {total / MB:.0f} MB ({compiled / MB:.0f} compiled){aim}, {fetched / MB:.0f} MB fetched; "
        f"{len(sizes)} packages: {largest}",
        flush=True,
    )


def _run(command: "list[str | Path]") -> None:
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def _bytes(found: Distribution) -> int:
    paths = [Path(str(found.locate_file(file))) for file in found.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
