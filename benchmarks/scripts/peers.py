"""From picture to boxes: `Detector` on each runtime against other programs, in one interleaved run.

    pip install openvino ncnn; pip install --no-deps pnnx; pip install "opencv-python-headless<5"
    python benchmarks/scripts/peers.py yolo-fastest-1.1.cfg --image dog.jpg --threads 1,2
    python benchmarks/scripts/peers.py yolov8n.onnx --image dog.jpg --threads 1

MODEL is a darknet .cfg (its .weights beside it) or another trainer's .onnx of the yolov8 kind ([1, 4 + classes, N]).
Ours are fp32 files made in memory, with float32 and with uint8 input; on OpenVINO also with `fast` (16-bit floats).
The others, each as its users write it:

- OpenCV DNN: `readNetFromDarknet` (or `readNetFromONNX` of the trainer's file), `blobFromImage`, rows, NMS
- plain onnxruntime: `blobFromImage`, all cells decoded, NMS
- ncnn: the model as pnnx converts it, with its defaults; OpenCV resizes, and our code decodes: both in its favour
- Ultralytics: `YOLO(MODEL)` on the trainer's .onnx

What is not installed is left out, and named. That all find the same is checked first: the same classes, IoU of 0.9 and
more, confidence within 0.02, for all that either finds above 0.3.

--also takes other files of ours of the same model, such as int8 ones; they may find something else, and say how many.

Prints a Markdown table: medians in ms, and the whole path as a multiple of the fastest other program's, from paired
rounds, with the 95 % interval. A process keeps the luck of its start, some percent of it: several measure, one after
the other, and the interval has what they differ by. Each is called once before, uncounted: the others had the caches.
Rounds in which the kernel took the processor from one of both are left out, where enough others are there. Where they
are not, and one thread computes, its CPU time stands for the time, and the table says so. With several threads there
are pauses between the calls: threads of some runtimes spin.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from yolo_edge.benchmarks.scripts.against_opencv import with_pauses
from yolo_edge.benchmarks.scripts.peers_sides import check_same, sides_of
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.export.load import load_model
from yolo_edge.ondevice.images import read_image
from yolo_edge.timing import Seconds, interleave, paired_ratio

LEAST_ROUNDS = 30  # undisturbed


class Watched:
    """A call, how often the kernel took the processor away meanwhile, and the CPU time of the process."""

    def __init__(self, call: Callable[[], object]):
        self.call = call
        self.switches: list[int] = []
        self.cpu_s: list[float] = []

    def __call__(self) -> None:
        """Make the call."""
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.process_time()
        self.call()
        self.cpu_s.append(time.process_time() - begun)
        self.switches.append(resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before)


def warmed(calls: Mapping[str, Watched]) -> dict[str, Callable[[], object]]:
    """The same calls, each after one that is not looked at: the others had the caches meanwhile."""
    result: dict[str, Callable[[], object]] = {}
    for name, call in calls.items():
        result |= {f"{name}: warm": call.call, name: call}
    return result


@dataclass(frozen=True)
class Rounds:
    """What was measured of one call, an element a round.

    Attributes:
        wall_s: Seconds.
        cpu_s: CPU time of the process.
        switches: How often the kernel took the processor away.
    """

    wall_s: Seconds
    cpu_s: Seconds
    switches: Seconds


@dataclass(frozen=True)
class Repeat:
    """What one process measured.

    Attributes:
        rounds: Of each call.
        found: How many detections each side has.
        ours: The sides that are `Detector`.
        left_out: What was not measured, and why.
        size: Width and height of the input.
    """

    rounds: Mapping[str, Rounds]
    found: Mapping[str, int]
    ours: frozenset[str]
    left_out: Sequence[str]
    size: tuple[int, int]


def repeat(model: Path, also: Sequence[Path], image: Path, threads: int, seconds: float, folder: Path) -> Repeat:
    """Measure all sides, in this process."""
    cv2.setNumThreads(threads)
    picture = read_image(image)
    source = load_model(model) if model.suffix == ".cfg" else import_onnx(model)
    sides, left_out = sides_of(model, source, also, picture, threads, folder)
    found = check_same(sides, picture)
    calls = {f"{name}: whole": Watched(partial(side.find, picture)) for name, side in sides.items()}
    calls |= {f"{name}: inference": Watched(side.infer) for name, side in sides.items()}
    samples = interleave(with_pauses(warmed(calls)) if threads > 1 else warmed(calls), seconds=seconds)
    # the first call is not timed
    rounds = {
        name: Rounds(samples[name], np.array(call.cpu_s[1:]), np.array(call.switches[1:], np.float64))
        for name, call in calls.items()
    }
    ours = frozenset(name for name, side in sides.items() if side.ours)
    return Repeat(rounds, found, ours, left_out, (source.spec.input.width, source.spec.input.height))


def stacked(arrays: Sequence[Seconds]) -> Seconds:
    """[repeats, rounds], NaN behind the end of the shorter ones."""
    longest = max(map(len, arrays))
    return np.stack([np.pad(array, (0, longest - len(array)), constant_values=np.nan) for array in arrays])


class Times:
    """One call in all processes: wall time of undisturbed rounds, or the CPU time of all."""

    def __init__(self, rounds: Sequence[Rounds], threads: int):
        quiet = stacked([one.switches for one in rounds]) == 0
        wall = stacked([one.wall_s for one in rounds])
        enough = quiet.sum() >= LEAST_ROUNDS
        self.by_cpu = not enough and threads == 1
        self.cpu = stacked([one.cpu_s for one in rounds])
        self.wall = np.where(quiet, wall, np.nan) if enough else wall
        self.median = float(np.nanmedian(self.cpu if self.by_cpu else self.wall))

    def ratio(self, other: "Times", threads: int) -> str:
        """This as a multiple of the other, in words."""
        both = int(np.isfinite(self.wall * other.wall).sum())
        if (self.by_cpu or other.by_cpu or both < LEAST_ROUNDS) and threads == 1:
            return f"{paired_ratio(self.cpu, other.cpu)} of CPU time, {int(np.isfinite(self.cpu).sum())} rounds"
        return f"{paired_ratio(self.wall, other.wall)}, {both} rounds"


def measure(options: argparse.Namespace, threads: int, folder: Path) -> None:
    """Print the table for one number of threads."""
    repeats: list[Repeat] = []
    arguments = (options.model, options.also, options.image, threads, options.seconds / options.processes, folder)
    for _ in range(options.processes):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            repeats.append(pool.submit(repeat, *arguments).result())
    first = repeats[0]
    times = {name: Times([one.rounds[name] for one in repeats], threads) for name in first.rounds}
    whole = {name: times[f"{name}: whole"] for name in first.found}
    best = min((name for name in whole if name not in first.ours), key=lambda name: whole[name].median)
    count = sum(len(next(iter(one.rounds.values())).wall_s) for one in repeats)
    title = f"{options.model.name}, {first.size[0]}x{first.size[1]}, threads {threads}"
    print(f"\n{title}, {count} rounds in {len(repeats)} processes")
    print(
        f"\n| | found | whole path, ms | inference, ms | whole path, as a multiple of {best} |\n|---|--:|--:|--:|---|"
    )
    for name in sorted(whole, key=lambda name: whole[name].median):
        alone = times[f"{name}: inference"]
        compared = "1" if name == best else whole[name].ratio(whole[best], threads)
        cells = [f"{one.median * 1e3:.2f}{' (CPU)' if one.by_cpu else ''}" for one in (whole[name], alone)]
        print(f"| {name} | {first.found[name]} | {cells[0]} | {cells[1]} | {compared} |")
    for text in first.left_out:
        print(f"\nNot measured: {text}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help=".cfg or .onnx")
    parser.add_argument("--also", type=Path, nargs="*", default=[], metavar="FILE", help="other files of ours of it")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], metavar="N,M")
    parser.add_argument("--seconds", type=float, default=60, help="for each number of threads")
    parser.add_argument("--processes", type=int, default=6, metavar="N", help="each measures a part of the time")
    options = parser.parse_args()
    if options.model.suffix == ".cfg" and not hasattr(cv2.dnn, "readNetFromDarknet"):
        parser.error(f"OpenCV {cv2.__version__} has no darknet importer: pip install 'opencv-python-headless<5'")
    with tempfile.TemporaryDirectory() as folder:
        for threads in options.threads:
            measure(options, threads, Path(folder))


if __name__ == "__main__":
    main()
