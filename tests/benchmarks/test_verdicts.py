"""Recorded and made sequences of clocks, temperatures and bits → what is said of them; a test a rule."""

from typing import Any

import numpy as np
import pytest

from yolo_edge.benchmarks.host import Conditions
from yolo_edge.benchmarks.settings import Limits
from yolo_edge.benchmarks.verdicts import cell_faults, machine_faults
from yolo_edge.ondevice.agent.throttling import parse_throttled

LIMITS = Limits()


def faults(*moments: dict[str, Any]) -> list[str]:
    """Of moments at the begin and the end of each repeat."""
    return machine_faults([Conditions(when=f"{i}", time=float(i), **one) for i, one in enumerate(moments)], 4, LIMITS)


def recorded(shared: Any, name: str) -> int:
    bits = parse_throttled((shared / "device-samples/rpi" / name).read_text())
    assert bits is not None
    return bits


def test_nothing_is_nothing() -> None:
    assert faults({}, {}) == []
    assert faults({"throttled": 0}, {"throttled": 0}) == []
    assert (
        faults({"cooling": {"cpu": 0}, "overcurrent_count": 4}, {"cooling": {"cpu": 0}, "overcurrent_count": 4}) == []
    )


@pytest.mark.parametrize(
    ("bit", "word"), [(0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit")]
)
def test_bits_of_now(bit: int, word: str) -> None:
    assert faults({"throttled": 1 << bit}, {"throttled": 0}) == [f"the board reports: {word}"]
    assert faults({"throttled": 0}, {"throttled": 1 << bit}) == [f"the board reports: {word}"]


@pytest.mark.parametrize(
    ("bit", "word"),
    [(16, "under-voltage"), (17, "frequency capped"), (18, "throttled"), (19, "soft temperature limit")],
)
def test_bits_since_boot_count_when_they_are_new(bit: int, word: str) -> None:
    assert faults({"throttled": 0}, {"throttled": 1 << bit}) == [f"the board reports: {word}"]
    assert faults({"throttled": 1 << bit}, {"throttled": 1 << bit}) == []
    # booted between two repeats
    assert faults(*({"throttled": bits << 16} for bits in (1, 1, 0, 0))) == []


def test_a_recorded_hot_board(shared: Any) -> None:
    """0x60002: the clock is capped now; since boot it was capped and throttled."""
    bits = recorded(shared, "throttled_get_throttled.txt")
    assert bits == 0x60002
    assert faults({"throttled": 0}, {"throttled": bits}) == ["the board reports: frequency capped, throttled"]
    assert faults({"throttled": bits}, {"throttled": bits}) == ["the board reports: frequency capped"]
    assert faults({"throttled": bits & ~0xF}, {"throttled": bits & ~0xF}) == []


def test_a_recorded_board_with_a_weak_supply(shared: Any) -> None:
    """0x50005: too little voltage, and throttled for it, now and since boot."""
    bits = recorded(shared, "undervolt_get_throttled.txt")
    assert bits == 0x50005
    assert faults({"throttled": bits}, {"throttled": bits}) == ["the board reports: throttled, under-voltage"]


def test_counts_of_throttling() -> None:
    assert faults({"throttle_count": 3}, {"throttle_count": 4}) == ["the CPU was throttled for heat 1 time"]
    assert faults({"throttle_count": 9}, {"throttle_count": 9}, {"throttle_count": 0}, {"throttle_count": 0}) == []


def test_counts_of_over_current() -> None:
    """Of each repeat by itself: between two the counter began again."""
    moments = [{"overcurrent_count": count} for count in (2, 2, 0, 3)]
    assert faults(*moments) == ["the supply was at its limit (over-current) 3 times"]
    assert faults({"overcurrent_count": 5}, {"overcurrent_count": 5}) == []
    assert faults({"overcurrent_count": 5}, {}) == []


def test_what_the_kernel_slows_down() -> None:
    cool, hot = {"cpufreq-cpu0 (cooling_device0)": 0}, {"cpufreq-cpu0 (cooling_device0)": 3}
    expected = ["the kernel slowed down for heat: cpufreq-cpu0 (cooling_device0) by 3 steps"]
    assert faults({"cooling": cool}, {"cooling": hot}) == expected
    assert faults({"cooling": hot}, {"cooling": cool}) == expected
    assert faults({"cooling": cool}, {"cooling": cool}) == []


def test_temperatures_where_the_kernel_slows_down() -> None:
    zone = "cpu-thermal (thermal_zone0)"
    limit = {"passive_limits_c": {zone: 80.0}}
    assert faults({**limit, "temperatures_c": {zone: 79.9}}, {**limit, "temperatures_c": {zone: 79.9}}) == []
    assert faults({**limit, "temperatures_c": {zone: 61.0}}, {**limit, "temperatures_c": {zone: 80.6}}) == [
        f"{zone} was at 80.6 °C, the kernel slows down from 80.0 °C on"
    ]
    assert faults({"temperatures_c": {zone: 99.0}}, {"temperatures_c": {zone: 99.0}}) == []  # no limit is known


def test_a_power_mode_that_changes() -> None:
    assert faults({"power_mode": "MAXN"}, {"power_mode": "MAXN"}) == []
    assert faults({"power_mode": "MAXN"}, {"power_mode": "15W"}) == ["the power mode changed: MAXN, 15W"]


def test_clocks_that_fall() -> None:
    """Pi 5 and recorded: 2.4 GHz, then 1.141118 GHz of the hot board."""
    steady = np.full(9, 10.0)
    assert cell_faults(steady, [2400.0] * 6 + [1141.118] * 3, LIMITS) == ["the CPU clock fell from 2400 to 1141 MHz"]
    assert cell_faults(steady, [2400.0] * 6 + [2300.0] * 3, LIMITS) == []
    assert cell_faults(steady, [1500.0, 2400.0, 2400.0], LIMITS) == []  # it rose
    assert cell_faults(steady, [], LIMITS) == []
    assert cell_faults(steady, [2400.0, 600.0], LIMITS) == []  # too few to tell


def test_times_that_grow() -> None:
    (fault,) = cell_faults(np.array([10.0] * 6 + [10.6] * 3), [], LIMITS)
    assert fault.startswith("the last third was 6% slower than the first")
    assert cell_faults(np.array([10.0] * 6 + [10.4] * 3), [], LIMITS) == []
    assert cell_faults(np.array([10.6] * 3 + [10.0] * 6), [], LIMITS) == []
