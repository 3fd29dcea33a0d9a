"""What a phone denies to adb's shell: each with a message that says what, and what to do."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.devices.phone import BATTERY, ODPM, Phone
from tests.devices.test_native_benchmark import REPLAY, WORKS, tool
from yolo_edge.devices.adb import AdbDevice
from yolo_edge.devices.android.facts import android_facts, read_sources
from yolo_edge.devices.inventory import Entry


@pytest.fixture
def measure(run: Run, phone: Phone, tmp_path: Path, tflite_file: Path) -> Any:
    inventory = tmp_path / "devices.toml"
    assert run("devices", "add", "phone", phone.url, "--inventory", inventory).code == 0
    phone.write("replay", "count=5 first=9 curr=9 avg=9000\n")

    def call(script: str, *options: object) -> Any:
        place = ["--device", "phone", "--inventory", inventory, "--cooldown", 0, "--quick", "--repeats", 1]
        return run(
            "benchmark", tflite_file, "--benchmark-model", tool(tmp_path, script), *place, "--threads", 1, *options
        )

    return call


def refused(result: Any, code: int) -> str:
    assert result.code == code, result
    assert "Traceback" not in result.err
    return str(result.err)


def test_counters_that_are_denied(measure: Any, phone: Phone) -> None:
    phone.odpm()
    phone.deny(ODPM.format(0), ODPM.format(1))
    with AdbDevice("phone", Entry(url=phone.url)) as device:
        odpm, battery = android_facts(device).meters
    assert (odpm.kind, odpm.available) == ("odpm", False)
    assert odpm.reason == "its energy counters are not for adb's shell (permission denied)"
    assert str(odpm.remedy).startswith("adb root, on a debug build")
    assert battery.available
    told = refused(measure(REPLAY, "--meter", "odpm"), 2)
    assert "--meter odpm: cannot be read there: yolo-edge devices probe phone says why" in told
    assert phone.left() == []


def test_without_the_counters_the_battery_is_read(measure: Any, phone: Phone) -> None:
    phone.odpm()
    phone.deny(ODPM.format(0), ODPM.format(1))
    phone.write("state", "0 0\n").chmod(0o666)
    (phone.root / BATTERY / "current_now").chmod(0o666)
    phone.root.chmod(0o777)  # the tool writes /state.new
    script = WORKS.replace("SECONDS", "1").replace("LOAD", "-1500000")
    result = measure(script, "--energy", "--json")
    assert result.code == 0, result.err
    assert result.json["power"]["meter"]["kind"] == "battery"
    assert result.json["power"]["others"] == []


@pytest.mark.parametrize("denied", [("current_now", "voltage_now"), ("current_now",), ("voltage_now",)])
def test_a_battery_whose_files_are_denied(phone: Phone, denied: tuple[str, ...]) -> None:
    phone.deny(*(f"{BATTERY}/{name}" for name in denied))
    with AdbDevice("phone", Entry(url=phone.url)) as device:
        sources = read_sources(device)
        assert (sources.sysfs, sources.service) == (False, True)
        assert sources.denied == tuple(f"/{BATTERY}/{name}" for name in denied)
        assert "by Android's battery service" in str(android_facts(device).meters[1].reason)
        phone.write("dumps/current_now", "")
        battery = android_facts(device).meters[1]
    assert not battery.available
    if "current_now" in denied:
        assert f"/{BATTERY}/current_now is not for adb's shell (permission denied)" in str(battery.reason)
    assert "the battery service does not tell the current (Android 15 does)" in str(battery.reason)
    assert battery.remedy


def test_no_power_at_all_leaves_the_times(measure: Any, phone: Phone) -> None:
    phone.odpm()
    phone.write("dumps/current_now", "")
    phone.deny(ODPM.format(0), ODPM.format(1), f"{BATTERY}/current_now", f"{BATTERY}/voltage_now")
    result = measure(REPLAY, "--energy", "--json")
    assert result.code == 0, result.err
    (cell,) = result.json["cells"]
    assert cell["latency_ms"]["p50"] == 9
    assert cell["energy_mj"] is None
    assert cell["energy_reason"] == (
        "not measured: neither energy counters nor the battery's current can be read there: yolo-edge devices probe "
        "phone says why"
    )


def test_a_meter_that_is_denied_meanwhile(measure: Any, phone: Phone) -> None:
    """It could be read when it was looked for."""
    phone.odpm()
    phone.deny()
    program = phone.root / "system/bin/cat"
    program.unlink()
    # each of the two is looked at, then both together, for the facts and for the meter; then comes the sampler's loop
    program.write_text(
        "#!/system/bin/sh\ncase $1 in *energy_value) read c </looked; echo $((c+1)) >/looked;; *) c=0;; esac\n"
        '[ $c -lt 6 ] && exec toybox cat "$@"\necho "cat: $1: Permission denied" >&2; exit 1\n'
    )
    program.chmod(0o755)
    phone.write("looked", "0\n").chmod(0o666)
    told = refused(measure(REPLAY, "--energy"), 1)
    assert re.search(r"its odpm power meter cannot be read: cat: \S+energy_value: Permission denied", told), told
    assert phone.left() == []


@pytest.mark.parametrize(
    ("chmod", "told"),
    [
        (
            "echo 'chmod: benchmark_model: Operation not permitted' >&2; exit 1",
            r"cannot be made a program \(.*Operation not",
        ),
        ("exit 0", r"fails \(exit code 126\).*[Pp]ermission denied"),
    ],
)
def test_a_tool_that_may_not_run(measure: Any, phone: Phone, chmod: str, told: str) -> None:
    (phone.root / "system/bin/chmod").unlink()
    program = phone.write("system/bin/chmod", f"#!/system/bin/sh\n{chmod}\n")
    program.chmod(0o755)
    phone.deny()
    said = refused(measure(REPLAY), 1)
    assert re.search(told, said), said
    assert "does not let programs run from there" in said
    assert "in its browser (docs/phones.md)" in said
    assert phone.left() == []


def test_a_folder_that_is_denied(measure: Any, run: Run, phone: Phone, tmp_path: Path) -> None:
    phone.deny("data/local/tmp")
    inventory = tmp_path / "devices.toml"
    for result in (measure(REPLAY), run("devices", "probe", "phone", "--inventory", inventory)):
        said = refused(result, 1)
        assert re.search(r"no folder can be made in /data/local/tmp \(.*Permission denied\)", said), said
        assert "does not let adb's shell write there" in said
    assert phone.left() == []


def test_services_that_are_denied(run: Run, phone: Phone, tmp_path: Path) -> None:
    """As `dumpsys` says it, with exit code 0: nothing is known then, and nothing is made up."""
    phone.deny()
    for name in ("thermalservice", "battery"):
        phone.write(f"dumps/{name}", f"Permission Denial: can't dump {name} from from pid=1, uid=2000\n")
    inventory = tmp_path / "devices.toml"
    assert run("devices", "add", "phone", phone.url, "--inventory", inventory).code == 0
    found = run("devices", "probe", "phone", "--inventory", inventory, "--json").json
    assert found["thermals"]["status"] is None
    assert (found["phone"]["battery_percent"], found["phone"]["charging"]) == (None, None)
