"""The energy of windows against waveforms whose integral is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.ondevice.power.meter import Column
from yolo_edge.ondevice.power.trace import PowerTrace

WITHIN = 0.005  # the issue's


def trace(
    times: object, values: object, columns: list[Column] | None = None, total: tuple[str, ...] = ("a",)
) -> PowerTrace:
    table = np.asarray(values, float)
    table = table[:, None] if table.ndim == 1 else table
    return PowerTrace("test", "wall", False, total, tuple(columns or [Column("a", "W")]), np.asarray(times), table)


def irregular(seed: int, begin: float, end: float, rate: float) -> np.ndarray:
    """Times some 1/rate apart, each off by up to half of that, from before `begin` until after `end`."""
    rng = np.random.default_rng(seed)
    grid = np.arange(begin - 2 / rate, end + 2 / rate, 1 / rate)
    return grid + rng.uniform(-0.45, 0.45, len(grid)) / rate


windows = st.tuples(st.floats(0, 5), st.floats(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))
seeds = st.integers(0, 2**32 - 1)
watts = st.floats(0.5, 100)


@given(window=windows, seed=seeds, power=watts)
def test_constant(window: tuple[float, float], seed: int, power: float) -> None:
    times = irregular(seed, *window, 20)
    found = trace(times, np.full(len(times), power)).joules([window[0]], [window[1]])[0]
    assert found == pytest.approx(power * (window[1] - window[0]), rel=1e-9)


@given(window=windows, seed=seeds, power=watts, slope=st.floats(0, 20))
def test_ramp(window: tuple[float, float], seed: int, power: float, slope: float) -> None:
    """The trapezoidal rule is exact, the ends of windows too."""
    times = irregular(seed, *window, 10)
    begin, end = window
    found = trace(times, power + slope * times).joules([begin], [end])[0]
    assert found == pytest.approx(power * (end - begin) + slope * (end**2 - begin**2) / 2, rel=1e-9)


@given(
    window=windows, seed=seeds, power=watts, high=st.floats(0.5, 10), at=st.floats(0.1, 0.4), long=st.floats(0.2, 0.5)
)
def test_pulse(window: tuple[float, float], seed: int, power: float, high: float, at: float, long: float) -> None:
    """An edge falls between two readings, and is off by half of their distance at most, which is 1.9 of 500 s."""
    begin, end = window
    length = end - begin
    times = irregular(seed, begin, end, 500)
    inside = (times >= begin + at * length) & (times < begin + (at + long) * length)
    found = trace(times, power + high * power * inside).joules([begin], [end])[0]
    assert found == pytest.approx(power * length * (1 + high * long), abs=2 * (1.9 / 500 / 2) * high * power)


@given(window=windows, seed=seeds, power=watts, hertz=st.floats(0.3, 3))
def test_waves(window: tuple[float, float], seed: int, power: float, hertz: float) -> None:
    """A load that comes and goes some times a second, read 50 times a second."""
    begin, end = window
    times = irregular(seed, begin, end, 50)
    rate = 2 * np.pi * hertz
    found = trace(times, power * (1.5 + np.sin(rate * times))).joules([begin], [end])[0]
    known = power * (1.5 * (end - begin) + (np.cos(rate * begin) - np.cos(rate * end)) / rate)
    assert found == pytest.approx(known, rel=WITHIN)


@given(window=windows, seed=seeds, power=watts, gap=st.floats(0.1, 0.4))
def test_gaps_are_bridged_and_told(window: tuple[float, float], seed: int, power: float, gap: float) -> None:
    begin, end = window
    times = irregular(seed, begin, end, 50)
    hole = begin + (end - begin) / 2
    kept = times[np.abs(times - hole) >= gap / 2]
    found = trace(kept, power * (1 + kept))
    assert found.joules([begin], [end])[0] == pytest.approx(power * ((end - begin) + (end**2 - begin**2) / 2), rel=1e-9)
    assert gap <= found.largest_gap(begin, end) <= gap + 2 / 50 * 1.9
    assert found.largest_gap(begin, hole - gap / 2 - 0.06) < 2 / 50 * 1.9 + 1e-9
    assert found.largest_gap(begin, times[-1] + 1) == float("inf")
    assert found.largest_gap(times[0] - 1, end) == float("inf")


@given(
    window=windows,
    seed=seeds,
    power=watts,
    wrap=st.integers(10, 50),
    start=st.floats(0, 1),
)
def test_counters_that_begin_again(
    window: tuple[float, float], seed: int, power: float, wrap: int, start: float
) -> None:
    """As RAPL's: the highest value is the range, the next microjoule is 0."""
    begin, end = window
    times = irregular(seed, begin, end, 20)
    span = wrap * 1_000_000
    counted = np.floor(start * span + (times - times[0]) * power * 1e6)
    found = trace(times, counted % span, [Column("a", "uJ", span)])
    assert found.counts
    assert found.joules([begin], [end])[0] == pytest.approx(power * (end - begin), rel=1e-4)
    assert found.readings(begin, end) > 0


