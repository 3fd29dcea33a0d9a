import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import onnxruntime as ort
import openvino
import pytest

from tests.cli.conftest import Run
from tests.ondevice.test_detector import foreign
from tests.support import ROOT, random_darknet, wait_for
from yolo_edge.benchmarks.journal import SUFFIX
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.cli import main

SMALL = ["--quick", "--seconds", "0.1", "--repeats", "2", "--threads", "1"]


@pytest.fixture(scope="module")
def models(onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [Path(shutil.copy(onnx_file, folder / name)) for name in ("one.onnx", "two.onnx")]


@pytest.fixture(scope="module")
def results(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the result of one run."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["benchmark", *map(str, models), *SMALL, "-o", str(folder)]) == 0
    return folder


def test_json_is_of_the_published_form(run: Run, models: list[Path], tmp_path: Path, picture: Path) -> None:
    table = tmp_path / "table.csv"
    done = run("benchmark", *models, *SMALL, "--json", "--csv", table, "--image", picture, "--profile", "--fast")
    assert done.code == 0, done.err
    document = done.json
    jsonschema.validate(document, json.loads((ROOT / "benchmarks" / "result.schema.json").read_text()))
    assert [cell["model"] for cell in document["cells"]] == [str(model) for model in models]
    for cell in document["cells"]:
        assert cell["runtime"] == "onnxruntime"
        assert cell["precise"] is False
        assert cell["device"] == "local"
        assert cell["samples"] is None
        assert cell["energy_mj"] is None
        assert cell["energy_reason"].startswith("not measured")
        assert 0 < cell["latency_ms"]["p50"] <= cell["latency_ms"]["p90"] <= cell["latency_ms"]["p99"]
        assert cell["total_ms"]["p50"] > cell["latency_ms"]["p50"]
        assert cell["peak_share"] is None or 0 < cell["peak_share"] <= 1
        assert cell["macs"] > 0
        assert cell["profile"]["operators"]
    (ratio,) = document["ratios"]
    assert (ratio["a"], ratio["b"]) == (str(models[1]), str(models[0]))
    assert document["settings"]["image"] == str(picture)
    assert document["settings"]["quick"] is True
    assert document["settings"]["fast"] is True
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["model"] for row in rows] == [str(model) for model in models]


def test_the_result_holds_all_samples(results: Path) -> None:
    (path,) = results.glob("*.json")
    result = read_result(path)
    for cell in result.cells:
        assert cell.samples is not None
        assert cell.latency_ms.n == sum(cell.samples.turns)
    assert [moment.when for moment in result.conditions] == [
        "before",
        "repeat 1 begins",
        "repeat 1 ends",
        "repeat 2 begins",
        "repeat 2 ends",
        "after",
    ]
    assert list(results.iterdir()) == [path]


def test_all_runtimes(run: Run, models: list[Path], picture: Path) -> None:
    detecting = run("detect", models[0], picture, "--runtime", "all")
    assert detecting.code == 2
    assert "'all' is not known; there are auto, onnxruntime, openvino, opencv, tflite" in detecting.err
    done = run("benchmark", models[0], *SMALL, "--runtime", "all", "--json")
    assert done.code == 0, done.err
    document = done.json
    jsonschema.validate(document, json.loads((ROOT / "benchmarks" / "result.schema.json").read_text()))
    cells = {cell["runtime"]: cell for cell in document["cells"]}
    assert list(cells) == ["onnxruntime", "openvino", "opencv"]
    assert len({cell["detections"] for cell in cells.values()}) == 1
    for name, package in (("onnxruntime", ort), ("openvino", openvino), ("opencv", cv2)):
        assert package.__version__.startswith(cells[name]["runtime_version"])
    assert [(ratio["runtime_a"], ratio["runtime_b"]) for ratio in document["ratios"]] == [
        ("openvino", "onnxruntime"),
        ("opencv", "onnxruntime"),
    ]


def test_a_table_and_notes(run: Run, models: list[Path]) -> None:
    done = run("benchmark", *models, *SMALL, "--no-pin")
    assert done.code == 0, done.err
    assert "one.onnx" in done.out
    assert "two.onnx" in done.out
    assert "QUICK" in done.err
    assert "of 2 repeats" in done.err
    assert "too few repeats" in done.out
    assert re.search(r"\d+ of \d+$", done.out.rstrip())


def test_headings_of_profiles_are_with_their_tables(run: Run, models: list[Path]) -> None:
    done = run("benchmark", models[0], "--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1", "--profile")
    assert done.code == 0, done.err
    assert "one.onnx, threads 1: time by operator" in done.out
    assert "of 1 repeat in" in done.err


def test_emulated_cells_and_baselines(run: Run, results: Path, tmp_path: Path) -> None:
    (path,) = results.glob("*.json")
    old, new = altered(path, tmp_path / "old.json", 1.0), altered(path, tmp_path / "new.json", 2.0)
    new.write_text(new.read_text().replace('"emulated": false', '"emulated": true'))
    done = run("report", new, "--baseline", old, "--fail-above", "5%")
    assert done.code == 0, done.err
    assert done.out.count("emulated, not judged") == 2
    assert "emulated cells are not judged" in done.err


def test_cfgs_and_files_without_a_spec(run: Run, cfg: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(foreign().SerializeToString())
    done = run("benchmark", cfg, path, *SMALL, "--json")
    assert done.code == 0, done.err
    with_spec, without = done.json["cells"]
    assert with_spec["model"] == str(cfg)
    assert with_spec["detections"] is not None
    assert without["total_ms"] is None
    assert "no spec" in without["notes"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "--threads '0': expected numbers from 1 to 1024"),
        (["--threads", "1,,2"], "expected values between commas"),
        (["--threads", "x"], "expected numbers from 1 to 1024"),
        (["--seconds", "nan"], "--seconds nan: expected"),
        (["--seconds", "1e9"], "--seconds"),
        (["--repeats", "0"], "--repeats 0: expected 1..1000"),
        (["--inferences", "0"], "--inferences 0"),
        (["--cooldown", "-1"], "--cooldown -1"),
        (["--device", "pi5"], "no such device"),
        (["--runtime", "ncnn"], "runtime 'ncnn' is not known"),
        (["--image", "/nonexistent.png"], "no such file"),
        (["--csv", "/"], "/: is a folder, expected the name of a file"),
        (["-o", "/dev/null/x"], "files cannot be written there"),
        (["--weights", "w.weights"], "goes with one model"),
    ],
)
def test_bad_options(refuse: Callable[..., str], models: list[Path], options: list[str], message: str) -> None:
    assert message in refuse("benchmark", *models, "--quick", *options)


