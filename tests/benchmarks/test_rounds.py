import itertools
import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure, out_of_memory, subjects
from yolo_edge.benchmarks.benchmark import Benchmark, save
from yolo_edge.benchmarks.journal import Journal
from yolo_edge.benchmarks.results import read_result
from yolo_edge.benchmarks.settings import Settings
from yolo_edge.ondevice.errors import InputError, YoloEdgeError


def test_cells_take_turns_in_rounds_of_any_order() -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 5, "c.onnx": 6})
    measure(machine, replace(SETTINGS, repeats=2))
    turns = [label[0] for label, do in machine.log if do == "turn"]
    rounds = ["".join(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert {"".join(one) for one in itertools.permutations("abc")} == set(rounds)
    assert rounds[: len(rounds) // 2] != rounds[len(rounds) // 2 :]
    assert machine.open == []


def test_each_repeat_has_processes_of_its_own() -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 5})
    measure(machine)
    assert sum(do == "load" for _, do in machine.log) == 2 * SETTINGS.repeats


def test_seconds_and_inferences_are_reached() -> None:
    machine = Machine({"slow.onnx": 400, "fast.onnx": 1})
    settings = Settings(repeats=3, seconds=20, inferences=300, cooldown_s=0, threads=(1,))
    result = measure(machine, settings)
    for cell in result.cells:
        assert cell.samples is not None
        measured = sum(turn.sum() for turn in cell.samples.stage("inference")) / 1e3
        assert measured >= 20
        assert cell.latency_ms.n >= 300
        assert len(cell.samples.turns) == len(result.cells[0].samples.turns)  # type: ignore[union-attr]


def test_figures_are_those_of_the_machine() -> None:
    result = measure(Machine({"a.onnx": 4}))
    (cell,) = result.cells
    assert cell.latency_ms.p50 == pytest.approx(4, rel=0.01)
    assert cell.latency_ms.ci95[0] < cell.latency_ms.p50 < cell.latency_ms.ci95[1]
    assert cell.latency_ms.p50 < cell.latency_ms.p90 < cell.latency_ms.p99
    assert cell.preprocess_ms is not None
    assert cell.total_ms is not None
    assert cell.preprocess_ms.p50 == pytest.approx(0.2)
    assert cell.total_ms.p50 == pytest.approx(cell.latency_ms.p50 + 0.3, abs=0.01)
    assert cell.peak_share == pytest.approx(2e8 / 4e-3 / 50e9, rel=0.02)
    assert (cell.memory_mb, cell.first_ms, cell.load_ms, cell.start_ms) == (100, 9, 10, 50)
    assert len(cell.repeats_ms) == SETTINGS.repeats
    assert cell.energy_mj is None
    assert (cell.energy_reason or "").startswith("not measured: ")
    assert cell.valid


def test_drift_cancels_in_ratios_and_shows_in_validity() -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 4.4}, slowdown=lambda seconds: 1 + seconds / 20)
    result = measure(machine)
    (ratio,) = result.ratios
    assert ratio.ci95[0] <= 1.1 <= ratio.ci95[1]
    assert ratio.ci95[1] - ratio.ci95[0] < 0.05
    assert ratio.verdict == "slower"
    assert not result.cells[0].valid
    assert "slower than the first" in (result.cells[0].invalid_reason or "")


def test_the_same_is_no_difference_and_3_percent_is_one() -> None:
    same = found = 0
    for seed in range(20):
        machine = Machine({"a.onnx": 4, "same.onnx": 4, "slower.onnx": 4.12}, noise=0.05, seed=seed)
        first, second = measure(machine).ratios
        same += first.verdict == "no difference"
        found += second.verdict == "slower"
    assert same >= 18
    assert found >= 18


def test_threads_are_compared_too() -> None:
    result = measure(Machine({"a.onnx": 4, "b.onnx": 8}), replace(SETTINGS, threads=(1, 2)))
    pairs = [(ratio.a, ratio.threads_a, ratio.b, ratio.threads_b) for ratio in result.ratios]
    assert pairs == [
        ("a.onnx", 2, "a.onnx", 1),
        ("b.onnx", 1, "a.onnx", 1),
        ("b.onnx", 2, "a.onnx", 2),
        ("b.onnx", 2, "b.onnx", 1),
    ]
    assert result.host.peak["2"].gflops == 100


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (lambda s: {"busy_s": 3 * s}, "other programs used"),
        (lambda s: {"stolen_s": s}, "hypervisor"),
        (lambda s: {"throttled": 0x4 if 2 < s < 5 else 0}, "the board reports: throttled"),
        (lambda s: {"throttled": 0x10000 if s > 5 else 0}, "the board reports: under-voltage"),
        (lambda s: {"throttle_count": int(s)}, "throttled for heat"),
    ],
)
def test_what_makes_figures_invalid(conditions: object, reason: str) -> None:
    result = measure(Machine({"a.onnx": 4}, conditions=conditions))  # type: ignore[arg-type]
    assert not result.cells[0].valid
    assert reason in (result.cells[0].invalid_reason or "")


