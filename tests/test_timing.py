import numpy as np
import pytest

from yolo_edge.timing import Ratio, interleave, median_interval, median_ratio, paired_ratio, unpaired_ratio


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


def noisy(rng: np.random.Generator, repeats: int, rounds: int, luck: float) -> np.ndarray:
    """Seconds of one cell: each repeat has its luck, each round its noise, and some are interrupted."""
    times = np.exp(rng.normal(0, luck, (repeats, 1)) + rng.normal(0, 0.02, (repeats, rounds)))
    return np.asarray(times * np.where(rng.random(times.shape) < 0.05, 2, 1))


@pytest.mark.parametrize("luck", [0.0, 0.005, 0.02])
def test_paired_intervals_hold_what_is_true_about_as_often_as_they_say(luck: float) -> None:
    rng = np.random.default_rng(2)
    held = found = 0
    for _ in range(100):
        common = np.exp(np.cumsum(rng.normal(0, 0.02, (8, 12)), axis=1))  # the machine drifts
        a, b = (common * noisy(rng, 8, 12, luck) for _ in range(2))
        ratio = paired_ratio(1.03 * a, b, resamples=300)
        held += ratio.low <= 1.03 <= ratio.high
        found += ratio.low > 1
    assert held >= 90
    assert found >= (95 if luck < 0.02 else 20)


def test_rounds_that_are_not_known_are_left_out() -> None:
    rng = np.random.default_rng(0)
    a, b = noisy(rng, 6, 20, 0.002), noisy(rng, 6, 20, 0.002)
    a[0], b[1, :5] = np.nan, np.nan
    a[2:, 3] *= 1.5
    b[2:, 3] *= 1.5
    ratio = paired_ratio(a, b)
    assert ratio.low <= 1 <= ratio.high
    assert ratio.high - ratio.low < 0.05
    with pytest.raises(ValueError, match="no round is known of both"):
        paired_ratio(np.full((2, 2), np.nan), np.ones((2, 2)))


def test_the_same_has_the_ratio_one() -> None:
    a = noisy(np.random.default_rng(0), 4, 10, 0.01)
    assert paired_ratio(a, a) == Ratio(1, 1, 1)


def test_few_repeats_widen_an_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = noisy(rng, 40, 10, 0.01), noisy(rng, 40, 10, 0.01)
    few, many = paired_ratio(a[:3], b[:3]), paired_ratio(a, b)
    assert few.high - few.low > 2.5 * (many.high - many.low)


def test_unpaired_ratio_finds_a_difference_between_runs() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(50):
        ratio = unpaired_ratio(1.1 * noisy(rng, 8, 12, 0.005), noisy(rng, 10, 20, 0.005), resamples=300)
        held += ratio.low <= 1.1 <= ratio.high
        assert ratio.low > 1
    assert held >= 45


def test_the_interval_of_a_median() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(50):
        turns = [rng.lognormal(luck, 0.05, int(rng.integers(1, 20))) for luck in np.repeat(rng.normal(0, 0.01, 8), 12)]
        low, high = median_interval(turns, 8, resamples=300)
        assert low <= np.median(np.concatenate(turns)) <= high
        held += low <= 1 <= high
    assert held >= 45


@pytest.mark.parametrize("value", [1.0, 0.004])
def test_the_interval_of_what_never_varies(value: float) -> None:
    low, high = median_interval([np.full(5, value)] * 4, 2)
    assert (low, high) == pytest.approx((value, value))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="the same repeats and rounds"):
        paired_ratio(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="expected repeats and rounds"):
        unpaired_ratio(np.ones((0, 3)), np.ones((3, 2)))
    for turns, repeats in (([], 1), ([np.ones(3)] * 3, 2)):
        with pytest.raises(ValueError, match="in turns of"):
            median_interval(turns, repeats)
