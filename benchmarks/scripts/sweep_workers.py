"""How much faster the accuracy work of a sweep is on two worker processes than on one.

    python benchmarks/scripts/sweep_workers.py yolov5n-640-fp32.onnx --data coco128.yaml

Does all that `yolo-edge sweep` does to find accuracies, with its own code and an empty folder each time: starts the
processes, reads, preprocesses, infers, decodes and suppresses in them, keeps their answers, then matches with the
labels and finds the intervals. Each round does it with one and with two workers, in turn. Prints the seconds of all of
it, of the start (until the first chunk is there) and of matching and intervals, the ratio of each round, and how idle
the machine was before: where other programs use the processors there is less to gain, and no ratio of seconds means
anything. So it prints a second ratio, of processor seconds on the longest path: this process and its busiest worker.
It is what the seconds come to where nothing else runs, or a little less, as it has all of this process's work, and
also what workers lose to each other in caches and memory.
"""

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_edge.cli.sweep_steps import Accuracies, AccuracyWork
from yolo_edge.evaluation.parallel import Options
from yolo_edge.evaluation.pool import LocalWorkers
from yolo_edge.ondevice.agent.machine import conditions


@dataclass(frozen=True)
class Took:
    """Seconds: of all, until the first chunk was there, from the last chunk on; of processors on the longest path."""

    whole: float
    start: float
    end: float
    processor: float

    def __str__(self) -> str:
        parts = f"first chunk after {self.start:.1f} s, matching and intervals {self.end:.1f} s"
        return f"{self.whole:.1f} s ({parts}), {self.processor:.1f} s of a processor"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="exported files")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    models = [(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in options.models]
    plan = Accuracies(models, options.data, options.split, None, skip_bad=False, options=Options())
    ratios, paths = [], []
    for number in range(options.rounds):
        idle = _idle()
        took = {workers: _took(plan, workers) for workers in ((1, 2) if number % 2 else (2, 1))}
        ratios.append(took[1].whole / took[2].whole)
        paths.append(took[1].processor / took[2].processor)
        print(f"round {number + 1}, the machine {idle:.0%} idle before: ratio {ratios[-1]:.2f}, path {paths[-1]:.2f}")
        print(f"    one {took[1]}\n    two {took[2]}", flush=True)
    for what, found in (("seconds", ratios), ("processor seconds on the longest path", paths)):
        print(f"{what}: median ratio {np.median(found):.2f} [{min(found):.2f}, {max(found):.2f}]")


def _took(plan: Accuracies, workers: int) -> Took:
    stamps: list[float] = []
    spent: dict[int, float] = {}

    def look(_: str) -> None:
        stamps.append(time.perf_counter())
        for child in multiprocessing.active_children():
            if child.pid is not None:
                spent[child.pid] = _processor_seconds(child.pid)

    with tempfile.TemporaryDirectory() as folder:
        work = AccuracyWork(plan, Path(folder))
        begun, own = time.perf_counter(), time.process_time()
        work.run(LocalWorkers(workers), look, workers)
        ended, own_ended = time.perf_counter(), time.process_time()
        assert len(stamps) == work.chunks  # noqa: S101 - nothing was there before
    return Took(ended - begun, stamps[0] - begun, ended - stamps[-1], own_ended - own + max(spent.values()))


def _processor_seconds(pid: int) -> float:
    """Of a process, with those of its threads that ended; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return float(int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def _idle(seconds: float = 1.0) -> float:
    begun = conditions()
    time.sleep(seconds)
    ended = conditions()
    busy = (ended["busy_s"] or 0) - (begun["busy_s"] or 0)
    return max(1 - float(busy / ((ended["time"] - begun["time"]) * (os.cpu_count() or 1))), 0.0)


if __name__ == "__main__":
    main()
