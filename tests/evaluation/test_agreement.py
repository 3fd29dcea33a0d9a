import numpy as np
import pytest

from yolo_edge import Detections
from yolo_edge.evaluation import Found
from yolo_edge.evaluation import average_precision_50 as average_precision_of_found


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    array = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(array[:, :4].astype(np.float32), array[:, 4].astype(np.float32), array[:, 5].astype(np.int64))


def average_precision_50(labels: list[Detections], candidates: list[Detections]) -> float | None:
    return average_precision_of_found(Found.of_detections(labels), Found.of_detections(candidates))


ONE = detections((10, 10, 30, 30, 0.9, 0))
NOTHING = detections()


def test_equal_is_one() -> None:
    labels = [ONE, detections((0, 0, 5, 5, 0.5, 1), (50, 50, 90, 80, 0.4, 0)), NOTHING]
    assert average_precision_50(labels, labels) == pytest.approx(1)


def test_nothing_labelled_is_not_measured() -> None:
    assert average_precision_50([NOTHING], [ONE]) is None


def test_nothing_found_is_zero() -> None:
    assert average_precision_50([ONE], [NOTHING]) == 0


def test_by_hand() -> None:
    # a class of two labels, one of them found: recall ½, and 51 of COCO's 101 recall points have precision 1
    labels = [detections((10, 10, 30, 30, 1, 0), (60, 60, 90, 90, 1, 0))]
    assert average_precision_50(labels, [ONE]) == pytest.approx(51 / 101)
    # a better scored box in the wrong place halves the precision there
    worse = [detections((100, 100, 120, 120, 0.95, 0), (10, 10, 30, 30, 0.9, 0))]
    assert average_precision_50(labels, worse) == pytest.approx(51 / 101 / 2)
    # the wrong class, and an overlap below a half
    assert average_precision_50([ONE], [detections((10, 10, 30, 30, 0.9, 1))]) == 0
    assert average_precision_50([ONE], [detections((21, 10, 41, 30, 0.9, 0))]) == 0


def test_many_detections_are_not_cut_off() -> None:
    rows = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0, 1 - i / 1000, 0) for i in range(250)]
    labels = [detections(*rows)]
    assert average_precision_50(labels, labels) == pytest.approx(1)


def test_as_many_pictures_in_both() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        average_precision_50([ONE], [ONE, ONE])
