"""Energy of an inference on a machine whose power is known."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import HOST, FakeMeter, Machine, measure, subjects
from tests.support import ROOT
from yolo_edge.benchmarks.benchmark import EMULATED, NOT_ASKED, Benchmark
from yolo_edge.benchmarks.journal import Journal
from yolo_edge.benchmarks.report.energy import describe_energy
from yolo_edge.benchmarks.result_file import read_result, to_json
from yolo_edge.benchmarks.results import BenchmarkResult, without_samples
from yolo_edge.benchmarks.settings import Limits, Settings, quick_settings, with_energy
from yolo_edge.ondevice.errors import InputError, YoloEdgeError

SETTINGS = with_energy(quick_settings(), None)
LOAD = {"a.onnx": 3.0, "b.onnx": 6.0}
BASE = {"a.onnx": 4.0, "b.onnx": 20.0}


def machine(**options: object) -> Machine:
    return Machine(dict(BASE), FakeMeter(load_w=dict(LOAD), **options))  # type: ignore[arg-type]


def known(result: BenchmarkResult, model: str, watts: float) -> float:
    """Millijoules of an inference that takes so many watts while the machine computes."""
    (cell,) = (cell for cell in result.cells if cell.model == model)
    return watts * cell.latency_ms.mean


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unit": "uJ"},
        {"unit": "uJ", "wrap": 7_000_000},
        {"interval_s": 0.1},
        # the mean of before and after, where the machine warms up
        {"drift": lambda seconds: seconds / 100},
    ],
    ids=["watts", "counter", "wrapping counter", "slow", "drift"],
)
def test_a_known_machine_gives_the_known_joules(options: dict[str, object]) -> None:
    """Within 1 %; of a meter that is read every 0.1 s the edges of turns of 1 s cost some more."""
    slow, drift = options.get("interval_s") == 0.1, "drift" in options
    result = measure(machine(**options), SETTINGS)
    assert result.power is not None
    for cell in result.cells:
        energy, how = cell.energy_mj, cell.power
        assert energy is not None
        assert how is not None
        assert cell.energy_reason is None
        assert energy.scope == "module_input"
        assert energy.net == pytest.approx(known(result, cell.model, LOAD[cell.model]), rel=0.05 if slow else 0.01)
        if not drift:
            assert energy.gross == pytest.approx(
                known(result, cell.model, LOAD[cell.model] + 2.0), rel=0.03 if slow else 0.01
            )
            assert how.idle_w == pytest.approx(2.0, rel=0.001)
        assert len(how.gross_mj) == len(how.net_mj) == SETTINGS.repeats
        assert how.largest_gap_s <= options.get("interval_s", 0.01) * 2  # type: ignore[operator]
        assert how.seconds == pytest.approx(cell.latency_ms.mean * cell.latency_ms.n / 1e3, rel=0.001)
        assert how.windows == len(cell.samples.windows) == len(cell.samples.turns)  # type: ignore[union-attr]
    for before, after in result.power.idle_w:
        assert before is not None
        assert after is not None
        assert (after > before + 0.05) is drift
    assert result.power.overhead == pytest.approx(0.01)


def test_latency_and_energy_are_of_the_same_windows() -> None:
    result = measure(machine(), SETTINGS)
    for cell in result.cells:
        assert cell.samples is not None
        lengths = np.diff(np.array(cell.samples.windows), axis=1)[:, 0]
        for length, turn in zip(lengths, cell.samples.stage("inference"), strict=True):
            assert length == pytest.approx(turn.sum() / 1e3, rel=1e-4)


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (lambda s: 1.5 < s < 2.1, r"not valid: 0\.6\d s without a reading of the meter, the limit is 0\.5 s"),
        (lambda s: s > 9, "the meter was not read over the whole time"),
        (
            lambda s: s % 0.4 >= 0.0151,
            "the meter was read [0-9]+ times while this cell was measured, 60 are needed",
        ),
    ],
)
def test_readings_that_are_missed(lost: object, reason: str) -> None:
    result = measure(machine(lost=lost), replace(SETTINGS, limits=Limits(power_readings=60)))
    for cell in result.cells:
        assert cell.energy_mj is None
        assert cell.power is None
        assert re.search(reason, str(cell.energy_reason))
        assert cell.valid  # its times are as good as ever
        assert cell.latency_ms.n > 10
    assert result.power is not None
    assert result.power.repeats  # the data are kept


def test_a_counter_bridges_gaps() -> None:
    result = measure(machine(unit="uJ", lost=lambda s: 8 < s < 8.9), SETTINGS)
    cell = result.cells[0]
    assert cell.energy_mj is not None
    assert cell.energy_mj.gross == pytest.approx(known(result, cell.model, 5.0), rel=0.02)


def test_no_meter_and_what_to_do() -> None:
    result = measure(machine(available=False), SETTINGS)
    for cell in result.cells:
        assert cell.energy_mj is None
        assert cell.energy_reason == (
            "not measured: there is no vcgencmd: buy one; or wire an INA219, INA226 or INA260, or record a USB or wall "
            "meter: --meter csv:FILE (docs/energy.md)"
        )
    assert result.power is None
    pi4 = Machine(dict(BASE), host={**HOST, "model": "Raspberry Pi 4 Model B Rev 1.4"})
    assert str(measure(pi4, SETTINGS).cells[0].energy_reason).startswith(
        "not measured: Raspberry Pi 4, 400 has no power sensor; wire an INA219"
    )


def test_energy_is_measured_when_it_is_asked_for() -> None:
    fake = machine()
    result = measure(fake, quick_settings())
    assert {cell.energy_reason for cell in result.cells} == {NOT_ASKED}
    assert result.power is None
    assert not {"sample", "samples", "idle", "meters"} & {do for _, do in fake.log}


def test_emulators_have_no_energy() -> None:
    fake = machine()
    result = Benchmark(subjects(list(BASE)), SETTINGS, fake.connect, emulated=True).run()
    for cell in result.cells:
        assert cell.emulated
        assert cell.energy_mj is None
        assert cell.energy_reason == EMULATED
    assert "sample" not in {do for _, do in fake.log}


def test_a_drifting_machine_says_so() -> None:
    result = measure(machine(drift=lambda seconds: seconds / 10), SETTINGS)
    assert any("net energy is uncertain" in note for note in result.cells[0].notes)
    assert not any("uncertain" in note for note in measure(machine(), SETTINGS).cells[0].notes)


def test_a_native_tool_has_the_energy_of_the_inference_alone() -> None:
    result = measure(machine(), SETTINGS)
    assert result.power is not None
    assert "picture to boxes" in describe_energy(result.power, result.cells)
    native = [replace(cell, total_ms=None) for cell in result.cells]
    assert "inference alone" in describe_energy(result.power, native)


def test_results_with_energy_are_written_and_read(tmp_path: Path) -> None:
    result = measure(machine(), SETTINGS)
    schema = json.loads((ROOT / "benchmarks" / "result.schema.json").read_text())
    for one in (result, without_samples(result)):
        document = json.loads(to_json(one))
        jsonschema.validate(document, schema)
        assert set(document["cells"][0]["energy_mj"]) == {"gross", "net", "scope"}
        path = tmp_path / "result.json"
        path.write_bytes(to_json(one))
        assert read_result(path) == one
    assert without_samples(result).power.repeats == ()  # type: ignore[union-attr]
    document = json.loads(to_json(result))
    document["power"]["repeats"][1]["values"] = "AAAA"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"power.repeats\[1\]: damaged"):
        read_result(path)


def test_a_journal_keeps_the_readings(tmp_path: Path) -> None:
    """A run that is cut after a repeat goes on with another process, and has all readings."""
    fake = machine()
    plan = Benchmark(subjects(list(BASE)), SETTINGS, fake.connect)

    class Cut(Exception):  # noqa: N818 - no error
        pass

    def cut(what: str) -> None:
        if what.startswith("idle (3"):
            raise Cut

    with pytest.raises(Cut), Journal(tmp_path, plan.key) as journal:
        plan.run(journal, cut)
    assert fake.open == []
    again = Benchmark(subjects(list(BASE)), SETTINGS, fake.connect)
    with Journal(tmp_path, again.key) as journal:
        assert len(journal.repeats) == 2
        result = again.run(journal)
    assert result.power is not None
    assert len(result.power.repeats) == 3
    assert result.cells[1].energy_mj is not None
    assert result.cells[1].energy_mj.net == pytest.approx(known(result, "b.onnx", 6.0), rel=0.01)


def test_a_meter_that_fails_ends_the_run() -> None:
    fake = machine()

    def fail(label: str, do: str) -> None:
        if do == "samples":
            raise YoloEdgeError("the power meter: ended by signal 9")

    fake.fail = fail
    with pytest.raises(YoloEdgeError, match="ended by signal 9"):
        measure(fake, SETTINGS)
    assert fake.open == []


def test_progress_is_as_often_as_foretold() -> None:
    fake = machine()
    plan = Benchmark(subjects(list(BASE)), SETTINGS, fake.connect)
    seen: list[str] = []
    plan.run(progress=seen.append)
    assert len(seen) == plan.steps(0)


def test_settings_for_energy() -> None:
    """Longer turns; what was measured before is measured still."""
    full, quick = with_energy(Settings(), "rapl"), with_energy(quick_settings(), None)
    assert (full.seconds, full.inferences, full.repeats, full.meter) == (60, 1024, 10, "rapl")
    assert full.seconds / full.repeats / full.turn_s >= full.min_rounds
    assert quick.seconds / quick.repeats / quick.turn_s >= quick.min_rounds
    assert quick.quick


# files of other meters

SHIFT = 1.7e9  # the host's clock less the machine's


def recording(path: Path, fake: Machine, offset: float = 0.0) -> None:
    """What a meter beside the machine wrote so far: its clock is the host's, late by `offset`."""
    assert fake.meter
    fake.meter.taken = 999.0
    times, values = fake.meter.read(fake.now + 1)
    rows = [f"{time + SHIFT - offset:.4f},{value[0]:.6f}" for time, value in zip(times, values, strict=True)]
    path.write_text("\n".join(["time (s),power (W)", *rows]) + "\n")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Machine:
    fake = machine()
    monkeypatch.setattr("yolo_edge.benchmarks.metering.time.time", lambda: fake.now + SHIFT)
    return fake