def test_bad_models(refuse: Callable[..., str], models: list[Path], tmp_path: Path) -> None:
    assert "no such file" in refuse("benchmark", tmp_path / "missing.onnx", "--quick")
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refuse("benchmark", models[0], tmp_path / "empty.onnx", "--quick")
    assert "named twice" in refuse("benchmark", models[0], models[0], "--quick")
    (tmp_path / "a.pt").write_bytes(b"x")
    assert ".pt" in refuse("benchmark", tmp_path / "a.pt", "--quick")


def program(*arguments: object, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "yolo_edge", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on(models: list[Path], tmp_path: Path, number: int) -> None:
    arguments = [
        "benchmark",
        *models,
        "--quick",
        "--seconds",
        "0.4",
        "--repeats",
        "4",
        "--threads",
        "1",
        "-o",
        tmp_path,
    ]
    process = program(*arguments)
    wait_for(lambda: any(path.read_bytes().count(b"\n") >= 2 for path in tmp_path.glob(f"*{SUFFIX}")), 60)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in err
    assert ("the same command goes on" in err) is (number == signal.SIGINT)
    (journal,) = tmp_path.glob(f"*{SUFFIX}")
    finished = journal.read_bytes().count(b"\n") - 1
    assert 1 <= finished < 4
    assert not list(tmp_path.glob("*.json"))

    out, err = program(*arguments, "--json").communicate(timeout=120)
    assert f"{finished} of 4 repeats are there" in err
    (path,) = tmp_path.iterdir()
    result = read_result(path)
    assert json.loads(out)["created"] == result.created
    assert [cell.model for cell in result.cells] == [str(model) for model in models]
    assert all(len(cell.repeats_ms) == 4 for cell in result.cells)
    numbered = [f"repeat {i} {what}" for i in range(1, 5) for what in ("begins", "ends")]
    assert [moment.when for moment in result.conditions] == ["before", *numbered, "after"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB; where nothing can be mounted the test skips and says so."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(refuse: Callable[..., str], run: Run, results: Path, models: list[Path], small_disk: Path) -> None:
    (old,) = results.glob("*.json")
    (small_disk / "filler").write_bytes(b"x" * 20_000)
    kept = Path(shutil.copy(old, small_disk / "old.json"))
    before = kept.read_bytes()
    room = os.statvfs(small_disk)
    (small_disk / "rest").write_bytes(b"x" * max(room.f_bavail * room.f_frsize - 8192, 0))
    message = refuse("benchmark", models[0], *SMALL, "-o", small_disk, code=1)
    assert "cannot be written (no space left on device)" in message
    assert kept.read_bytes() == before
    assert sorted(path.name for path in small_disk.glob("*.json")) == ["old.json"]
    # with room again the run goes on, or begins anew where not even one repeat had fitted
    (small_disk / "rest").unlink()
    (small_disk / "filler").unlink()
    assert run("benchmark", models[0], *SMALL, "-o", small_disk).code == 0
    assert len(list(small_disk.glob("*.json"))) == 2
    page = small_disk / "report.html"
    page.write_text("the old page")
    assert "no space left" in refuse("report", kept, "-o", page, code=1)
    assert page.read_text() == "the old page"


def test_report(run: Run, results: Path, models: list[Path], tmp_path: Path) -> None:
    (path,) = results.glob("*.json")
    accuracy = tmp_path / "accuracy.json"
    document = [{"model": str(models[0]), "images": 9, "mAP50": 0.5, "mAP50_95": 0.25, "per_class": {}}]
    accuracy.write_text(json.dumps(document))
    pages = ["-o", tmp_path / "report.html", "-o", tmp_path / "report.md", "--csv", tmp_path / "all.csv"]
    done = run("report", path, *pages, "--accuracy", accuracy)
    assert done.code == 0, done.err
    assert done.out == ""
    assert "25.0%" in (tmp_path / "report.html").read_text()
    assert "25.0%" in (tmp_path / "report.md").read_text()
    for name in ("latency", "accuracy", "ratios"):
        assert (tmp_path / f"report-{name}.svg").read_text().startswith("<svg")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 3


def altered(path: Path, target: Path, factor: float) -> Path:
    """A result whose machine was slower by a factor, and valid whatever this one did meanwhile."""
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        cell.update(samples=None, valid=True, invalid_reason=None, repeats_ms=[2.0 * factor] * 3)
        latency = cell["latency_ms"]
        latency["p50"] = 2.0 * factor
        latency["ci95"] = [1.98 * factor, 2.02 * factor]
    target.write_text(json.dumps(document))
    return target


def test_baselines_and_exit_codes(run: Run, results: Path, tmp_path: Path) -> None:
    (path,) = results.glob("*.json")
    old = altered(path, tmp_path / "old.json", 1.0)
    slower = altered(path, tmp_path / "slower.json", 1.1)
    same = run("report", old, "--baseline", old, "--fail-above", "5%")
    assert (same.code, same.out.count("no difference")) == (0, 2)
    assert run("report", slower, "--baseline", old).code == 0
    assert run("report", slower, "--baseline", old, "--fail-above", "20").code == 0
    failed = run("report", slower, "--baseline", old, "--fail-above", "5%", "-o", tmp_path / "page.html")
    assert failed.code == 1
    assert "one.onnx (onnxruntime, threads 1) takes 1.100" in failed.err
    assert "Against the baseline" in (tmp_path / "page.html").read_text()
    assert run("report", old, "--baseline", slower, "--fail-above", "5%").code == 0
    document = run("report", slower, "--baseline", old, "--json").json
    assert [item["verdict"] for item in document["baseline"]] == ["slower", "slower"]


def test_reports_that_cannot_be_made(refuse: Callable[..., str], results: Path, tmp_path: Path) -> None:
    (path,) = results.glob("*.json")
    assert "nothing to do" in refuse("report", path)
    (tmp_path / "folder.html").mkdir()
    assert "is a folder" in refuse("report", path, "-o", tmp_path / "folder.html")
    assert "expected a .html or .md file" in refuse("report", path, "-o", tmp_path / "report.pdf")
    assert "goes with --baseline" in refuse("report", path, "--fail-above", "5%", "--json")
    for text in ("x", "-5%", "5 percent", "1e9", ""):
        assert "expected a percentage" in refuse("report", path, "--baseline", path, "--fail-above", text)
    assert "no such file" in refuse("report", tmp_path / "missing.json", "-o", tmp_path / "a.html")
    assert "no such file" in refuse("report", path, "--accuracy", tmp_path / "missing.json", "-o", tmp_path / "a.html")
    (tmp_path / "cut.json").write_bytes(path.read_bytes()[:-100])
    assert "not a result" in refuse("report", tmp_path / "cut.json", "-o", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_odd_names(run: Run, onnx_bytes: bytes, tmp_path: Path) -> None:
    model = tmp_path / os.fsdecode(b"bad\xff name|`.onnx")
    model.write_bytes(onnx_bytes)
    done = run("benchmark", model, *SMALL, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    (path,) = (tmp_path / "out").iterdir()
    assert run("report", path, "-o", tmp_path / "r.html", "-o", tmp_path / "r.md").code == 0


def test_an_exported_cfg_is_the_same_again(tmp_path: Path, run: Run) -> None:
    """The key of a run is that of the exported bytes: a cut run of a .cfg can go on."""
    cfg = random_darknet(tmp_path, seed=5)
    digests = {run("benchmark", cfg, *SMALL, "--json").json["cells"][0]["sha256"] for _ in range(2)}
    assert len(digests) == 1
