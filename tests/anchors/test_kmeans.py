import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_edge.anchors import UPDATES, cluster, score
from yolo_edge.ondevice.errors import InputError


def boxes_of(seed: int, count: int, spread: float = 0.9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(4, spread, (count, 1)) + rng.normal(0, 0.4, (count, 2)))


def plain_score(boxes: np.ndarray, anchors: np.ndarray) -> tuple[float, float]:
    """Average IoU and best possible recall, box by box."""
    total = recalled = 0.0
    for w, h in boxes:
        overlaps = [min(w, a) * min(h, b) / (w * h + a * b - min(w, a) * min(h, b)) for a, b in anchors]
        total += max(overlaps)
        recalled += min(max(w / a, a / w, h / b, b / h) for a, b in anchors) < 4
    return total / len(boxes), recalled / len(boxes)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), k=st.integers(1, 7))
def test_score_is_as_defined(seed: int, count: int, k: int) -> None:
    boxes, anchors = boxes_of(seed, count, 2), boxes_of(seed + 1, k, 2)
    found = score(boxes, anchors)
    assert (found.avg_iou, found.bpr) == pytest.approx(plain_score(boxes, anchors))
    assert found.share.sum() == pytest.approx(1)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 200), k=st.integers(1, 12), update=st.sampled_from(UPDATES))
def test_invariants(seed: int, count: int, k: int, update: str) -> None:
    boxes = boxes_of(seed, count).round(seed % 3)
    distinct = len(np.unique(boxes, axis=0))
    if k > distinct:
        with pytest.raises(InputError, match=f"k = {k}: there are {distinct} distinct boxes among {count}"):
            cluster(boxes, k, update=update)
        return
    found = cluster(boxes, k, update=update, starts=4)
    assert found.anchors.shape == (k, 2)
    areas = found.anchors.prod(axis=1)
    assert (np.diff(areas) >= -1e-3 * areas[1:]).all()
    # anchors lie among the boxes (and are rounded to five digits)
    assert (found.anchors >= boxes.min(axis=0) * (1 - 1e-4)).all()
    assert (found.anchors <= boxes.max(axis=0) * (1 + 1e-4)).all()
    assert 0 < found.avg_iou <= 1 + 1e-12
    assert (found.share >= 0).all()
    again = cluster(boxes, k, update=update, starts=4)
    np.testing.assert_array_equal(found.anchors, again.anchors)


def test_units_do_not_matter() -> None:
    boxes = boxes_of(0, 300)
    found, scaled = cluster(boxes, 5), cluster(boxes / 1024, 5)
    np.testing.assert_allclose(scaled.anchors * 1024, found.anchors, rtol=1e-4)
    assert scaled.avg_iou == pytest.approx(found.avg_iou, abs=1e-4)


def test_as_many_anchors_as_boxes_fit_perfectly() -> None:
    boxes = np.array([[10, 20], [30, 5], [200, 100], [10, 20], [55, 55]], float)
    for update in UPDATES:
        found = cluster(boxes, 4, update=update)
        np.testing.assert_allclose(found.anchors, [[30, 5], [10, 20], [55, 55], [200, 100]])
        assert found.avg_iou == pytest.approx(1)
        assert found.share.tolist() == [0.2, 0.4, 0.2, 0.2]


def test_planted_clusters_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10, 12], [40, 20], [25, 70], [150, 90], [300, 320]], float)
    boxes = np.concatenate([centre * np.exp(rng.normal(0, 0.05, (200, 2))) for centre in centres])
    for update in UPDATES:
        np.testing.assert_allclose(cluster(boxes, 5, update=update).anchors, centres, rtol=0.03)


def test_one_mean_and_one_median() -> None:
    boxes = np.array([[1, 1], [2, 2], [3, 3], [4, 4], [90, 50]], float)
    assert cluster(boxes, 1, update="mean").anchors.tolist() == [[20, 12]]
    assert cluster(boxes, 1, update="median").anchors.tolist() == [[3, 3]]


def test_seeds() -> None:
    boxes = boxes_of(3, 2000)
    one, same = cluster(boxes, 9, seed=1, starts=1), cluster(boxes, 9, seed=1, starts=1)
    np.testing.assert_array_equal(one.anchors, same.anchors)
    assert any((cluster(boxes, 9, seed=seed, starts=1).anchors != one.anchors).any() for seed in range(2, 6))
    assert cluster(boxes, 9, starts=16).avg_iou >= cluster(boxes, 9, starts=1).avg_iou


@pytest.mark.parametrize("update", UPDATES)
def test_many_boxes_in_bins(update: str) -> None:
    # beyond 32 768 boxes they are binned: that costs almost nothing of the average IoU
    boxes = boxes_of(5, 40_000)
    binned = cluster(boxes, 6, update=update, starts=8)
    whole = cluster(boxes[:32_000], 6, update=update, starts=8)
    assert binned.avg_iou >= score(boxes, whole.anchors).avg_iou - 0.002
    assert score(boxes, binned.anchors).avg_iou == pytest.approx(binned.avg_iou)


def test_many_equal_boxes() -> None:
    boxes = np.tile([[10.0, 10.0], [10.0, 10.1]], (40_000, 1))  # one bin, two boxes
    assert cluster(boxes, 2).anchors.tolist() == [[10, 10], [10, 10.1]]
    with pytest.raises(InputError, match="k = 3: there are 2 distinct boxes among 80000"):
        cluster(boxes, 3)


@pytest.mark.parametrize(
    "bad", [[[np.nan, 1]], [[1, np.inf]], [[0, 1]], [[1, -2]], np.empty((0, 2)), [[1, 2, 3]], [1, 2]]
)
def test_bad_boxes(bad: object) -> None:
    array = np.array(bad, float)
    with pytest.raises(InputError, match="expected"):
        cluster(array, 1)
    with pytest.raises(InputError, match="expected"):
        score(np.ones((1, 2)), array)


def test_options() -> None:
    boxes = boxes_of(0, 10)
    with pytest.raises(InputError, match="update: expected median or mean, got 'mode'"):
        cluster(boxes, 2, update="mode")
    for options in ({"k": 0}, {"k": -1}, {"k": 1001}, {"k": 2, "starts": 0}):
        with pytest.raises(InputError, match=r"expected k of 1\.\.1000 and 1\.\.1000 starts"):
            cluster(boxes, **options)  # type: ignore[arg-type]
