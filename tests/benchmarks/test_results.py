import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.benchmarks.machine import SETTINGS, Machine, measure
from tests.support import ROOT
from yolo_edge.benchmarks.result_file import read_result, to_json
from yolo_edge.benchmarks.results import BenchmarkResult, Energy, without_samples
from yolo_edge.benchmarks.samples import decode, decode_bytes, encode, encode_bytes
from yolo_edge.benchmarks.table import to_csv
from yolo_edge.ondevice.errors import InputError


@pytest.fixture(scope="module")
def result() -> BenchmarkResult:
    return measure(Machine({"a.onnx": 4, "b.onnx": 5}), replace(SETTINGS, profile=3))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "benchmarks" / "result.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("whole", [True, False])
def test_results_are_of_the_published_form(
    result: BenchmarkResult, validator: jsonschema.Draft202012Validator, whole: bool
) -> None:
    document = json.loads(to_json(result if whole else without_samples(result)))
    validator.validate(document)
    assert {"schema", "host", "settings", "cells", "ratios"} <= set(document)
    promised = "model device runtime threads latency_ms memory_mb energy_mj energy_reason valid invalid_reason emulated"
    assert set(promised.split()) <= set(document["cells"][0])
    assert set(document["cells"][0]["latency_ms"]) == {"p50", "p90", "p99", "mean", "n", "ci95"}
    assert {"a", "b", "ratio", "ci95"} <= set(document["ratios"][0])
    del document["cells"][0]["latency_ms"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)


def test_energy_has_its_place(result: BenchmarkResult, validator: jsonschema.Draft202012Validator) -> None:
    energy = Energy(gross=12.5, net=8.25, scope="wall")
    cells = tuple(replace(cell, energy_mj=energy, energy_reason=None) for cell in result.cells)
    document = json.loads(to_json(replace(result, cells=cells)))
    validator.validate(document)
    assert document["cells"][0]["energy_mj"] == {"gross": 12.5, "net": 8.25, "scope": "wall"}


def test_what_is_written_is_read(result: BenchmarkResult, tmp_path: Path) -> None:
    for one in (result, without_samples(result)):
        path = tmp_path / "a.json"
        path.write_bytes(to_json(one))
        assert read_result(path) == one


def test_results_from_before_fast_was_an_option(result: BenchmarkResult, tmp_path: Path) -> None:
    document = json.loads(to_json(result))
    del document["settings"]["fast"]
    for cell in document["cells"]:
        del cell["precise"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    old = read_result(path)
    assert old.settings.fast is False
    assert {cell.precise for cell in old.cells} == {None}


def change(document: Any, *keys: Any, value: Any) -> None:
    *above, last = keys
    for key in above:
        document = document[key]
    document[last] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["schema"], 2, "schema 2, this yolo-edge reads 1"),
        (["schema"], "1", "schema '1'"),
        (["schema"], None, "schema None"),
        (["cells"], [], "cells: there are none"),
        (["cells"], 3, r"\$.cells"),
        (["cells", 0, "latency_ms", "p50"], -1, r"latency_ms.p50"),
        (["cells", 0, "latency_ms", "p50"], "fast", r"latency_ms.p50"),
        (["cells", 0, "latency_ms", "p50"], 1e308, r"latency_ms.p50"),
        (["cells", 0, "memory_mb"], -1, r"memory_mb"),
        (["cells", 0, "model"], "x" * 5000, r"model"),
        (["cells", 0, "latency_ms", "p50"], 0, r"cells\[0\].latency_ms: expected a p50 and an interval above 0"),
        (["cells", 0, "latency_ms", "ci95"], [0, 1], r"cells\[0\].latency_ms: expected"),
        (["cells", 1, "model"], "a.onnx", r"cells\[1\]: the same model, device, runtime and threads as cells\[0\]"),
        (["cells", 0, "latency_ms"], None, r"latency_ms"),
        (["cells", 0, "threads"], 0, r"threads"),
        (["cells", 0, "samples", "repeats"], 7, r"cells\[0\].samples: damaged"),
        (["cells", 0, "samples", "repeats"], 0, r"repeats"),
        (["cells", 0, "samples", "turns"], [10**12], r"cells\[0\].samples: damaged"),
        (["cells", 0, "samples", "turns"], [], r"cells\[0\].samples: damaged"),
        (["cells", 0, "samples", "turns", 0], 0, r"cells\[0\].samples: damaged"),
        (["cells", 0, "samples", "at_s"], [0], r"cells\[0\].samples: damaged"),
        (["cells", 1, "samples", "stages", "inference"], "AAAA", r"cells\[1\].samples: damaged"),
        (["cells", 1, "samples", "stages", "inference"], "ü", r"cells\[1\].samples: damaged"),
        (
            ["cells", 1, "samples", "stages"],
            {},
            r'cells\[1\].samples: .*the stage "inference" is missing',
        ),
        (["cells", 1, "samples", "cpu"], "", r"cells\[1\].samples: damaged"),
        (["ratios", 0, "verdict"], "great", r"verdict"),
        (["ratios", 0, "ratio"], 0, r"ratio"),
    ],
)
def test_damaged_results_are_refused(
    result: BenchmarkResult, tmp_path: Path, keys: list[Any], value: Any, message: str
) -> None:
    document = json.loads(to_json(result))
    change(document, *keys, value=value)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as raised:
        read_result(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"null", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"schema":1}', b"1e999"])
