"""`yolo-edge devices`, and --device of the other commands, on a board that is this machine behind a real sshd."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Run
from tests.devices.conftest import server, session_server  # noqa: F401 - fixtures
from tests.devices.sshd import Server
from tests.frame.tools import find_python
from tests.support import ROOT
from yolo_edge.devices.inventory import add_device

PROBED = {"name", "model", "machine", "cpu", "runtimes", "thermals", "meters", "emulated"}


@pytest.fixture
def inventory(server: Server, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "devices.toml"
    add_device("board", server.entry, path)
    return path


def test_list_add_and_remove(run: Run, refuse: Callable[..., str], tmp_path: Path) -> None:
    place = ["--inventory", tmp_path / "devices.toml"]
    assert "no such file" in refuse("devices", "list", *place)
    assert run("devices", "add", "pi5", "ssh://pi@raspberrypi.local", *place).code == 0
    listed = run("devices", "list", "--json", *place).json
    assert [(item["name"], item["url"]) for item in listed] == [
        ("local", "local:"),
        ("pi5", "ssh://pi@raspberrypi.local"),
    ]
    assert "raspberrypi.local" in run("devices", "list", *place).out
    assert "--replace" in refuse("devices", "add", "pi5", "ssh://other", *place)
    assert "expected one that begins with ssh://" in refuse("devices", "add", "pi6", "ftp://x", *place)
    assert run("devices", "remove", "pi5", *place).code == 0
    assert "no such device" in refuse("devices", "probe", "pi5", *place)


def test_help_reads_well(run: Run) -> None:
    text = run("devices", "--help").out
    for word in ("list", "add", "remove", "probe", "setup", "web"):
        assert f"\n  {word}" in text


def test_probe(run: Run, inventory: Path) -> None:
    for name in ("local", "board"):
        done = run("devices", "probe", name, "--inventory", inventory, "--json")
        assert done.code == 0, done.err
        found = done.json
        assert set(found) >= PROBED
        assert found["name"] == name
        assert found["emulated"] is False
        assert found["runtimes"]["onnxruntime"]["problem"] is None
        assert found["cpu"]["cores"]
        assert {meter["kind"] for meter in found["meters"]} >= {"pmic", "rapl"}
        for meter in found["meters"]:
            assert set(meter) == {"kind", "available", "scope", "reason", "remedy"}
            assert meter["available"] or meter["reason"]
    text = run("devices", "probe", "board", "--inventory", inventory).out
    assert "power meters, and why not" in text
    assert "onnxruntime" in text


def test_probe_says_what_the_total_of_a_board_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_edge.devices.facts import Facts, Meter

    def probed(*meters: Meter) -> str:
        cpu = {"cores": [], "name": "Cortex-A76", "vector": [], "governors": [], "clock_mhz": []}
        thermals = {"temperatures_c": {}, "throttled": None, "throttle_count": None}
        found = Facts(
            name="pi5",
            url="ssh://pi5",
            profile="Raspberry Pi 5, 500",
            model="Raspberry Pi 5 Model B Rev 1.0",
            cpu=cpu,
            thermals=thermals,
            meters=meters,
        )
        monkeypatch.setattr("yolo_edge.cli.devices._probe", lambda *_: found)
        return run("devices", "probe", "pi5").out

    pmic = Meter(kind="pmic", available=True, scope="soc_rails", reason="3V3_SYS, VDD_CORE")
    meaning = "Without the regulators' losses, USB devices, the fan"
    assert meaning in probed(pmic)
    assert meaning not in probed(Meter(kind="pmic", available=False, reason="no vcgencmd"))


def test_probe_of_a_board_with_an_old_python(run: Run, server: Server, tmp_path: Path) -> None:  # noqa: F811
    from yolo_edge.devices.inventory import Entry

    python = find_python("3.6", "3.7")
    path = tmp_path / "devices.toml"
    add_device("jetson", Entry(url="ssh://board", python=str(python or "python3.99")), path)
    done = run("devices", "probe", "jetson", "--inventory", path, "--json")
    assert done.code == 0, done.err
    here = run("devices", "probe", "local", "--json").json
    found = done.json
    for key in ("machine", "memory_mb", "os", "kernel"):
        assert found[key] == here[key]
    assert found["cpu"]["cores"] == here["cpu"]["cores"]
    assert found["python"] is None
    (meter,) = found["meters"]
    assert not meter["available"]
    assert "--python" in meter["remedy"]
    assert "none that the agent runs with" in run("devices", "probe", "jetson", "--inventory", path).out


def test_setup_asks_first(refuse: Callable[..., str], inventory: Path) -> None:
    assert "--yes" in refuse("devices", "setup", "board", "--inventory", inventory)
    assert "this machine" in refuse("devices", "setup", "local", "--inventory", inventory)
    for wrong in ("auto", "torch", "onnxruntime,torch"):
        assert "expected onnxruntime, openvino" in refuse("devices", "setup", "board", "--yes", "--runtime", wrong)
    assert "values between commas" in refuse("devices", "setup", "board", "--yes", "--runtime", "tflite,")


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "cfg"])
def test_a_board_detects_what_this_machine_does(
    run: Run, inventory: Path, request: pytest.FixtureRequest, picture: Path, suffix: str, tmp_path: Path
) -> None:
    model = request.getfixturevalue({"cfg": "cfg"}.get(suffix, f"{suffix}_file"))
    arguments = [model, picture, "--confidence", "0.05", "--exact-resize", "--json"]
    here = run("detect", *arguments)
    assert here.code == 0, here.err
    assert here.json[0]["detections"]
    there = run("detect", *arguments, "--device", "board", "--inventory", inventory, "--save", tmp_path / "drawn")
    assert there.code == 0, there.err
    assert there.json == here.json
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [picture.name]


def test_bad_pictures_and_models_there(
    run: Run, refuse: Callable[..., str], inventory: Path, onnx_file: Path, picture: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(picture.read_bytes()[:-9] + b"x" * 9)
    place = ("--device", "board", "--inventory", inventory)
    assert str(bad) in refuse("detect", onnx_file, picture, bad, *place)
    done = run("detect", onnx_file, bad, picture, "--skip-bad", "--json", *place)
    assert [item["image"] for item in done.json] == [str(picture)]
    assert "threads: expected 1..1024" in refuse("detect", onnx_file, picture, "--threads", "9999", *place)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    assert str(damaged) in refuse("detect", damaged, picture, *place)


def test_benchmark_there(run: Run, inventory: Path, onnx_file: Path, picture: Path, tmp_path: Path) -> None:
    small = ["--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1", "--image", picture, "--json"]
    done = run("benchmark", onnx_file, *small, "--device", "board", "--inventory", inventory, "-o", tmp_path)
    assert done.code == 0, done.err
    jsonschema.validate(done.json, json.loads((ROOT / "benchmarks" / "result.schema.json").read_text()))
    (cell,) = done.json["cells"]
    assert (cell["model"], cell["device"], cell["emulated"]) == (str(onnx_file), "board", False)
    assert cell["latency_ms"]["p50"] > 0
    assert done.json["settings"]["image"] == str(picture)
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_an_emulator_by_name_withholds_its_times(run: Run, server: Server, onnx_file: Path, tmp_path: Path) -> None:  # noqa: F811
    from yolo_edge.devices.inventory import Entry

    path = tmp_path / "devices.toml"
    add_device("qemu", Entry(url="ssh://board", python=server.entry.python, emulated=True), path)
    arguments = [onnx_file, "--quick", "--seconds", "0.05", "--repeats", "1", "--threads", "1"]
    place = ["--device", "qemu", "--inventory", path]
    done = run("benchmark", *arguments, *place, "--json")
    (cell,) = done.json["cells"]
    assert cell["emulated"] is True
    assert cell["valid"] is False
    assert "emulat" in cell["invalid_reason"]
    assert cell["energy_mj"] is None
    assert "emulat" in cell["energy_reason"]
    shown = run("benchmark", *arguments, *place)
    assert "no, emulated" in shown.out
    assert f"{cell['latency_ms']['p50']:.3f}" not in shown.out
    assert "withheld" in shown.out
