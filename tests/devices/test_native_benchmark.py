"""benchmark --benchmark-model on a double of a phone, by the real adb."""

import json
import time
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema
import pytest

from tests.cli.conftest import Run
from tests.devices.phone import Phone
from tests.support import wait_for
from yolo_edge.benchmarks.host import Conditions
from yolo_edge.benchmarks.result_file import json_schema, read_result
from yolo_edge.benchmarks.settings import Limits
from yolo_edge.benchmarks.verdicts import machine_faults

REPLAY = "#!/system/bin/sh\n[ -s ${1#--graph=} ] || { echo 'ERROR: no model'; exit 1; }\ncat /replay\n"
# works for SECONDS, in which /state says so, and the battery's current is that of LOAD
WORKS = """#!/system/bin/sh
echo "Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds."
echo "count=1 curr=100000"
echo "Running benchmark for at least 25 iterations and at least 1 seconds but terminate if exceeding 150 seconds."
now() { read t x </proc/uptime; n=${t%.*}${t#*.}; }
now; began=$n; read b s </state; echo "$b $n" >/state.new; mv /state.new /state
read rest </sys/class/power_supply/battery/current_now; echo LOAD >/sys/class/power_supply/battery/current_now
sleep SECONDS
now; echo "$((b+n-began)) 0" >/state.new; mv /state.new /state
echo $rest >/sys/class/power_supply/battery/current_now
avg=$(((n-began)*500))
echo "count=20 first=$avg curr=$avg min=$avg max=$avg avg=$avg std=0 p5=$avg median=$avg p95=$avg"
echo "Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): $avg"
"""