@pytest.mark.parametrize(("options", "late"), [("", 0.0), (",offset=2.5,scope=wall", 2.5)])
def test_a_recorded_file(clock: Machine, tmp_path: Path, options: str, late: float) -> None:
    path = tmp_path / "power.csv"
    plan = Benchmark(subjects(list(BASE)), replace(SETTINGS, meter=f"csv:{path}{options}"), clock.connect)

    def write(what: str) -> None:  # another program writes, until the last repeat
        recording(path, clock, late)

    message = "the file has to hold all of it.*all repeats are kept"
    with Journal(tmp_path / "out", plan.key) as journal, pytest.raises(InputError, match=message):
        plan.run(journal, write)
    recording(path, clock, late)
    with Journal(tmp_path / "out", plan.key) as journal:
        assert len(journal.repeats) == SETTINGS.repeats
        result = plan.run(journal)
    assert result.power is not None
    assert (result.power.meter.kind, result.power.overhead) == ("csv", None)
    for cell in result.cells:
        assert cell.energy_mj is not None
        assert cell.energy_mj.scope == ("wall" if late else "board_input")
        assert cell.energy_mj.net == pytest.approx(known(result, cell.model, LOAD[cell.model]), rel=0.01)


def test_a_recorded_file_that_is_missing_at_the_end(clock: Machine, tmp_path: Path) -> None:
    settings = replace(SETTINGS, meter=f"csv:{tmp_path / 'power.csv'}")
    plan = Benchmark(subjects(list(BASE)), settings, clock.connect)
    for cell in plan.run().cells:
        assert "power.csv: no such file" in str(cell.energy_reason)
    message = r"power\.csv: no such file.*; all repeats are kept"
    with Journal(tmp_path, plan.key) as journal, pytest.raises(InputError, match=message):
        plan.run(journal)
