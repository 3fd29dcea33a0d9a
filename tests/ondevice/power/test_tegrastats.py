"""NVIDIA's tegrastats: recorded lines, and programs that behave as it does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ondevice.power import trees
from tests.ondevice.power.support import probe, sample
from tests.support import runs, wait_for
from yolo_edge.ondevice.power import open_meter
from yolo_edge.ondevice.power.tegrastats import parse_line

# file, line → milliwatts by rail, total of the board in milliwatts, two temperatures, the first CPU's load and clock
TEGRASTATS: list[tuple[str, int, dict[str, float], list[str], float, dict[str, float], tuple[float, float]]] = [
    (
        "agx-orin_jp7.2_tegrastats.txt",
        0,
        {"VDD_GPU_SOC": 5139, "VDD_CPU_CV": 3268, "VIN_SYS_5V0": 5500},
        ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
        13907,
        {"cpu": 52.968, "gpu": 47.625},
        (23, 2201),
    ),
    (
        "agx-xavier_jp4_tegrastats.txt",
        0,
        {"GPU": 18401, "CPU": 2301, "SOC": 4602, "CV": 0, "VDDRQ": 2914, "SYS5V": 4632},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        32850,
        {"AO": 48, "GPU": 54.5},
        (17, 1190),
    ),
    (
        "agx-xavier_jp5_tegrastats_tail.txt",
        0,
        {"GPU": 467, "CPU": 467, "SOC": 1245, "CV": 0, "VDDRQ": 311, "SYS5V": 2768},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        5258,
        {"AUX": 36, "Tdiode": 38.75},
        (0, 1190),
    ),
    (
        "orin-nano_jp6_tegrastats_idle.txt",
        0,
        {"VDD_IN": 4761, "VDD_CPU_GPU_CV": 515, "VDD_SOC": 1428},
        ["VDD_IN"],
        4761,
        {"cpu": 48.562, "tj": 49.062},
        (0, 729),
    ),
    (
        "orin-nano_jp6_tegrastats_load.txt",
        0,
        {"VDD_IN": 6030, "VDD_CPU_GPU_CV": 1913, "VDD_SOC": 1557},
        ["VDD_IN"],
        6030,
        {"cpu": 48.781, "tj": 50.718},
        (45, 1728),
    ),
    (
        "orin-nano_jp6_tegrastats_jetson_clocks.txt",
        2,
        {"VDD_IN": 6626, "VDD_CPU_GPU_CV": 1228, "VDD_SOC": 2380},
        ["VDD_IN"],
        6626,
        {"cpu": 49.812, "soc1": 50.468},
        (0, 1344),
    ),
    ("jetson_stats_emulator_lines.txt", 1, {}, [], 0, {"AO": 31, "thermal": 23.5}, (10, 204)),
    (
        "jetson_stats_emulator_lines.txt",
        2,
        {"VDD_IN": 1038, "VDD_CPU": 153, "VDD_GPU": 153, "VDD_SOC": 384, "VDD_WIFI": 38, "VDD_DDR": 192},
        ["VDD_IN"],
        1038,
        {"BCPU": 30, "Tdiode": 27.5},
        (10, 345),
    ),
    (
        "jetson_stats_emulator_lines.txt",
        3,
        {"GPU": 1155, "CPU": 385, "SOC": 2504, "CV": 0, "VDDRQ": 192, "SYS5V": 2692},
        ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"],
        6928,
        {"iwlwifi": 30, "thermal": 27.45},
        (10, 2265),
    ),
    ("jetson_stats_emulator_lines.txt", 4, {}, [], 0, {"CPU": 41.375, "tj": 41.468}, (10, 729)),
    (
        "jetson_stats_emulator_lines.txt",
        5,
        {"POM_5V_IN": 933, "POM_5V_GPU": 0, "POM_5V_CPU": 84},
        ["POM_5V_IN"],
        933,
        {"PLL": 20.5, "AO": 27},
        (10, 102),
    ),
    (
        "jetson_stats_emulator_lines.txt",
        6,
        {"VDD_IN": 14025, "VDD_CPU": 2209, "VDD_GPU": 6854, "VDD_SOC": 1371, "VDD_WIFI": 19, "VDD_DDR": 2702},
        ["VDD_IN"],
        14025,
        {"AO": 47.5, "BCPU": -45},
        (10, 2035),
    ),
]


@pytest.mark.parametrize(("name", "number", "rails", "total", "watts", "temperatures", "cpu"), TEGRASTATS)
def test_recorded_lines_of_tegrastats(
    name: str,
    number: int,
    rails: dict[str, float],
    total: list[str],
    watts: float,
    temperatures: dict[str, float],
    cpu: tuple[float, float],
) -> None:
    line = parse_line(sample(f"jetson/{name}").splitlines()[number])
    assert line.rails_mw == rails
    assert sum(line.rails_mw[rail] for rail in total) == watts
    assert temperatures.items() <= line.temperatures_c.items()
    assert "PMIC" not in line.temperatures_c
    assert min(line.temperatures_c.values()) > -100  # -256 means off
    assert (line.cpu_percent[0], line.cpu_mhz[0]) == cpu


def test_tegrastats_with_cpus_that_are_off() -> None:
    line = parse_line("RAM 1/2MB CPU [5%@1420,off,off,7%@1420] EMC_FREQ 0% GPU@20C POM_5V_IN 2000/1900")
    assert line.cpu_percent == (5, None, None, 7)
    assert line.cpu_mhz == (1420, None, None, 1420)
    assert line.rails_mw == {"POM_5V_IN": 2000}


LOAD = "VDD_IN 6030mW/6030mW VDD_CPU_GPU_CV 1913mW/1913mW VDD_SOC 1557mW/1557mW"


def test_tegrastats(tmp_path: Path) -> None:
    trees.program(tmp_path, "tegrastats", f"while true; do echo 'RAM 1/2MB {LOAD}'; sleep 0.05; done")
    row = probe(tmp_path, "tegrastats", trees.ORIN)
    assert (row.available, row.scope) == (True, "module_input")
    meter = open_meter("tegrastats", {}, tmp_path, trees.ORIN)
    process = meter._process  # type: ignore[attr-defined]
    assert meter.read() == [6030, 1913, 1557]
    assert process.poll() is None
    meter.close()
    assert process.poll() is not None


def test_tegrastats_ends_with_its_reader(tmp_path: Path) -> None:
    """It ignores SIGPIPE and would print forever."""
    trees.program(
        tmp_path,
        "tegrastats",
        f"trap '' PIPE HUP TERM; echo $$ >{tmp_path}/pid; while :; do echo '{LOAD}'; sleep 0.05; done",
    )
    text = f"from yolo_edge.ondevice.power import open_meter; m = open_meter('tegrastats', {{}}, {str(tmp_path)!r});"
    text += "print(m.read(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
        reader.kill()
    wait_for(lambda: not runs(pid))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 1", "tegrastats ended"),
        ("exec sleep 30", "printed nothing within"),
        ("while :; do echo 'RAM 1/2MB CPU [1%@204] CPU@25C'; sleep 0.1; done", "prints no power here"),
        ("head -c 300000 /dev/zero; exec sleep 30", "printed nothing within"),
    ],
)
def test_tegrastats_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr("yolo_edge.ondevice.power.tegrastats._SECONDS", 1)
    trees.program(tmp_path, "tegrastats", script)
    assert reason in str(probe(tmp_path, "tegrastats", trees.ORIN).reason)
