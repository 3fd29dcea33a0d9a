"""`yolo-edge benchmark --energy` from end to end, with meters whose power is known."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest
from msgspec.structs import replace

from tests.cli.conftest import Run
from tests.ondevice.power import trees
from tests.support import ROOT
from yolo_edge import Detector
from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.result_file import read_result, to_json
from yolo_edge.benchmarks.rounds import Subject
from yolo_edge.benchmarks.settings import Limits, quick_settings, with_energy
from yolo_edge.devices.agents import AgentProcess, local_command

SMALL = ["--quick", "--seconds", "2", "--repeats", "1", "--threads", "1"]

# advances the counter of a package as if it took so many watts; it wraps every few seconds
ADVANCE = """
import os, sys, time
path, watts, wrap = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
file, begin = os.open(path, os.O_WRONLY), time.monotonic()
print("on", flush=True)
while True:
    os.pwrite(file, b"%-15d" % (int((time.monotonic() - begin) * watts * 1e6) % (wrap + 1)), 0)
    time.sleep(0.003)
"""
WATTS, WRAP = 7.5, 20_000_000


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Path]:
    """The root of a machine whose package takes 7.5 W."""
    zone = "sys/class/powercap/intel-rapl:0"
    root = trees.write(
        tmp_path / "root", {f"{zone}/name": "package-0", f"{zone}/energy_uj": 0, f"{zone}/max_energy_range_uj": WRAP}
    )
    command = [sys.executable, "-c", ADVANCE, str(root / zone / "energy_uj"), str(WATTS), str(WRAP)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield root
        process.kill()


def check(document: dict[str, object], scope: str, watts: float) -> None:
    jsonschema.validate(document, json.loads((ROOT / "benchmarks" / "result.schema.json").read_text()))
    (cell,) = document["cells"]  # type: ignore[misc]
    energy, how = cell["energy_mj"], cell["power"]
    assert cell["energy_reason"] is None
    assert energy["scope"] == scope
    joules = watts * how["seconds"]
    inferences = cell["latency_ms"]["n"]
    assert energy["gross"] == pytest.approx(1e3 * joules / inferences, rel=0.01)
    assert energy["net"] == pytest.approx(0, abs=0.01 * energy["gross"])  # as much as when it is idle
    # what lies between two inferences is in it, too
    assert how["seconds"] * 1e3 / inferences == pytest.approx(cell["total_ms"]["mean"], rel=0.05)
    assert how["gross_w"] == pytest.approx(watts, rel=0.01)
    assert how["idle_w"] == pytest.approx(watts, rel=0.01)


def test_a_counter_through_the_whole_chain(run: Run, onnx_file: Path, counter: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "a.csv"
    meter = f"rapl:root={counter}"
    done = run("benchmark", onnx_file, *SMALL, "--energy", "--meter", meter, "-o", out, "--csv", table)
    assert done.code == 0, done.err
    (path,) = out.iterdir()
    check(json.loads(path.read_text()), "rail:package", WATTS)
    result = read_result(path)
    assert result.settings.meter == meter
    assert result.power is not None
    assert sum(repeat.readings for repeat in result.power.repeats) > 50
    assert result.cells[0].samples is not None
    assert len(result.cells[0].samples.windows) == len(result.cells[0].samples.turns)

    assert "gross mJ, rail:package" in done.out
    said = " ".join(done.err.split())
    assert "measured by rapl (package-0): rail:package" in said
    assert result.cells[0].energy_mj is not None
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row["energy_gross_mj rail:package"] == str(result.cells[0].energy_mj.gross)
    pages = ["-o", tmp_path / "r.html", "-o", tmp_path / "r.md"]
    assert run("report", path, *pages).code == 0
    for page in ("r.html", "r.md"):
        text = (tmp_path / page).read_text()
        assert "gross, mJ (rail:package)" in text
        assert "rapl: package-0" in text


def test_recorded_readings_of_a_raspberry_pi(onnx_file: Path, shared: Path, tmp_path: Path) -> None:
    """2.948 W; with a patience for gaps that a machine wants that has other things to do."""
    adc = (shared / "device-samples/rpi/pi5_pmic_read_adc_load.txt").read_text()
    root = trees.pi5(tmp_path / "root", adc)
    settings = with_energy(quick_settings(), f"pmic:root={root}")
    settings = replace(settings, repeats=1, seconds=2.0, peak_s=0.0, limits=Limits(power_gap_s=30, power_readings=3))
    spec = Detector(onnx_file).spec.to_json()
    subject = Subject("random.onnx", str(onnx_file), "", onnx_file.stat().st_size, spec)
    result = Benchmark([subject], settings, lambda what: AgentProcess(local_command(), what)).run()
    check(json.loads(to_json(result)), "soc_rails", 2.94798)
    assert result.power is not None
    assert len({column.rail for column in result.power.meter.columns}) == 14
    assert len(result.power.meter.total) == 12


def test_a_machine_without_a_meter(run: Run, onnx_file: Path) -> None:
    """Where there is none; a PC of a developer may have one."""
    done = run("benchmark", onnx_file, *SMALL, "--energy", "--json")
    assert done.code == 0, done.err
    (cell,) = done.json["cells"]
    if cell["energy_mj"] is None:
        assert "not measured" in cell["energy_reason"]
        assert "--meter csv:FILE" in cell["energy_reason"]
        assert "energy: not measured" in done.err


@pytest.mark.parametrize(
    ("meter", "message", "code"),
    [
        ("nuclear", "there is no such meter; there are: ina", 2),
        ("rapl:colour=red", "there is no option 'colour'", 2),
        ("rapl:rail", "expected key=value", 2),
        ("rapl:root=/nonexistent", "there is no /sys/class/powercap/intel-rapl", 1),
        ("pmic:root=/nonexistent", "this is not a Raspberry Pi", 1),
        ("csv:", "which file", 2),
        ("csv:a.csv,scope=moon", "scope=moon: expected one of", 2),
        ("csv:a.csv", "a.csv: no such file; start the recording first, or let -o DIR keep the repeats", 2),
        ("csv:/", "/: is not a file", 2),
    ],
)
def test_meters_that_cannot_be_read(
    refuse: Callable[..., str], counter: Path, onnx_file: Path, meter: str, message: str, code: int
) -> None:
    meter = meter.replace("rapl:colour", f"rapl:root={counter},colour")
    assert message in refuse("benchmark", onnx_file, *SMALL, "--meter", meter, code=code)


def test_a_file_that_is_not_there_yet(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    """The repeats are kept: once the file is there, the same command reads it."""
    power, out = tmp_path / "power.csv", tmp_path / "out"
    arguments = ("benchmark", onnx_file, *SMALL, "--meter", f"csv:{power}", "-o", out)
    missing = run(*arguments)
    assert (missing.code, missing.out) == (2, "")
    assert "no such file; all repeats are kept" in missing.err.splitlines()[-1]
    (journal,) = out.iterdir()
    first = json.loads(journal.read_text().splitlines()[1])["power"]["time"]
    rows = [f"{first - 5 + i / 20:.3f},{WATTS}" for i in range(20 * 60)]
    power.write_text("\n".join(["time,power", *rows]))
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    assert "1 of 1 repeats are there" in done.err
    check(done.json, "board_input", WATTS)
