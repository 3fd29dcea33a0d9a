"""Anchor clustering: time and average IoU of ours and of what people use instead, on the same boxes, in one run.

    pip install scikit-learn scipy
    python benchmarks/scripts/anchors.py                                 # 860 000 boxes like COCO train's, k = 9
    python benchmarks/scripts/anchors.py --labels instances_val2017.json  # drawn from real ones, each with 10 % noise

Each row is a whole call on one thread, the median of `--rounds`. `plain numpy` is k-means in darknet's manner on all
boxes (random boxes to start with, 1 − IoU, the mean). `--reference`: the best average IoU of 20 starts of ours that go
through all boxes in every round; it takes minutes.
"""

import argparse
import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from collections.abc import Callable
from pathlib import Path

import numpy as np

from yolo_edge.anchors import cluster, score
from yolo_edge.anchors.boxes import box_sizes
from yolo_edge.datasets import read_dataset
from yolo_edge.timing import interleave

Boxes = np.ndarray
SIZE = (416, 416)


def make_boxes(labels: Path | None, count: int, seed: int) -> Boxes:
    """Widths and heights like those of COCO at 416."""
    rng = np.random.default_rng(seed)
    if labels is None:
        side = np.exp(rng.normal(3.6, 1.15, (count, 1)) + rng.normal(0, 0.33, (count, 2)))
        return np.clip(side, 1, SIZE)
    real = box_sizes(read_dataset(labels, training=True), SIZE, "letterbox").boxes
    return real[rng.integers(0, len(real), count)] * np.exp(rng.normal(0, 0.1, (count, 2)))


def plain_numpy(boxes: Boxes, k: int, update: Callable[[Boxes], Boxes], seed: int = 0, rounds: int = 300) -> Boxes:
    """k-means as darknet's `calc_anchors` does it, over all boxes."""
    rng = np.random.default_rng(seed)
    centres = boxes[rng.choice(len(boxes), k, replace=False)]
    before = np.empty(0)
    for _ in range(rounds):
        common = np.minimum(boxes[:, None], centres).prod(axis=2)
        nearest = (common / (boxes.prod(axis=1)[:, None] + centres.prod(axis=1) - common)).argmax(axis=1)
        if np.array_equal(nearest, before):
            break
        before = nearest
        centres = np.stack(
            [update(boxes[nearest == i]) if (nearest == i).any() else boxes[rng.integers(len(boxes))] for i in range(k)]
        )
    return centres


def with_sklearn(boxes: Boxes, k: int) -> Boxes:
    """Euclidean k-means."""
    from sklearn.cluster import KMeans  # noqa: PLC0415 - optional

    return np.asarray(KMeans(k, n_init=1, random_state=0).fit(boxes).cluster_centers_)


def with_scipy(boxes: Boxes, k: int) -> Boxes:
    """Euclidean k-means on whitened sides, as YOLOv5's autoanchor starts."""
    from scipy.cluster.vq import kmeans as scipy_kmeans  # noqa: PLC0415 - optional

    spread = boxes.std(axis=0)
    return np.asarray(scipy_kmeans(boxes / spread, k, iter=1, rng=0)[0] * spread)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, help="a dataset to draw boxes from")
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("-k", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="compare with the best of 20 full-data runs")
    options = parser.parse_args()
    boxes, k = make_boxes(options.labels, options.boxes, 0), options.k
    results: dict[str, Boxes] = {}

    def keep(name: str, find: Callable[[], Boxes]) -> Callable[[], None]:
        def call() -> None:
            results[name] = find()

        return call

    calls = {
        "ours, median": keep("ours, median", lambda: cluster(boxes, k).anchors),
        "ours, mean": keep("ours, mean", lambda: cluster(boxes, k, update="mean").anchors),
        "sklearn": keep("sklearn", lambda: with_sklearn(boxes, k)),
        "scipy, whitened": keep("scipy, whitened", lambda: with_scipy(boxes, k)),
        "plain numpy": keep("plain numpy", lambda: plain_numpy(boxes, k, lambda part: part.mean(axis=0))),
    }
    samples = interleave(calls, seconds=0, min_rounds=options.rounds)
    base = float(np.median(samples["ours, median"]))
    print(f"{len(boxes)} boxes, k = {k}, median of {options.rounds} rounds")
    for name in calls:
        seconds, fit = float(np.median(samples[name])), score(boxes, results[name])
        quality = f"average IoU {fit.avg_iou:.4f}   BPR {fit.bpr:.4f}"
        print(f"{name:16} {seconds:8.2f} s  {seconds / base:7.1f} x   {quality}")
    if options.reference:
        for update in ("median", "mean"):
            best = cluster(boxes, k, update=update, seed=1, starts=20, exact=True)
            print(f"best of 20 on all boxes, {update}: average IoU {best.avg_iou:.4f}")


if __name__ == "__main__":
    main()
