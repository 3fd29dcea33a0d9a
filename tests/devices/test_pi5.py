"""Everything on a board that is none of ours: aarch64, Debian's Python, no pip, the double of a Raspberry Pi 5."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from msgspec.structs import replace

from tests.cli.conftest import (
    Run,
    run,  # noqa: F401 - a fixture
)
from tests.devices.pi5 import Double, serve_double
from tests.support import random_darknet, random_picture
from yolo_edge.benchmarks.metering import Choice, Recorder, choose_meter
from yolo_edge.benchmarks.power import idle_watts, trace_of
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.cli import main
from yolo_edge.devices import profiles
from yolo_edge.devices.inventory import Entry
from yolo_edge.devices.session import session_on
from yolo_edge.devices.ssh import CONFIG
from yolo_edge.export.quantization import choose
from yolo_edge.export.quantization.recipe import RECIPES

# without shortcuts: the two additions of onnxruntime's int8 kernels round differently on ARM and x86
NETWORK = "yolo-lite/tiny-yolov2-trial3"
PICTURES = ("dog.jpg", "person.jpg", "horses.jpg")


@pytest.fixture(scope="module", autouse=True)
def _one_recipe() -> Iterator[None]:
    """What recipes are worth is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose.quantize, "__kwdefaults__", {**choose.quantize.__kwdefaults__, "recipes": RECIPES[1:2]})
        yield


@pytest.fixture(scope="module")
def double(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """Set up, from nothing."""
    with serve_double(shared, tmp_path_factory.mktemp("pi5")) as double, pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG, str(double.config))
        patch.setenv("XDG_CONFIG_HOME", str(double.root.parent / "config"))
        assert not list((double.root / "opt/site").iterdir())
        assert main(["devices", "add", "pi5", "ssh://pi5"]) == 0
        assert main(["devices", "setup", "pi5", "--offline", "--yes", "--json"]) == 0
        yield double
        assert not list((double.root / "tmp").glob("yolo-edge-*"))