def tool(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "benchmark_model"
    path.write_text(script)
    return path


@pytest.fixture
def measure(run: Run, phone: Phone, tmp_path: Path, tflite_file: Path) -> Any:
    inventory = tmp_path / "devices.toml"
    assert run("devices", "add", "phone", phone.url, "--inventory", inventory).code == 0

    def call(*options: object, models: tuple[Path, ...] = ()) -> Any:
        place = ["--device", "phone", "--inventory", inventory, "--cooldown", "0"]
        return run("benchmark", *(models or (tflite_file,)), *place, "--quick", *options)

    return call


@pytest.mark.parametrize(
    ("name", "p50", "n", "words"),
    [
        ("tflite_benchmark_apk_yolo26n_logcat.txt", 252.767, 25, "medians of its runs"),
        ("tflite_benchmark_model_old_qemu.txt", 2950.34, 50, "means of its runs"),
        ("tflite_benchmark_model_yolov5s_sd_android.txt", 249.684, 50, "means of its runs"),
    ],
)
def test_three_versions(
    measure: Any,
    phone: Phone,
    tmp_path: Path,
    shared: Path,
    name: str,
    p50: float,
    n: int,
    words: str,
) -> None:
    phone.write("replay", (shared / "device-samples/tools" / name).read_text())
    options = ("--repeats", 3, "--threads", "1,2", "-o", tmp_path / "out", "--json")
    result = measure("--benchmark-model", tool(tmp_path, REPLAY), *options)
    assert result.code == 0, result.err
    cells = result.json["cells"]
    assert [cell["threads"] for cell in cells] == [1, 2]
    for cell in cells:
        assert cell["latency_ms"]["p50"] == p50
        assert cell["latency_ms"]["p90"] is None
        assert cell["latency_ms"]["n"] == 3 * n
        assert cell["valid"]
        assert cell["cpus"] == [6, 7]
        assert words in " ".join(cell["notes"])
        assert len(cell["runs"]) == 3
        assert cell["energy_mj"] is None
    assert result.json["host"]["model"] == "Google Pixel 6"
    ratio = result.json["ratios"][0]
    assert (ratio["ratio"], ratio["verdict"]) == (1, "no difference")
    masks = [line.split()[0] for line in (phone.root / "tasksets").read_text().splitlines()]
    assert set(masks) == {"c0"}
    (saved,) = (tmp_path / "out").iterdir()
    jsonschema.validate(json.loads(saved.read_text()), json_schema())
    assert read_result(saved).cells[0].runs[0].n == n
    assert phone.left() == []


def test_energy_by_counters(measure: Any, phone: Phone, tmp_path: Path) -> None:
    phone.counters(idle_w=2, busy_w=3)
    script = WORKS.replace("SECONDS", "5").replace("LOAD", "-150000")
    result = measure("--benchmark-model", tool(tmp_path, script), "--energy", "--repeats", 1, "--threads", 1, "--json")
    assert result.code == 0, result.err
    (cell,) = result.json["cells"]
    mean = cell["latency_ms"]["mean"]
    assert cell["energy_reason"] is None
    assert cell["energy_mj"]["scope"] == "soc_rails"
    # watts x milliseconds
    assert cell["energy_mj"]["gross"] == pytest.approx(5 * mean, rel=0.05)
    assert cell["energy_mj"]["net"] == pytest.approx(3 * mean, rel=0.08)
    power = result.json["power"]
    assert power["meter"]["total"] == ["S2M_VDD_CPUCL2"]
    assert power["others"] == ["battery"]
    assert power["idle_w"][0] == pytest.approx([2, 2], rel=0.03)


@pytest.mark.parametrize(
    ("idle", "load", "unit"), [("-150000", "-1500000", "uA"), ("150", "1500", "mA")], ids=["kernel", "other"]
)
def test_energy_by_the_battery(
    measure: Any,
    phone: Phone,
    tmp_path: Path,
    idle: str,
    load: str,
    unit: str,
) -> None:
    phone.battery(current=idle)
    phone.write("state", "0 0\n")
    script = WORKS.replace("SECONDS", "2.5").replace("LOAD", load)
    result = measure("--benchmark-model", tool(tmp_path, script), "--energy", "--repeats", 1, "--threads", 1, "--json")
    assert result.code == 0, result.err
    (cell,) = result.json["cells"]
    assert cell["energy_reason"] is None
    assert cell["energy_mj"]["scope"] == "battery"
    # 1.5 A at 4 V; a reading every 0.1 s says when it began
    assert cell["energy_mj"]["gross"] == pytest.approx(6 * cell["latency_ms"]["mean"], rel=0.08)
    meter = result.json["power"]["meter"]
    assert meter["columns"][0]["unit"] == unit
    way = "negative" if idle.startswith("-") else "positive"
    assert f"{load} under load, {idle} idle: taken as {unit}, {way} while discharging" in meter["what"]


def test_a_phone_that_charges(measure: Any, phone: Phone, tmp_path: Path) -> None:
    phone.battery(plugged=True)
    phone.write("state", "0 0\n")
    script = WORKS.replace("SECONDS", "0.3").replace("LOAD", "-1500000")
    result = measure("--benchmark-model", tool(tmp_path, script), "--energy", "--repeats", 1, "--threads", 1, "--json")
    assert result.code == 0, result.err
    (cell,) = result.json["cells"]
    assert cell["energy_mj"] is None
    assert cell["energy_reason"].startswith("invalid (charging): USB powered; measure over Wi-Fi")
    assert cell["valid"]  # the latency is
    assert result.json["power"] is None


def test_a_hot_phone_is_not_valid(measure: Any, phone: Phone, tmp_path: Path) -> None:
    phone.write("replay", "count=5 first=9 curr=9 avg=9000\n")
    phone.thermal(2)
    result = measure("--benchmark-model", tool(tmp_path, REPLAY), "--repeats", 1, "--threads", 1, "--json")
    assert result.json["cells"][0]["invalid_reason"] == "the phone was too hot: thermal status 2 (moderate)"


@pytest.mark.parametrize(("status", "faults"), [(0, 0), (1, 1), (6, 1), (None, 0)])
def test_thermal_status_is_a_verdict(status: int | None, faults: int) -> None:
    moments = [Conditions(when="a", time=0.0), Conditions(when="b", time=1.0, thermal_status=status)]
    assert len(machine_faults(moments, None, Limits())) == faults


def test_by_operator(measure: Any, phone: Phone, tmp_path: Path) -> None:
    from tests.devices.test_android import PROFILE

    phone.write("replay", f"count=5 first=9 curr=9 avg=9000\n{PROFILE}")
    options = ("--profile", "--repeats", 1, "--threads", 1, "--json")
    result = measure("--benchmark-model", tool(tmp_path, REPLAY), *options)
    assert result.code == 0, result.err
    profile = result.json["cells"][0]["profile"]
    assert next((row["operator"], row["ms"]) for row in profile["operators"]) == ("TfLiteXNNPackDelegate", 8.125)


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("#!/system/bin/sh\necho 'ERROR: Could not open x.tflite'; exit 1\n", 1, "exit code 1.*Could not open"),
        ("#!/system/bin/sh\necho nothing\n", 1, "no line that begins with count="),
        ("\x7fELF of another machine", 1, "built for this device"),
        ("a text", 2, "not a program"),
    ],
)
def test_tools_that_do_not_work(
    measure: Any,
    phone: Phone,
    tmp_path: Path,
    script: str,
    code: int,
    told: str,
) -> None:
    import re

    result = measure("--benchmark-model", tool(tmp_path, script), "--repeats", 1, "--threads", 1)
    assert result.code == code
    assert re.search(told, result.err), result.err
    assert "Traceback" not in result.err
    assert phone.left() == []


