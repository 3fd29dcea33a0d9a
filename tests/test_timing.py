import numpy as np
import pytest

from yolo_edge.timing import interleave, median_ratio


def test_every_round_calls_each_once_and_starts_elsewhere() -> None:
    calls: list[str] = []
    functions = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    samples = interleave(functions, seconds=0, min_rounds=4)
    assert {name: len(values) for name, values in samples.items()} == {"a": 4, "b": 4, "c": 4}
    warm_up, rounds = calls[:3], calls[3:]
    assert warm_up == ["a", "b", "c"]
    assert ["".join(rounds[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]
    assert all((values > 0).all() for values in samples.values())


def test_stops_in_time_and_at_the_limit() -> None:
    assert len(interleave({"a": lambda: None}, seconds=60, max_rounds=10)["a"]) == 10


def test_ratio_of_a_with_itself_is_one() -> None:
    a = np.random.default_rng(0).lognormal(0, 0.1, 200)
    ratio = median_ratio(a, a)
    assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)


def test_drift_that_hits_both_does_not_hide_a_difference() -> None:
    rng = np.random.default_rng(0)
    drift = 1 + np.linspace(0, 1, 400)  # the machine becomes twice as slow
    a = 1.10 * drift * rng.lognormal(0, 0.02, 400)
    b = drift * rng.lognormal(0, 0.02, 400)
    ratio = median_ratio(a, b)
    assert 1.0 < ratio.low < ratio.value < ratio.high < 1.2


def test_the_interval_holds_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        noise = np.convolve(rng.normal(0, 0.03, (2, 310))[0], np.ones(11) / 3, "valid")  # successive samples resemble
        a, b = np.exp(noise + rng.normal(0, 0.02, 300)), np.exp(noise + rng.normal(0, 0.02, 300))
        ratio = median_ratio(a, b, resamples=300)
        held += ratio.low <= 1 <= ratio.high
    assert 88 <= held <= 100


@pytest.mark.parametrize(("a", "b"), [(3, 4), (0, 0)])
def test_unequal_rounds_are_refused(a: int, b: int) -> None:
    with pytest.raises(ValueError, match="the same number of rounds"):
        median_ratio(np.ones(a), np.ones(b))