@pytest.fixture(scope="module")
def models(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An int8 file of each format."""
    folder = tmp_path_factory.mktemp("int8")
    arguments = ["export", assets / "darknet" / f"{NETWORK}.cfg", "--format", "onnx,tflite", "--precision", "int8"]
    arguments += ["--calibration", assets / "coco128/images/val2017", "--calibration-images", "16", "-o", folder]
    assert main([str(word) for word in arguments]) == 0
    return [folder / "tiny-yolov2-trial3-224-int8.onnx", folder / "tiny-yolov2-trial3-224-int8.tflite"]


@pytest.fixture(scope="module")
def pictures(assets: Path) -> list[Path]:
    return [assets / "images" / name for name in PICTURES]


def test_probe(run: Run, double: Double) -> None:  # noqa: F811
    done = run("devices", "probe", "pi5", "--json")
    assert done.code == 0, done.err
    found = done.json
    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert (found["machine"], found["soc"], found["emulated"]) == ("aarch64", "bcm2712", True)
    assert found["cpu"]["cores"] == [{"kind": "Cortex-A76", "count": 2, "max_mhz": 2400}]
    assert found["cpu"]["vector"] == ["NEON", "fp16", "dotprod"]
    assert found["cpu"]["governors"] == ["ondemand"]
    for clock in found["cpu"]["clock_mhz"]:
        assert clock == pytest.approx(2400.034, abs=0.001)  # of the firmware
    assert found["thermals"]["temperatures_c"] == {"cpu-thermal (thermal_zone0)": 52.1}
    assert (found["thermals"]["throttled"], found["thermals"]["throttled_now"]) == (0, [])
    assert found["python"]["environment"] == "/home/pi/.local/share/yolo-edge/venv"
    for name in ("onnxruntime", "ai-edge-litert", "numpy", "opencv"):
        assert found["runtimes"][name]["problem"] is None, found["runtimes"]
    meters = {meter["kind"]: meter for meter in found["meters"]}
    assert (meters["pmic"]["available"], meters["pmic"]["scope"]) == (True, "soc_rails")
    assert not meters["rapl"]["available"]


@pytest.mark.parametrize("number", [0, 1])
def test_detections_are_those_of_this_machine(
    run: Run,  # noqa: F811
    double: Double,
    models: list[Path],
    pictures: list[Path],
    number: int,
) -> None:
    arguments = ["detect", models[number], *pictures, "--exact-resize", "--json"]
    here, there = run(*arguments), run(*arguments, "--device", "pi5")
    assert there.code == 0, there.err
    assert [item["image"] for item in there.json] == [str(path) for path in pictures]
    for one, other in zip(here.json, there.json, strict=True):
        assert one["detections"]
        assert [item["class"] for item in one["detections"]] == [item["class"] for item in other["detections"]]
        for a, b in zip(one["detections"], other["detections"], strict=True):
            assert iou(a["box"], b["box"]) >= 0.99
            assert abs(a["confidence"] - b["confidence"]) < 0.01


def test_accuracy_and_no_times(run: Run, double: Double, models: list[Path], assets: Path, tmp_path: Path) -> None:  # noqa: F811
    for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
        (tmp_path / kind).mkdir()
        for path in sorted((assets / "coco128" / kind / "val2017").glob(f"*{suffix}"))[:5]:
            shutil.copy(path, tmp_path / kind)
    names = (assets / "names/coco.names").read_text().splitlines()
    data = tmp_path / "data.yaml"
    data.write_text("train: images\nval: images\nnames:\n" + "".join(f"  - {name}\n" for name in names))
    arguments = ["validate", *models, "--data", data, "--exact-resize", "--resamples", "10", "--json"]
    here, there = run(*arguments), run(*arguments, "--device", "pi5")
    assert there.code == 0, there.err
    for one, other in zip(here.json, there.json, strict=True):
        assert other["inference_ms"] is None
        assert one["inference_ms"] > 0
        assert other["settings"]["device"] == "pi5"
        for key in ("mAP50", "mAP50_95"):
            assert other[key] == pytest.approx(one[key], abs=0.005)


def test_benchmarks_are_marked_and_withheld(run: Run, double: Double, models: list[Path]) -> None:  # noqa: F811
    arguments = ["--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1", "--json"]
    done = run("benchmark", *models, *arguments, "--device", "pi5")
    assert done.code == 0, done.err
    cells: list[dict[str, Any]] = done.json["cells"]
    assert [(cell["model"], cell["runtime"]) for cell in cells] == [
        (str(models[0]), "onnxruntime"),
        (str(models[1]), "tflite"),
    ]
    for cell in cells:
        assert (cell["device"], cell["emulated"], cell["valid"]) == ("pi5", True, False)
        assert "emulat" in cell["invalid_reason"]
        assert cell["energy_mj"] is None
        assert "emulat" in cell["energy_reason"]
        assert cell["detections"] is not None
    assert done.json["host"]["emulated"] is True


def test_a_sweep_with_the_board(run: Run, double: Double, tmp_path: Path) -> None:  # noqa: F811
    """Timed there and here; what an emulator says is marked, kept out of charts, and never chosen."""
    source = random_darknet(tmp_path, 11)
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), random_picture(64, 64, i))
    timed = ["--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1", "--json"]
    made = ["--sizes", "64", "--precisions", "int8", "--calibration", tmp_path, "-o", tmp_path / "sweep"]
    command = ["sweep", source, *made, *timed, "--devices", "pi5,local"]
    done = run(*command)
    assert done.code == 0, done.err
    cells = done.json["cells"]
    assert [(cell["device"], cell["precision"], cell["emulated"]) for cell in cells] == [
        ("pi5", "int8", True),
        ("local", "int8", False),
    ]
    assert cells[0]["valid"] is False
    assert run(*command).json == done.json
    results = tmp_path / "sweep" / "results"
    assert run("report", results, "-o", tmp_path / "report.html").code == 0
    assert "1 emulated cell left out" in (tmp_path / "report.html").read_text()
    chosen = run("choose", results, "--device", "pi5", "--best", "latency", "--max-latency", "1s", "--allow-invalid")
    assert chosen.code == 1
    assert "emulated" in chosen.err


def iou(a: list[float], b: list[float]) -> float:
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    both = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both)


def test_the_power_of_recorded_readings(double: Double) -> None:
    """The load sample's 2.948 W, read on the board by a process of its own; an emulator's energy is withheld."""
    profile = profiles.match("Raspberry Pi 5 Model B Rev 1.0")
    with session_on("pi5", Entry(url="ssh://pi5")) as connect:
        choice = choose_meter(connect, None, profile)
        assert isinstance(choice, Choice)
        assert (choice.kind, choice.options) == ("pmic", {})
        with Recorder(connect, choice) as recorder:
            for _ in range(2):
                recorder.idle(replace(Settings(), idle_s=1.0, idle_settle_s=0.0))
            found = recorder.finish()
    assert found.meter is not None
    assert (found.meter.scope, found.meter.estimated, len(found.meter.total)) == ("soc_rails", False, 12)
    assert found.readings >= 3
    trace = trace_of(found, found.meter)
    assert idle_watts(trace, found) == (pytest.approx(2.94798, abs=1e-4), pytest.approx(2.94798, abs=1e-4))