def test_what_adb_cannot_do_says_what_can(measure: Any, onnx_file: Path, tmp_path: Path) -> None:
    result = measure()
    assert result.code == 2
    assert "--benchmark-model" in result.err
    result = measure("--benchmark-model", tool(tmp_path, REPLAY), models=(onnx_file,))
    assert result.code == 2
    assert "runs .tflite files" in result.err


def test_a_cable_that_is_pulled_out(measure: Any, phone: Phone, tmp_path: Path) -> None:
    def pull() -> None:
        while not phone.running("sleep 64"):
            time.sleep(0.1)
        phone.unplug()

    thread = Thread(target=pull, daemon=True)
    thread.start()
    began = time.monotonic()
    result = measure("--benchmark-model", tool(tmp_path, "#!/system/bin/sh\nsleep 64\n"), "--threads", 1)
    assert time.monotonic() - began < 30
    assert result.code == 1
    assert "the connection to 127.0.0.1" in result.err
    wait_for(lambda: not (phone.left() or phone.running("sleep 64")))


def test_on_this_machine_with_the_memory_of_the_process(run: Run, tmp_path: Path, tflite_file: Path) -> None:
    script = """#!/bin/sh
echo "Running benchmark for at least 1 iterations"
echo "count=1 curr=100000"
echo "Running benchmark for at least 25 iterations"
sleep 0.3
echo "count=3 first=100000 curr=100000 min=100000 max=100000 avg=100000 std=0 p5=1 median=90000 p95=1"
"""
    options = ("--quick", "--repeats", 3, "--cooldown", 0, "--threads", 1, "--energy", "--json")
    result = run("benchmark", tflite_file, "--benchmark-model", tool(tmp_path, script), *options)
    assert result.code == 0, result.err
    (cell,) = result.json["cells"]
    assert (cell["device"], cell["latency_ms"]["p50"], cell["latency_ms"]["n"]) == ("local", 90, 9)
    assert 0.2 < cell["memory_mb"] < 50  # of a shell
    assert cell["energy_reason"].startswith("not measured: ")


def test_what_needs_the_agent_says_what_does_it(run: Run, phone: Phone, tmp_path: Path) -> None:
    inventory = tmp_path / "devices.toml"
    run("devices", "add", "phone", phone.url, "--inventory", inventory)
    result = run("devices", "setup", "phone", "--yes", "--inventory", inventory)
    assert result.code == 1
    assert "Termux" in result.err
