import dataclasses

import numpy as np
import pytest

from tests.evaluation.random_boxes import Case, random_case
from yolo_edge.evaluation import METRICS, Found, Truth, differences, evaluate


def drawn(case: Case, picks: np.ndarray) -> tuple[Truth, Found]:
    """Labels and detections of pictures drawn with repetitions, each as a picture of its own."""
    labels = [np.flatnonzero(case.truth.image == pick) for pick in picks]
    guesses = [np.flatnonzero(case.found.image == pick) for pick in picks]
    truth = case.truth
    rows, boxes = np.concatenate(labels), np.concatenate(guesses)
    return (
        Truth(
            len(picks),
            case.classes,
            np.repeat(np.arange(len(picks)), [len(part) for part in labels]),
            truth.class_id[rows],
            truth.xyxy[rows],
            truth.area[rows],
            truth.crowd[rows],
            truth.ignored[rows],
        ),
        Found(
            len(picks),
            np.repeat(np.arange(len(picks)), [len(part) for part in guesses]),
            case.found.class_id[boxes],
            case.found.xyxy[boxes],
            case.found.confidence[boxes],
        ),
    )


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repetitions(seed: int) -> None:
    # what the bootstrap computes from weights is what an evaluation of the drawn pictures gives
    case = random_case(seed, 12, 3, ties=False)
    rng = np.random.default_rng(seed)
    picks = [rng.integers(0, case.images, case.images) for _ in range(5)]
    weights = np.stack([np.bincount(pick, minlength=case.images) for pick in picks], axis=1).astype(float)
    values = evaluate(case.truth, case.found).resample(weights)
    for number, pick in enumerate(picks):
        accuracy = evaluate(*drawn(case, pick))
        for metric in METRICS:
            # copies of one detection tie: their order among each other changes nothing but single recall points
            assert values[metric][number] == pytest.approx(accuracy.value(metric), abs=1e-9)


def test_a_model_does_not_differ_from_itself() -> None:
    case = random_case(1, 40, 4)
    accuracy = evaluate(case.truth, case.found)
    change = differences([accuracy, accuracy], resamples=50)[0]["mAP50"]
    assert change is not None
    assert (change.value, change.low, change.high) == (0, 0, 0)
    assert not change.clear


def test_a_worse_model_is_seen() -> None:
    case = random_case(2, 120, 3)
    rng = np.random.default_rng(0)
    worse = case.found.select(rng.random(len(case.found.image)) > 0.4)
    accuracies = [evaluate(case.truth, found) for found in (case.found, worse)]
    for metric in METRICS:
        change = differences(accuracies)[0][metric]
        assert change is not None
        assert change.low < change.value < change.high < 0
        assert change.clear
        assert change.value == pytest.approx(accuracies[1].value(metric) - accuracies[0].value(metric))


def test_another_score_is_no_clear_difference() -> None:
    case = random_case(3, 60, 3, ties=False)
    rng = np.random.default_rng(0)
    confidence = case.found.confidence + rng.normal(0, 1e-3, len(case.found.image))
    noisy = dataclasses.replace(case.found, confidence=confidence)
    change = differences([evaluate(case.truth, found) for found in (case.found, noisy)])[0]["mAP50_95"]
    assert change is not None
    assert change.low <= 0 <= change.high


def test_same_seed_same_interval() -> None:
    case = random_case(4, 30, 3)
    accuracies = [evaluate(case.truth, found) for found in (case.found, case.found.select(case.found.confidence > 0.3))]
    first, again, other = (differences(accuracies, resamples=80, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert differences(accuracies[:1]) == []
