import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import HOST, SETTINGS, Machine, measure
from yolo_edge.benchmarks.baseline import compare, differences, problems
from yolo_edge.benchmarks.results import BenchmarkResult, without_samples
from yolo_edge.ondevice.errors import InputError


def run(seed: int, **base_ms: float) -> BenchmarkResult:
    return measure(Machine({f"{name}.onnx": ms for name, ms in base_ms.items()}, seed=seed))


def test_verdicts() -> None:
    comparisons = compare([run(1, a=4, b=4.4, c=3.6, new=5)], [run(2, a=4, b=4, c=4, old=5)])
    verdicts = {item.model: item.verdict for item in comparisons}
    assert verdicts == {
        "a.onnx": "no difference",
        "b.onnx": "slower",
        "c.onnx": "faster",
        "new.onnx": "new",
        "old.onnx": "missing",
    }
    (slower,) = [item for item in comparisons if item.verdict == "slower"]
    assert slower.ratio == pytest.approx(1.1, rel=0.02)
    assert slower.ci95 is not None
    assert slower.ci95[0] <= 1.1 <= slower.ci95[1]


def test_only_what_is_beyond_the_limit_is_a_problem() -> None:
    comparisons = compare([run(1, a=4.4)], [run(2, a=4)])
    assert problems(comparisons, 0.2) == []
    (text,) = problems(comparisons, 0.05)
    assert text.startswith("a.onnx (onnxruntime, threads 1) takes 1.1")


def test_what_cannot_be_judged_is_a_problem() -> None:
    disturbed = measure(Machine({"a.onnx": 4}, conditions=lambda seconds: {"busy_s": 3 * seconds}))
    comparisons = compare([disturbed], [run(2, a=4, b=4)])
    assert [item.verdict for item in comparisons] == ["not valid", "missing"]
    texts = problems(comparisons, 0.5)
    assert "cannot be judged" in texts[0]
    assert "the baseline only" in texts[1]


def test_without_samples_the_intervals_are_used() -> None:
    new, old = run(1, a=4.4), run(2, a=4)
    (exact,) = compare([new], [old])
    (rough,) = compare([without_samples(new)], [without_samples(old)])
    assert rough.verdict == exact.verdict == "slower"
    assert rough.ratio == pytest.approx(exact.ratio, rel=0.01)


def test_other_machines_and_nothing_in_common() -> None:
    other = measure(Machine({"a.onnx": 4}, host={**HOST, "cpu": {**HOST["cpu"], "name": "Cortex-A72"}}))  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"different machines cannot be compared: .*Cortex-A72.*; .*Cortex-A76"):
        compare([other], [run(1, a=4)])
    with pytest.raises(InputError, match="no cell is in both"):
        compare([run(1, a=4)], [run(1, b=4)])
    with pytest.raises(InputError, match="twice in the baseline"):
        compare([run(1, a=4)], [run(1, a=4), run(2, a=4)])


def test_folders_do_not_matter() -> None:
    new = measure(Machine({"new/a.onnx": 4}), replace(SETTINGS, repeats=2))
    old = measure(Machine({"old/a.onnx": 4}), replace(SETTINGS, repeats=2))
    assert [item.model for item in compare([new], [old])] == ["a.onnx"]


def test_other_boards_with_the_same_cpu() -> None:
    other = measure(Machine({"a.onnx": 4}, host={**HOST, "model": "Compute Module 5"}))
    with pytest.raises(InputError, match=r"different machines .*Compute Module 5: .*; Raspberry Pi 5: "):
        compare([other], [run(1, a=4)])


def test_what_else_differs_is_a_note() -> None:
    host = {**HOST, "name": "other", "kernel": "6.12", "versions": {"numpy": "2.1"}}
    machine = Machine({"a.onnx": 4}, host=host)
    new = measure(machine, replace(SETTINGS, seconds=2.0, image="/dog.jpg", image_sha256="abc"))
    new = replace(new, cells=tuple(replace(cell, sha256="f" * 64, input=(416, 416)) for cell in new.cells))
    comparisons = compare([new], [run(1, a=4)])
    assert differences(comparisons) == [
        "host name: fake before, other now",
        "kernel: 6.6 before, 6.12 now",
        "numpy: 2.0 before, 2.1 now",
        "input: (320, 320) before, (416, 416) now",
        "setting seconds: 3.0 before, 2.0 now",
        "setting image_sha256: None before, abc now",
        "model file: sha256 sha of a.onn before, ffffffffffff now",
    ]
    assert differences(compare([run(1, a=4)], [run(2, a=4)])) == []


def test_notes_of_some_cells_name_them() -> None:
    new = run(1, a=4, b=4)
    changed = replace(new, cells=(replace(new.cells[0], sha256="0" * 64), new.cells[1]))
    (note,) = differences(compare([changed], [run(2, a=4, b=4)]))
    assert note.startswith("a.onnx (onnxruntime, threads 1): model file: ")


@pytest.mark.parametrize("samples", [True, False])
def test_too_few_repeats_cannot_be_judged(samples: bool) -> None:
    new, old = run(1, a=8), measure(Machine({"a.onnx": 4}), replace(SETTINGS, repeats=2))
    if not samples:
        new, old = without_samples(new), without_samples(old)
    comparisons = compare([new], [old])
    assert [item.verdict for item in comparisons] == ["too few repeats"]
    assert "at least 3 repeats" in problems(comparisons, 0.05)[0]


def test_emulated_cells_are_not_judged() -> None:
    new = run(1, a=8)
    emulated = replace(new, cells=(replace(new.cells[0], emulated=True),))
    comparisons = compare([emulated], [run(2, a=4)])
    assert [item.verdict for item in comparisons] == ["emulated"]
    assert problems(comparisons, 0.05) == []


def test_wide_intervals_without_samples_stay_above_zero() -> None:
    """Half widths that add linearly would give a time below 0."""
    new = without_samples(run(1, a=4))
    (cell,) = new.cells
    wide = replace(new, cells=(replace(cell, latency_ms=replace(cell.latency_ms, p50=4.0, ci95=(1.0, 16.0))),))
    (forth,) = compare([wide], [wide])
    assert forth.ci95 is not None
    assert forth.ci95[0] * forth.ci95[1] == pytest.approx(1)  # as much this way as the other
    assert forth.ci95[0] == pytest.approx(4 ** -(2**0.5))
