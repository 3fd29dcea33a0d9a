import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure, out_of_memory, subjects
from yolo_edge.benchmarks.benchmark import Benchmark, save
from yolo_edge.benchmarks.figures import peak_share
from yolo_edge.benchmarks.host import Conditions, Peak
from yolo_edge.benchmarks.journal import Journal
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.benchmarks.results import Samples
from yolo_edge.benchmarks.rounds import _cpu_percent
from yolo_edge.benchmarks.samples import decode_bytes, encode_bytes
from yolo_edge.benchmarks.settings import Limits, Settings
from yolo_edge.benchmarks.verdicts import machine_faults
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
    assert cell.peak_share == pytest.approx(2e8 / 4e-3 / 100e9, rel=0.02)
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
    assert result.host.peak["2"].gflops == 200


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
    keys.add(Benchmark(subjects(["a.onnx"]), replace(SETTINGS, fast=True), machine.connect).key)
    assert len(keys) == 5


@pytest.mark.parametrize("fast", [False, True])
def test_fast_reaches_the_workers_and_what_they_did_the_result(fast: bool) -> None:
    machine, settings = Machine({"a.onnx": 4, "b.onnx": 4}), replace(SETTINGS, fast=fast)
    models = [
        dataclasses.replace(one, precision=kind)
        for one, kind in zip(subjects(["a.onnx", "b.onnx"]), ("int8", "fp32"), strict=True)
    ]
    result = Benchmark(models, settings, machine.connect).run()
    assert result.settings.fast is fast
    assert [cell.precise for cell in result.cells] == [not fast] * 2
    assert [any("--fast" in note for note in cell.notes) for cell in result.cells] == [not fast, False]


def test_another_picture_is_another_run() -> None:
    machine = Machine({"a.onnx": 4})
    settings = [replace(SETTINGS, image="/dog.jpg", image_sha256=digest) for digest in ("1", "2")]
    keys = {Benchmark(subjects(["a.onnx"]), one, machine.connect).key for one in settings}
    assert len(keys) == 2


def test_conditions_of_a_resumed_run_are_in_order_of_time(tmp_path: Path) -> None:
    machine = Machine({"a.onnx": 4})

    def cut(what: str) -> None:
        if what == "measuring (3 of 4)":
            raise KeyboardInterrupt

    plan = Benchmark(subjects(["a.onnx"]), SETTINGS, machine.connect)
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, plan.key) as journal:
        plan.run(journal, cut)
    machine.now += 1000
    with Journal(tmp_path, plan.key) as journal:
        result = plan.run(journal)
    times = [moment.time for moment in result.conditions]
    assert times == sorted(times)
    assert result.conditions[0].when == "before"
    assert times[0] == 1000


def moments(*throttled: int, counts: list[int | None] | None = None) -> list[Conditions]:
    given = counts or [None] * len(throttled)
    return [
        Conditions(when=f"repeat {i // 2 + 1}", time=float(i), throttled=bits, throttle_count=count)
        for i, (bits, count) in enumerate(zip(throttled, given, strict=True))
    ]


@pytest.mark.parametrize(
    ("seen", "faults"),
    [
        (moments(0, 0, 0x10000, 0x10000), []),  # set while nothing was measured
        (moments(0x50000, 0x50000, 0, 0x10000), ["the board reports: under-voltage"]),  # booted, then again
        (moments(0, 0, 0, 0, counts=[5, 5, 9, 9]), []),
        (moments(0, 0, 0, 0, counts=[5, 8, 0, 1]), ["the CPU was throttled for heat 4 times"]),  # booted in between
        (moments(0, 0, counts=[5, 6]), ["the CPU was throttled for heat 1 time"]),
    ],
)
def test_throttling_counts_within_repeats_only(seen: list[Conditions], faults: list[str]) -> None:
    assert machine_faults(seen, 4, Limits()) == faults


def test_one_busy_repeat_is_enough() -> None:
    busy, seen = 0.0, []
    for i in range(10):
        seen.append(Conditions(when="begins", time=10.0 * i, busy_s=busy, stolen_s=0.0, workers_s=0.0))
        busy += 12 if i == 6 else 0
        seen.append(Conditions(when="ends", time=10.0 * i + 10, busy_s=busy, stolen_s=0.0, workers_s=0.0))
    (fault,) = machine_faults(seen, 4, Limits())
    assert fault == "the machine was busy: other programs used 30% of its CPU time in repeat 7"


@pytest.mark.parametrize("threads", [1, 2, 4, 16])
def test_the_share_of_cpu_time_is_that_of_a_thread(threads: int) -> None:
    """Beyond two threads a sum over them does not fit the byte that it is kept in."""
    turns = [{"stages_ns": [[1, 10**6, 1]] * 4, "cpu_ns": [threads * 10**6 * k // 4 for k in (4, 3, 2, 1)]}]
    percent = decode_bytes(encode_bytes(_cpu_percent(turns, threads)), 4)
    assert percent.tolist() == [100, 75, 50, 25]


def test_ratios_say_when_too_few_rounds_were_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(ratio.undisturbed for ratio in measure(Machine({"a.onnx": 4, "b.onnx": 5})).ratios)
    none = lambda samples: np.full_like(samples.turn_medians(), np.nan)  # noqa: E731
    monkeypatch.setattr(Samples, "undisturbed_medians", none)
    (ratio,) = measure(Machine({"a.onnx": 4, "b.onnx": 5})).ratios
    assert ratio.undisturbed is False
    assert ratio.rounds == ratio.of_rounds


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_less_than_three_repeats_have_no_verdict(repeats: int) -> None:
    (ratio,) = measure(Machine({"a.onnx": 4, "b.onnx": 8}), replace(SETTINGS, repeats=repeats)).ratios
    assert ratio.verdict == ("slower" if repeats == 3 else "too few repeats")


def test_a_share_of_a_disturbed_peak_is_none() -> None:
    beyond = measure(Machine({"a.onnx": 0.5})).cells[0]
    assert beyond.peak_share is None
    assert "the peak was disturbed" in beyond.notes[0]
    peaks = {"1": Peak(gflops=100, by="numpy"), "2": Peak(gflops=80, by="numpy")}
    assert peak_share(10**8, 8.0, 1, peaks) == (0.25, None)
    share, note = peak_share(10**8, 8.0, 2, peaks)
    assert share is None
    assert "disturbed" in (note or "")
