"""What machines tell of being slowed down."""

from pathlib import Path

import pytest

from tests.ondevice.power import trees
from tests.support import shared_dir
from yolo_edge.ondevice.agent import machine
from yolo_edge.ondevice.agent.throttling import (
    cooling,
    overcurrent_count,
    parse_clock,
    parse_temperature,
    parse_throttled,
    passive_limits,
    throttled_bits,
)


def recorded(name: str) -> str:
    return (shared_dir() / "device-samples/rpi" / name).read_text()


def test_recorded_answers_of_vcgencmd() -> None:
    assert parse_throttled(recorded("throttled_get_throttled.txt")) == 0x60002
    assert parse_throttled(recorded("undervolt_get_throttled.txt")) == 0x50005
    assert parse_temperature(recorded("throttled_measure_temp.txt")) == 80.6
    assert parse_temperature(recorded("pi4_measure_temp.txt")) == 43.8
    assert parse_clock(recorded("throttled_measure_clock_arm.txt")) == 1141.118
    assert parse_clock(recorded("pi4_oc_measure_clock_arm.txt")) == 2000.478464


@pytest.mark.parametrize(
    "text", ["", "x", "throttled=", "throttled=0x", "temp='C", "temp=80.6", "frequency(48)=", "=1"]
)
def test_answers_that_are_none(text: str) -> None:
    assert parse_throttled(text) is parse_temperature(text) is parse_clock(text) is None


def vcgencmd(root: Path) -> Path:
    trees.program(
        root,
        "vcgencmd",
        'case "$*" in get_throttled) echo throttled=0x60002 ;; measure_temp) echo "temp=80.6\'C" ;; '
        '"measure_clock arm") echo "frequency(48)=1141118000" ;; *) exit 255 ;; esac',
    )
    return root


def test_a_hot_raspberry_pi(tmp_path: Path) -> None:
    """The firmware knows the clock that the CPUs have; the kernel the one that it asked for."""
    root = vcgencmd(tmp_path)
    now = machine.conditions(root)
    assert (now["throttled"], now["clock_mhz"], now["temperatures_c"]) == (0x60002, [1141.118], {"vcgencmd": 80.6})
    trees.write(
        root,
        {
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": 80_600,
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 2_400_000,
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": 2_400_000,
        },
    )
    now = machine.conditions(root)
    assert now["throttled"] == 0x50005
    assert now["temperatures_c"] == {"cpu-thermal (thermal_zone0)": 80.6}
    assert now["clock_mhz"] == [1141.118, 1141.118]


def test_vcgencmd_that_fails(tmp_path: Path) -> None:
    trees.program(tmp_path, "vcgencmd", "echo 'VCHI initialization failed'; exit 255")
    assert throttled_bits(tmp_path) is None
    assert machine.clocks(tmp_path) == []


def test_a_jetson(tmp_path: Path) -> None:
    zone, devices = "sys/class/thermal/thermal_zone1", "sys/class/thermal/cooling_device"
    root = trees.write(
        tmp_path,
        {
            "sys/class/hwmon/hwmon2/name": "soctherm_oc",
            "sys/class/hwmon/hwmon2/oc1_event_cnt": 2,
            "sys/class/hwmon/hwmon2/oc3_event_cnt": 5,
            f"{zone}/type": "cpu-thermal",
            f"{zone}/temp": 96_000,
            f"{zone}/trip_point_0_type": "active",
            f"{zone}/trip_point_0_temp": 50_000,
            f"{zone}/trip_point_1_type": "passive",
            f"{zone}/trip_point_1_temp": 70_000,
            f"{zone}/trip_point_2_type": "passive",
            f"{zone}/trip_point_2_temp": 95_000,
            f"{zone}/trip_point_3_type": "critical",
            f"{zone}/trip_point_3_temp": 105_000,
            f"{devices}0/type": "pwm-fan",
            f"{devices}0/cur_state": 3,
            f"{devices}1/type": "cpufreq-cpu0",
            f"{devices}1/cur_state": 4,
            f"{devices}2/type": "thermal-cpufreq-1",
            f"{devices}2/cur_state": 0,
            f"{devices}3/type": "intel_powerclamp",
            f"{devices}3/cur_state": -1,
        },
    )
    assert overcurrent_count(root) == 7
    assert passive_limits(root) == {"cpu-thermal (thermal_zone1)": 95}
    assert cooling(root) == {
        "cpufreq-cpu0 (cooling_device1)": 4,
        "thermal-cpufreq-1 (cooling_device2)": 0,
        "intel_powerclamp (cooling_device3)": 0,
    }
    now = machine.conditions(root)
    assert (now["overcurrent_count"], now["passive_limits_c"]) == (7, {"cpu-thermal (thermal_zone1)": 95})
    empty = machine.conditions(tmp_path / "empty")
    assert (empty["overcurrent_count"], empty["passive_limits_c"], empty["cooling"]) == (None, {}, {})