@given(seed=seeds, power=watts, ratio=st.floats(0.1, 10))
def test_a_counter_loses_nothing_between_readings(seed: int, power: float, ratio: float) -> None:
    """A change of power between two readings, which a trapezoid would not see, is in the count."""
    times = np.arange(0, 11, 1.0)
    at = 5.5
    energy = power * np.minimum(times, at) + ratio * power * np.maximum(times - at, 0)
    found = trace(times, energy, [Column("a", "J")])
    assert found.joules([0], [10])[0] == pytest.approx(power * at + ratio * power * (10 - at), rel=1e-9)


def test_windows_beyond_the_readings_have_no_energy() -> None:
    found = trace([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])
    joules = found.joules([0, -0.1, 0.5, 0], [2, 1, 2.1, 0])
    assert joules[0] == 2
    assert np.isnan(joules[[1, 2]]).all()
    assert joules[3] == 0
    assert np.isnan(trace([0.0], [1.0]).joules([0], [0])).all()
    assert np.isnan(trace(np.empty(0), np.empty((0, 1))).joules([0], [1])).all()
    assert trace([0.0], [1.0]).rate == 0
    assert trace([0.0], [1.0]).largest_gap(0, 0) == float("inf")


def test_units_and_rails() -> None:
    """Each unit as watts; only the rails of the total count."""
    columns = [
        Column("a", "mV"),
        Column("a", "mA"),
        Column("b", "V"),
        Column("b", "A"),
        Column("c", "mW"),
        Column("d", "W"),
        Column("input", "V"),
    ]
    rows = [[5000, 200, 3.3, 0.5, 1500, 2, 5.1]] * 3
    expected = {"a": 1.0, "b": 1.65, "c": 1.5, "d": 2.0}
    for rail, power in expected.items():
        assert trace([0, 1, 2], rows, columns, (rail,)).joules([0], [2])[0] == pytest.approx(2 * power)
    whole = trace([0, 1, 2], rows, columns, tuple(expected))
    assert whole.joules([0], [2])[0] == pytest.approx(2 * 6.15)
    assert whole.watts()[1] == pytest.approx([6.15] * 3)
    assert trace([0, 2], [[0.0], [1.0]], [Column("a", "Wh")]).watts()[1] == pytest.approx([1800])
    assert trace([0, 2], [[0.0], [1.0]], [Column("a", "mWh")]).joules([0], [2])[0] == pytest.approx(3.6)


def test_readings_that_lack_a_rail_are_gaps() -> None:
    columns = [Column("a", "W"), Column("b", "W")]
    rows = [[1.0, 1.0], [1.0, np.nan], [1.0, 1.0]]
    assert trace([0, 1, 2], rows, columns, ("a",)).largest_gap(0, 2) == 1
    assert trace([0, 1, 2], rows, columns, ("a", "b")).largest_gap(0, 2) == 2
    assert trace([0, 1, 2], rows, columns, ("a", "b")).joules([0], [2])[0] == 4
    assert trace([0, 1, 2], rows, columns, ("a", "b")).readings(0, 2) == 2


def test_readings_of_a_counter_are_its_moves() -> None:
    found = trace(np.arange(6), [0, 0, 3, 3, 3, 5], [Column("a", "J")])
    assert found.readings(0, 5) == 2
    assert found.rate == 1


@pytest.mark.parametrize(
    ("times", "values", "columns", "message"),
    [
        ([0, 0], [1, 1], None, "rise"),
        ([0, 1], [1, 1, 1], None, "expected 2 x 1 values"),
        ([0, 1], [1, 1], [Column("a", "V")], "give no power"),
        ([0, 1], [1, 1], [Column("b", "W")], "give no power"),
        ([0, 1], [[1, 1], [1, 1]], [Column("a", "W"), Column("a", "mW")], "give no power"),
    ],
)
def test_traces_that_are_none(times: object, values: object, columns: list[Column] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(times, values, columns)


def test_counters_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="falls, and where it begins again is not known"):
        trace([0, 1], [5, 1], [Column("a", "J")]).joules([0], [1])
    with pytest.raises(ValueError, match="falls by more than its range"):
        trace([0, 1], [5, 1], [Column("a", "J", 3)]).joules([0], [1])
    with pytest.raises(ValueError, match="power or of energy"):
        trace([0, 1], [[5, 1], [5, 1]], [Column("a", "J"), Column("b", "W")], ("a", "b"))
