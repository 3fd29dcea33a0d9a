import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.random_boxes import pycocotools_map, random_case
from yolo_edge import Detections
from yolo_edge.evaluation import METRICS, Accuracy, Found, Truth, differences, evaluate


def ours(accuracy: Accuracy) -> dict[str, float | None]:
    return {metric: accuracy.value(metric) for metric in METRICS} | dict(accuracy.by_size)


@pytest.mark.parametrize(
    ("seed", "images", "classes", "noise", "ties"),
    [(0, 30, 3, 5, True), (1, 60, 8, 10, False), (2, 1, 1, 3, True), (3, 100, 20, 100, True), (4, 8, 1, 400, True)],
)
def test_equals_pycocotools(seed: int, images: int, classes: int, noise: int, ties: bool) -> None:
    case = random_case(seed, images, classes, noise, ties)
    assert ours(evaluate(case.truth, case.found)) == pytest.approx(pycocotools_map(case), abs=1e-9)


@pytest.mark.parametrize("limit", [1, 10, 100])
def test_equals_pycocotools_with_other_limits(limit: int) -> None:
    case = random_case(7, 10, 2, 150)
    assert ours(evaluate(case.truth, case.found, max_detections=limit)) == pytest.approx(
        pycocotools_map(case, limit), abs=1e-9
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), images=st.integers(1, 6), classes=st.integers(1, 3))
def test_equals_pycocotools_on_small_cases(seed: int, images: int, classes: int) -> None:
    case = random_case(seed, images, classes)
    if len(case.truth.image) and len(case.found.image):
        assert ours(evaluate(case.truth, case.found)) == pytest.approx(pycocotools_map(case), abs=1e-9)


def test_no_labels_and_no_detections() -> None:
    case = random_case(0, 10, 2)
    nothing = case.found.select(np.zeros(len(case.found.image), bool))
    assert evaluate(case.truth, nothing).value("mAP50") == 0
    none = np.empty(0, np.int64)
    empty = Truth(10, 2, none, none, np.empty((0, 4)), np.empty(0), none > 0, none > 0)
    accuracy = evaluate(empty, case.found)
    assert accuracy.value("mAP50_95") is None
    assert accuracy.per_class == {}
    assert set(accuracy.by_size.values()) == {None}
    assert differences([accuracy, accuracy]) == [{"mAP50": None, "mAP50_95": None}]


def test_difficult_labels_count_for_nothing() -> None:
    # VOC: to find them is neither right nor wrong, to miss them neither
    labels = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], float)
    zeros, crowd = np.zeros(2, int), np.zeros(2, bool)
    truth = Truth(1, 1, zeros, zeros, labels, np.array([100.0, 400]), crowd, np.array([False, True]))
    both = Found(1, zeros, zeros, labels, np.array([0.5, 0.9]))
    assert evaluate(truth, both).value("mAP50_95") == pytest.approx(1)
    assert evaluate(truth, both.select(np.array([True, False]))).value("mAP50_95") == pytest.approx(1)
    counted = dataclasses.replace(truth, ignored=crowd)
    assert evaluate(counted, both.select(np.array([True, False]))).value("mAP50") == pytest.approx(51 / 101)
    # a second box on a difficult label is a mistake, as it would be on another; on a crowd it is none
    twice = Found(1, np.zeros(3, int), np.zeros(3, int), labels[[0, 1, 1]], np.array([0.5, 0.9, 0.8]))
    assert evaluate(truth, twice).value("mAP50") == pytest.approx(0.5)
    assert evaluate(dataclasses.replace(truth, crowd=np.array([False, True])), twice).value("mAP50") == pytest.approx(1)


def test_only_some_classes_count() -> None:
    case = random_case(5, 40, 4)
    accuracy = evaluate(case.truth, case.found)
    some = evaluate(case.truth, case.found, classes=np.array([1, 3]))
    assert set(some.per_class) == {1, 3}
    assert some.value("mAP50") == pytest.approx(np.mean([accuracy.per_class[i]["mAP50"] for i in (1, 3)]))
    assert accuracy.boxes.tolist() == [int((case.truth.class_id[~case.truth.crowd] == i).sum()) for i in range(4)]


def test_found_in_other_classes() -> None:
    pictures = [
        Detections(np.zeros((2, 4), np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 2])),
        Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)),
        Detections(np.ones((1, 4), np.float32), np.array([0.5], np.float32), np.array([1])),
    ]
    found = Found.of_detections(pictures)
    assert found.image.tolist() == [0, 0, 2]
    mapped = found.in_classes(np.array([7, -1, 3]))
    assert mapped.class_id.tolist() == [7, 3]
    assert mapped.image.tolist() == [0, 0]
    assert Found.of_detections([]).images == 0


def test_as_many_pictures() -> None:
    case = random_case(0, 3, 1)
    with pytest.raises(ValueError, match="got 3 and 4"):
        evaluate(case.truth, dataclasses.replace(case.found, images=4))
