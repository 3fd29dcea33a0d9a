import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import HOST, SETTINGS, Machine, measure
from yolo_edge.benchmarks.baseline import compare, problems
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
    with pytest.raises(InputError, match=r"different machines cannot be compared: Cortex-A72.*; Cortex-A76"):
        compare([other], [run(1, a=4)])
    with pytest.raises(InputError, match="no cell is in both"):
        compare([run(1, a=4)], [run(1, b=4)])
    with pytest.raises(InputError, match="twice in the baseline"):
        compare([run(1, a=4)], [run(1, a=4), run(2, a=4)])


def test_folders_do_not_matter() -> None:
    new = measure(Machine({"new/a.onnx": 4}), replace(SETTINGS, repeats=2))
    old = measure(Machine({"old/a.onnx": 4}), replace(SETTINGS, repeats=2))
    assert [item.model for item in compare([new], [old])] == ["a.onnx"]
