"""What the page shows beside the picture."""

from pathlib import Path

import pytest

from tests.demo.support import FakeSource, demo_of, grey, scripted
from tests.ondevice.power.trees import pi5, rapl
from tests.support import wait_for
from yolo_edge.demo import status
from yolo_edge.demo.demo import Demo, Settings
from yolo_edge.demo.power import find_power
from yolo_edge.ondevice.agent.machine import conditions
from yolo_edge.ondevice.errors import InputError, YoloEdgeError


def test_counts_of_each_second_and_no_more_than_ten_minutes_of_them() -> None:
    with demo_of(
        FakeSource(lambda i: grey(0) if i < 30 else None), [scripted(lambda i: [(0, 0.9)] * (i % 4) + [(2, 0.1)])]
    ) as demo:
        wait_for(demo.inference.done.is_set)
        counts = demo._counts
        wait_for(lambda: any(second[1] for second in counts.history))
    assert max(second[1].get("qr_code", 0) for second in counts.history) == 3  # the most in one frame
    assert not any("barcode" in second[1] for second in counts.history)
    for _ in range(2 * status.HISTORY):
        counts.turn()
    assert len(counts.history) == status.HISTORY


def test_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "sys/class/thermal/thermal_zone0/temp": "61700",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1400000",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(status, "conditions", lambda: conditions(tmp_path))
    with demo_of(FakeSource(lambda i: grey(0), live=True), [scripted()]) as demo:
        found = wait_for(lambda: demo.status.latest)
    assert found["temperature"] == {"celsius": 61.7, "sensor": "cpu-thermal (thermal_zone0)"}
    assert found["clock_mhz"] == 1500
    assert found["throttled"] == {"now": ["under-voltage", "throttled"], "since_boot": ["under-voltage", "throttled"]}
    assert found["power"] is None
    assert found["there"] == ["qr_code"]


def test_power_of_a_raspberry_pi(tmp_path: Path) -> None:
    power = find_power(None, pi5(tmp_path))
    assert power is not None
    with Demo(FakeSource(lambda i: grey(0), live=True), [scripted()], Settings(), print, None, power) as demo:
        wait_for(lambda: demo.status.latest)
    # 3.3 V x 0.5 A + 0.8 V x 2 A, in tests/ondevice/power/trees.py
    assert demo.status.latest["power"] == {"watts": 3.25, "scope": "soc_rails"}


def test_power_of_a_counter_is_the_mean_between_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0])
    monkeypatch.setattr("yolo_edge.demo.power.time.monotonic", lambda: next(clock))
    root = rapl(tmp_path)
    power = find_power("rapl", root)
    assert power is not None
    assert power() is None  # one reading of a counter is none
    rapl(root, package=7_000_000)
    found = power()
    assert found is not None
    assert found[0] == pytest.approx(3)  # 6 J more in 2 s, of the package; nothing of the others
    power.close()


def test_meters_that_are_not_there(tmp_path: Path) -> None:
    assert find_power(None, tmp_path) is None
    cases = (
        ("nonsense", InputError, "no such meter"),
        ("csv:x.csv", InputError, "a recording"),
        ("pmic", YoloEdgeError, "no vcgencmd"),
    )
    for text, kind, message in cases:
        with pytest.raises(kind, match=message):
            find_power(text, tmp_path)