def test_files_that_are_no_results(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.json: "):
        read_result(path)


@given(st.data())
def test_a_cut_result_is_refused(data: st.DataObject) -> None:
    import tempfile

    text = to_json(_small())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_bytes(text[: data.draw(st.integers(0, len(text) - 3))])
        with pytest.raises(InputError):
            read_result(path)


def _small(kept: list[BenchmarkResult] = []) -> BenchmarkResult:  # noqa: B006 - made once
    if not kept:
        kept.append(measure(Machine({"a.onnx": 4}), replace(SETTINGS, repeats=1, seconds=0.2)))
    return kept[0]


@given(st.lists(st.integers(0, 2**31 * 100), max_size=200))
def test_samples_come_back(nanoseconds: list[int]) -> None:
    back = decode(encode(nanoseconds), len(nanoseconds))
    np.testing.assert_allclose(back, np.array(nanoseconds, float) / 1e6, atol=51e-6)


@given(st.lists(st.integers(0, 255), max_size=200))
def test_bytes_come_back(values: list[int]) -> None:
    assert decode_bytes(encode_bytes(values), len(values)).tolist() == values


@given(st.text(max_size=50), st.integers(-5, 2**40))
def test_any_text_is_samples_or_refused(text: str, count: int) -> None:
    with suppress(ValueError):
        assert len(decode(text, count)) == count


def test_samples_are_compact() -> None:
    times = np.random.default_rng(0).lognormal(15, 0.03, 10_000)
    assert len(encode(times)) < 3.2 * len(times)


def test_undisturbed_inferences_are_told_apart() -> None:
    samples = _small().cells[0].samples
    assert samples is not None
    n = sum(samples.turns)
    percent = np.full(n, 100)
    percent[: samples.turns[0]] = 50  # the whole first turn shared its CPU
    disturbed = msgspec.structs.replace(samples, cpu=encode_bytes(percent))
    medians = disturbed.undisturbed_medians()
    assert np.isnan(medians[0, 0])
    np.testing.assert_array_equal(medians.reshape(-1)[1:], samples.turn_medians().reshape(-1)[1:])


def test_names_that_break_lines_are_made_printable(result: BenchmarkResult, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(to_json(result).replace(b'"b.onnx"', '"b\u2028\\u0007.onnx"'.encode()))
    read = read_result(path)
    assert read.cells[1].model == read.ratios[0].a == "b??.onnx"


def test_csv_has_a_row_a_cell(result: BenchmarkResult) -> None:
    import csv

    rows = list(csv.DictReader(to_csv([result, result]).decode().splitlines()))
    assert [row["model"] for row in rows] == ["a.onnx", "b.onnx", "a.onnx", "b.onnx"]
    assert float(rows[0]["inference_p50_ms"]) == result.cells[0].latency_ms.p50
    assert float(rows[0]["total_p99_ms"]) > float(rows[0]["inference_p99_ms"])
    assert not any("energy" in name for name in rows[0])
