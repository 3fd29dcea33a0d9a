"""`--runtime all`: what is there is compared, what is not is named."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure, subjects
from yolo_edge.benchmarks.benchmark import Benchmark
from yolo_edge.benchmarks.report.content import gather
from yolo_edge.benchmarks.report.page import html, markdown
from yolo_edge.benchmarks.result_file import parse_result, to_json
from yolo_edge.benchmarks.results import BenchmarkResult, cells_of
from yolo_edge.ondevice.errors import InputError, MissingRuntimeError, YoloEdgeError

ALL = replace(SETTINGS, runtime="all", threads=(1, 2))


def failing(*what: str, error: YoloEdgeError) -> Callable[[str, str], None]:
    def fail(label: str, do: str) -> None:
        if do == "load" and label.startswith(what):
            raise error

    return fail


@pytest.fixture(scope="module")
def result() -> BenchmarkResult:
    missing = MissingRuntimeError("openvino is not installed; run: pip install openvino")
    machine = Machine({"a.onnx": 4.0, "b.onnx": 6.0}, fail=failing("b.onnx, openvino", error=missing))
    return measure(machine, ALL)


def test_cells_of_all_that_run(result: BenchmarkResult) -> None:
    assert [(cell.model, cell.runtime, cell.threads) for cell in result.cells] == [
        (model, runtime, threads)
        for model, runtimes in (
            ("a.onnx", ("onnxruntime", "openvino", "opencv")),
            ("b.onnx", ("onnxruntime", "opencv")),
        )
        for runtime in runtimes
        for threads in (1, 2)
    ]
    assert {cell.runtime_version for cell in result.cells} == {"1.2.3"}
    (left,) = result.left_out
    assert (left.model, left.runtime) == ("b.onnx", "openvino")
    assert left.reason == "openvino is not installed; run: pip install openvino"


def test_what_is_compared_with_what(result: BenchmarkResult) -> None:
    first, found = result.cells[0], []
    for ratio in result.ratios:
        a, b = cells_of(result, ratio)
        assert a is not None
        assert b is not None
        assert a is not b
        found.append(((a.model, a.runtime, a.threads), (b.model, b.runtime, b.threads)))
        if a.threads == b.threads:
            assert b.runtime == "onnxruntime"
        else:
            assert (a.model, a.runtime) == (b.model, b.runtime)
    assert len(set(found)) == len(found)
    # each cell with as many threads as the first has a ratio to it, but for itself
    with_first = [a for a, b in found if b == (first.model, first.runtime, 1) and a[2] == 1]
    assert with_first == [(c.model, c.runtime, 1) for c in result.cells if c.threads == 1 and c is not first]
    assert (("b.onnx", "opencv", 2), ("b.onnx", "onnxruntime", 2)) in found


def test_the_form_holds_it(result: BenchmarkResult) -> None:
    assert parse_result(to_json(result), Path("result.json")) == result
    # results of yolo-edge 0.6 know nothing of it
    old = msgspec.json.decode(to_json(measure(Machine({"a.onnx": 4.0, "b.onnx": 6.0}))))
    del old["left_out"]
    for cell in old["cells"]:
        del cell["runtime_version"]
    for ratio in old["ratios"]:
        del ratio["runtime_a"], ratio["runtime_b"]
    read = parse_result(msgspec.json.encode(old), Path("old.json"))
    assert all(None not in cells_of(read, ratio) for ratio in read.ratios)
    assert "Runtimes" not in markdown(gather([read]), "r")[0]


def test_side_by_side_in_reports(result: BenchmarkResult) -> None:
    content = gather([result])
    text, _ = markdown(content, "report")
    section = text.partition("## Runtimes")[2].partition("## Ratios")[0]
    assert "onnxruntime 1.2.3 | openvino 1.2.3 | opencv 1.2.3 |" in section
    rows = [line for line in section.splitlines() if line.startswith(("| a.onnx", "| b.onnx"))]
    assert len(rows) == 4
    assert all("(" in row for row in rows)
    assert rows[2].split("|")[4].strip() == "-"
    assert "b.onnx in openvino: openvino is not installed; run: pip install openvino" in section
    page = html(content)
    assert "<h2>Runtimes</h2>" in page
    assert "a.onnx, openvino ×2" in page
    names = [row.name for row in content.rows]
    assert len(set(names)) == len(names)


def test_no_runtime_runs_it() -> None:
    crash = YoloEdgeError("the agent ended by signal 11 during 'load'")
    machine = Machine({"a.onnx": 4.0}, fail=failing("a.onnx", error=crash))
    with pytest.raises(InputError, match=r"^a\.onnx: no runtime there runs it \(onnxruntime: the agent ended by"):
        Benchmark(subjects(["a.onnx"]), ALL, machine.connect)


def test_a_crash_leaves_one_out() -> None:
    crash = YoloEdgeError("the agent ended by signal 11 during 'load'")
    machine = Machine({"a.onnx": 4.0}, fail=failing("a.onnx, opencv", error=crash))
    plan = Benchmark(subjects(["a.onnx"]), ALL, machine.connect)
    assert [(one.runtime, one.reason) for one in plan.left_out] == [("opencv", str(crash))]
    assert not machine.open


def test_a_run_of_all_is_another_run() -> None:
    machine = Machine({"a.onnx": 4.0})
    keys = {
        Benchmark(subjects(["a.onnx"]), replace(SETTINGS, runtime=name), machine.connect).key
        for name in ("auto", "all", "openvino")
    }
    assert len(keys) == 3
