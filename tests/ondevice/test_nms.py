import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_edge.ondevice.nms import MAX_CANDIDATES, nms


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (both - width * height))


def greedy(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, limit: float, agnostic: bool) -> list[int]:
    """The definition, slowly."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        same = [k for k in kept if agnostic or classes[k] == classes[i]]
        if all(iou(boxes[i].astype(float), boxes[k].astype(float)) <= limit for k in same):
            kept.append(int(i))
    return kept


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 40),
    limit=st.sampled_from([0.2, 0.45, 0.7]),
    agnostic=st.booleans(),
)
@settings(max_examples=150)
def test_equals_the_definition(seed: int, count: int, limit: float, agnostic: bool) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-50, 300, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 120, (count, 2))], axis=1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.1, 0.9, count)).astype(np.float32)
    classes = rng.integers(0, 3, count)
    kept = nms(boxes, scores, classes, limit, 300, agnostic)
    assert kept.tolist() == greedy(boxes, scores, classes, limit, agnostic)


@pytest.mark.parametrize("class_id", [0, 79, 9999])
def test_far_classes_do_not_lose_precision(class_id: int) -> None:
    # two boxes of IoU 0.5 exactly at the edge of what suppresses
    boxes = np.array([[0, 0, 30, 10], [10, 0, 40, 10]], np.float32)
    scores, classes = np.array([0.9, 0.8], np.float32), np.full(2, class_id)
    assert len(nms(boxes, scores, classes, 0.501, 300)) == 2
    assert len(nms(boxes, scores, classes, 0.499, 300)) == 1


def test_keeps_the_best_of_many() -> None:
    boxes = np.array([[i * 20, 0, i * 20 + 10, 10] for i in range(10)], np.float32)
    scores = np.linspace(0.1, 0.9, 10).astype(np.float32)
    assert nms(boxes, scores, np.zeros(10, int), 0.5, 3).tolist() == [9, 8, 7]


def test_nothing_in_nothing_out() -> None:
    kept = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), 0.5, 300)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


def test_of_very_many_boxes_the_best_are_compared() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1e5, (MAX_CANDIDATES + 100, 2))
    boxes = np.concatenate([corners, corners + 1], axis=1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.1, 0.9, len(boxes))).astype(np.float32)
    kept = nms(boxes, scores, np.zeros(len(boxes), np.int64), 0.5, 10**6)
    assert len(kept) <= MAX_CANDIDATES
    assert scores[kept[0]] == scores.max()
    assert (np.diff(scores[kept]) <= 0).all()