@pytest.mark.parametrize(
    "conditions",
    [
        lambda s: {"busy_s": None, "stolen_s": None},
        lambda s: {"throttled": 0x50000},  # since boot, before the run: nothing of it
        lambda s: {"throttle_count": 7},
    ],
)
def test_what_does_not(conditions: object) -> None:
    result = measure(Machine({"a.onnx": 4}, conditions=conditions))  # type: ignore[arg-type]
    assert result.cells[0].valid, result.cells[0].invalid_reason


def test_a_model_without_a_spec_has_the_inference_alone() -> None:
    machine = Machine({"a.onnx": 4})
    result = Benchmark(subjects(["a.onnx"], spec=None), SETTINGS, machine.connect).run()
    (cell,) = result.cells
    assert cell.preprocess_ms is cell.postprocess_ms is cell.total_ms is None
    assert cell.latency_ms.p50 == pytest.approx(4, rel=0.01)


def test_a_worker_that_dies_is_named_and_the_others_end() -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 4}, fail=out_of_memory)
    with pytest.raises(YoloEdgeError, match=r"b\.onnx, 1 thread: ended by signal 9"):
        measure(machine)
    assert machine.open == []


def test_too_little_memory_for_all_workers() -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 4}, conditions=lambda s: {"available_mb": 100.0})
    with pytest.raises(YoloEdgeError, match="100 MB of 8000 MB memory are free with 1 of our workers"):
        measure(machine)


def test_the_same_model_twice_is_refused() -> None:
    with pytest.raises(InputError, match="named twice"):
        Benchmark(subjects(["a.onnx", "a.onnx"]), SETTINGS, Machine({}).connect)
    with pytest.raises(InputError, match="wants a model"):
        Benchmark([], SETTINGS, Machine({}).connect)


def test_profile() -> None:
    result = measure(Machine({"a.onnx": 4}), replace(SETTINGS, profile=3))
    profile = result.cells[0].profile
    assert profile is not None
    assert (profile.run_ms, profile.outside_ms, profile.inferences) == (4.1, 4.2, 3)


def test_a_runtime_without_a_profiler_costs_only_the_profile() -> None:
    def refuse(label: str, do: str) -> None:
        if do == "profile":
            raise InputError("time by operator is measured with onnxruntime only, not with tflite")

    result = measure(Machine({"a.onnx": 4}, fail=refuse), replace(SETTINGS, profile=3))
    assert result.cells[0].profile is None
    assert "onnxruntime only" in result.cells[0].notes[0]


@pytest.mark.parametrize("killed_in", range(1, SETTINGS.repeats + 1))
def test_a_run_that_is_cut_goes_on(tmp_path: Path, killed_in: int) -> None:
    machine = Machine({"a.onnx": 4, "b.onnx": 5})

    def cut(what: str) -> None:
        if what == f"measuring ({killed_in} of {SETTINGS.repeats})":
            raise KeyboardInterrupt

    plan = Benchmark(subjects(["a.onnx", "b.onnx"]), SETTINGS, machine.connect)
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, plan.key) as journal:
        plan.run(journal, cut)
    assert machine.open == []
    again = Benchmark(subjects(["a.onnx", "b.onnx"]), SETTINGS, machine.connect)
    with Journal(tmp_path, again.key) as journal:
        assert len(journal.repeats) == killed_in - 1
        steps: list[str] = []
        result = again.run(journal, steps.append)
        assert len(steps) == again.steps(killed_in - 1)
        path = save(result, journal)
    assert list(tmp_path.iterdir()) == [path]
    read = read_result(path)
    assert read == result
    assert [cell.model for cell in read.cells] == ["a.onnx", "b.onnx"]
    for cell in read.cells:
        assert cell.samples is not None
        assert cell.samples.repeats == SETTINGS.repeats
        assert sum(cell.samples.turns) == cell.latency_ms.n
        assert list(cell.samples.at_s) == sorted(cell.samples.at_s)
        assert math.isclose(cell.latency_ms.p50, 4 if cell.model == "a.onnx" else 5, rel_tol=0.02)


def test_another_run_is_not_taken_up(tmp_path: Path) -> None:
    machine = Machine({"a.onnx": 4})
    keys = {
        Benchmark(subjects(["a.onnx"]), settings, machine.connect).key
        for settings in (SETTINGS, replace(SETTINGS, seconds=4.0), replace(SETTINGS, threads=(2,)))
    }
    keys.add(Benchmark(subjects(["a.onnx"], spec=None), SETTINGS, machine.connect).key)
    assert len(keys) == 4
