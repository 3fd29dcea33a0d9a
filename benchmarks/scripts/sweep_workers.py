"""How much faster accuracy work is on two worker processes than on one.

    python benchmarks/scripts/sweep_workers.py yolo-fastest-1.1-320-fp32.onnx --data coco128.yaml

Detects in the pictures of a dataset with one and with two workers in turn, as `yolo-edge sweep` does, with the same
chunks and the same code; the time runs from the first chunk that is there to the last, so that starting the processes,
which a sweep does once, is not in it. Prints the ratio of each round, their median, and how busy the machine was:
where other programs use the processors there is nothing to gain.
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from yolo_edge.datasets import read_dataset
from yolo_edge.evaluation.parallel import ChunkedWork, Options
from yolo_edge.evaluation.pool import LocalWorkers
from yolo_edge.ondevice.agent.machine import conditions


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="an exported file")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    dataset = read_dataset(options.data, split=options.split)
    sha256 = hashlib.sha256(options.model.read_bytes()).hexdigest()
    print(f"{options.model.name}, {len(dataset.paths)} pictures, {os.cpu_count()} CPUs")
    ratios = []
    for number in range(options.rounds):
        seconds = {}
        for workers in (1, 2) if number % 2 else (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                work = ChunkedWork([(options.model, sha256)], dataset, Options(), Path(folder))
                seconds[workers] = _seconds(work, workers)
        ratios.append(seconds[1][0] / seconds[2][0])
        print(
            f"round {number + 1}: one {seconds[1][0]:.2f} s, two {seconds[2][0]:.2f} s, ratio {ratios[-1]:.2f}; "
            f"the machine's idle share meanwhile {seconds[1][1]:.0%} and {seconds[2][1]:.0%}"
        )
    print(f"median ratio {np.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


def _seconds(work: ChunkedWork, workers: int) -> tuple[float, float]:
    """From the first chunks to the last, per chunk in between; and the idle share of the machine."""
    stamps: list[float] = []
    begun = conditions()
    work.run(LocalWorkers(workers), lambda _: stamps.append(time.perf_counter()))
    ended = conditions()
    busy = (ended["busy_s"] or 0) - (begun["busy_s"] or 0)
    idle = 1 - busy / ((ended["time"] - begun["time"]) * (os.cpu_count() or 1))
    first = workers  # each worker's first chunk is late by its start
    return (stamps[-1] - stamps[first - 1]) / (len(stamps) - first), max(idle, 0.0)


if __name__ == "__main__":
    main()
