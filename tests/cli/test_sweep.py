import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.support import random_darknet, random_picture
from yolo_edge import Detector
from yolo_edge.benchmarks.result_file import read_result
from yolo_edge.datasets import read_dataset
from yolo_edge.evaluation import chunks
from yolo_edge.evaluation.cluster import DaskWorkers
from yolo_edge.evaluation.parallel import ChunkedWork, Options
from yolo_edge.evaluation.pool import Job, LocalWorkers
from yolo_edge.export.exporter import ExportOptions, export
from yolo_edge.export.verify import VerificationError
from yolo_edge.ondevice.errors import InputError, YoloEdgeError

PICTURES = 120  # of 8 chunks
TIMED = ["--quick", "--seconds", "0.1", "--repeats", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    cfg = random_darknet(folder, 11, classes=3)
    (folder / "a.names").write_text("cat\ndog\ntraffic light\n")
    return cfg


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose labels are what the model finds in them, the best three of each."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "images").mkdir()
    options = ExportOptions(sizes=((64, 64),))
    (file,) = export(source, tmp_path_factory.mktemp("first"), options).files
    detector = Detector(file.path, confidence=0.02, iou=0.3)
    images, annotations = [], []
    for i in range(PICTURES):
        picture = random_picture(60 + i % 7, 50, i)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
        images.append({"id": i, "file_name": f"{i}.png", "width": 60 + i % 7, "height": 50})
        found = detector(picture)
        for box, class_id in list(zip(found.xyxy.tolist(), found.class_id.tolist(), strict=True))[:3]:
            x1, y1, x2, y2 = box
            annotations.append({"image_id": i, "category_id": 1 + class_id, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    assert len(annotations) > PICTURES
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "traffic light"}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return path


@pytest.fixture(scope="module")
def arguments(source: Path, dataset: Path) -> list[object]:
    names = source.with_name("a.names")
    few = ["--workers", "2", "--resamples", "20"]
    return ["sweep", source, "--sizes", "32,64", "--data", dataset, "--names", names, *few, *TIMED]


def without(document: Any) -> Any:
    """The accuracies alone: times differ, and how they came to be."""
    return [{k: v for k, v in item.items() if k not in ("inference_ms", "settings", "model")} for item in document]


@pytest.fixture(scope="module")
def expected(source: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `validate` says of the same files, in one process."""
    from yolo_edge.cli import main

    folder = tmp_path_factory.mktemp("expected")
    names = ["--names", str(source.with_name("a.names"))]
    assert main(["export", str(source), "--size", "32,64", "-o", str(folder), *names]) == 0
    files = sorted(folder.glob("*.onnx"), key=lambda path: int(path.stem.split("-")[-2]))
    command = [
        sys.executable,
        "-m",
        "yolo_edge",
        "validate",
        *map(str, files),
        "--data",
        str(dataset),
        "--threads",
        "1",
        "--resamples",
        "20",
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, check=True)
    return without(json.loads(done.stdout))


def accuracies(folder: Path) -> Any:
    return without(json.loads((folder / "results" / "accuracy.json").read_text()))


def program(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "yolo_edge", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_all_is_made_and_measured_and_not_again(
    run: Run, arguments: list[object], expected: Any, tmp_path: Path
) -> None:
    done = run(*arguments, "-o", tmp_path, "--json")
    assert done.code == 0, done.err
    document = done.json
    assert [item["size"] for item in document["files"]] == [[32, 32], [64, 64]]
    assert [(cell["input"], cell["threads"]) for cell in document["cells"]] == [([32, 32], 1), ([64, 64], 1)]
    assert accuracies(tmp_path) == expected
    assert [cell["mAP50"] for cell in document["cells"]] == [item["mAP50"] for item in expected]
    results = sorted((tmp_path / "results").iterdir())
    assert [path.name.split("-")[0] for path in results] == ["accuracy.json", "benchmark", "benchmark"]
    assert not list((tmp_path / ".work").rglob("*.chunk"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = run(*arguments, "-o", tmp_path, "--json")
    assert again.code == 0, again.err
    assert again.json == document
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    # one size more: the others stay as they are
    wider = ["32,48,64" if word == "32,64" else word for word in arguments]
    more = run(*wider, "-o", tmp_path)
    assert more.code == 0, more.err
    assert "yolo-edge choose" in more.err
    assert len(accuracies(tmp_path)) == 3
    for path in (path for path in before if path.suffix == ".onnx" or "benchmark" in path.name):
        assert path.read_bytes() == before[path]
    chosen = run("choose", tmp_path / "results", "--max-latency", "1s", "--allow-invalid", "--json")
    assert chosen.code == 0, chosen.err
    best = max(item["mAP50_95"] for item in accuracies(tmp_path))
    assert chosen.json["chosen"]["figures"]["mAP"]["value"] == best


def test_a_killed_sweep_goes_on(arguments: list[object], expected: Any, tmp_path: Path) -> None:
    process = program(*arguments, "-o", tmp_path)
    chunks_there = lambda: len(list((tmp_path / ".work").rglob("*.chunk")))  # noqa: E731
    wait_until(lambda: chunks_there() >= 2 or process.poll() is not None)
    workers = children_of(process.pid)
    assert workers
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -9
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / ".work").rglob("*.chunk")}
    assert 2 <= len(kept) < 16
    assert not (tmp_path / "results" / "accuracy.json").exists()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").iterdir()}
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30)  # no worker outlives its sweep
    cut = next(iter(kept))  # what was cut is no chunk
    cut.write_bytes(cut.read_bytes()[:-7])
    process = program(*arguments, "-o", tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert accuracies(tmp_path) == expected
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").iterdir()} == files
    assert len(list((tmp_path / "results").glob("benchmark-*.json"))) == 2


def children_of(pid: int) -> list[int]:
    """The worker processes that were started by this one."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) if b"spawn_main" in words else 0
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


def test_a_killed_worker_loses_nothing(source: Path, dataset: Path, tmp_path: Path) -> None:
    (file,) = export(source, tmp_path).files
    labelled = read_dataset(dataset)
    import hashlib

    models = [(Path(file.path), hashlib.sha256(Path(file.path).read_bytes()).hexdigest())]
    work = ChunkedWork(models, labelled, Options(), tmp_path / "work")
    assert work.missing == work.chunks == 8
    done: list[str] = []

    def progress(name: str) -> None:
        done.append(name)
        if len(done) == 3:
            os.kill(children_of(os.getpid())[0], signal.SIGKILL)

    work.run(LocalWorkers(2), progress)
    assert len(done) == 8
    assert work.missing == 0
    run = work.collect(skip_bad=False)
    assert run.found[0].images == PICTURES
    detector = Detector(file.path, threads=1, confidence=0.001, iou=0.6)
    last = detector(cv2.imread(str(labelled.paths[-1])))
    mine = run.found[0].image == PICTURES - 1
    assert np.array_equal(run.found[0].confidence[mine], last.confidence.astype(np.float64))
    assert np.array_equal(run.found[0].xyxy[mine], last.xyxy.astype(np.float64))
    work.forget()
    assert not list((tmp_path / "work").rglob("*"))


def test_a_worker_that_always_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(0, b"", tmp_path / "m.onnx", "sha", (tmp_path / "a.png",))
    with pytest.raises(YoloEdgeError, match=r"a worker ended 3 times at .*fewer workers"):
        job.again().again().again()


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """A Dask scheduler with workers on loopback, each a process."""
    pytest.importorskip("distributed")
    where = folder / "scheduler.json"
    log = (folder / "dask.log").open("wb")
    common = ["--host", "127.0.0.1", "--no-dashboard"]
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", *common, "--port", "0", "--scheduler-file", where]
    processes = [subprocess.Popen(list(map(str, start)), stdout=log, stderr=log, cwd=folder)]
    try:
        wait_until(where.exists)
        address = json.loads(where.read_text())["address"]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *common, "--no-nanny"]
        places = ["--nthreads", "1", "--local-directory", str(folder)]
        for _ in range(workers):
            processes.append(subprocess.Popen([*command, *places], stdout=log, stderr=log, cwd=folder))  # noqa: PERF401 - all end
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
        log.close()


def test_a_dask_cluster_one_of_whose_workers_is_killed(arguments: list[object], expected: Any, tmp_path: Path) -> None:
    words = [word for word in arguments if word not in ("--workers", "2")]
    with cluster(tmp_path) as (address, workers):
        process = program(*words, "-o", tmp_path / "out", "--scheduler", address, "--json")
        there = lambda: list((tmp_path / "out" / ".work").rglob("*.chunk"))  # noqa: E731
        wait_until(lambda: len(there()) >= 2 or process.poll() is not None)
        workers[0].kill()
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert accuracies(tmp_path / "out") == expected
    assert json.loads(out)["accuracy"] is not None


def test_a_scheduler_without_workers_or_without_anybody(
    refuse: Callable[..., str], arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in arguments if word not in ("--workers", "2")]
    assert "expected an address such as tcp://" in refuse(*words, "-o", tmp_path, "--scheduler", "http://127.0.0.1:1")
    code = (
        "from yolo_edge.evaluation import cluster; cluster._CONNECT_S = 0.5; cluster.DaskWorkers('tcp://127.0.0.1:1')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError: --scheduler tcp://127.0.0.1:1: no Dask scheduler answers there" in done.stderr
    with cluster(tmp_path, workers=0) as (address, _):
        code = (
            "import sys; from pathlib import Path; from yolo_edge.evaluation.cluster import DaskWorkers\n"
            "from yolo_edge.evaluation.pool import Job\n"
            "with DaskWorkers(sys.argv[1], patience_s=1) as workers:\n"
            "    list(workers.run([Job(0, b'', Path('m'), 's', ())]))\n"
        )
        done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, check=False)
        assert "no Dask worker for 1 s; what is done is kept" in done.stderr


def test_a_cluster_that_takes_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"a model")
    code = (
        "import sys; from pathlib import Path; from yolo_edge.evaluation.cluster import DaskWorkers\n"
        "from yolo_edge.evaluation.pool import Job\n"
        "def lose(data, **_):\n"
        "    print('lost', data)\n"
        "    raise OSError('the connection was closed')\n"
        "with DaskWorkers(sys.argv[1]) as workers:\n"
        "    workers._client.scatter = lose\n"
        "    list(workers.run([Job(0, b'', Path('m.onnx'), 'sha', (Path('a.png'),))]))\n"
    )
    with cluster(tmp_path, workers=1) as (address, _):
        done = subprocess.run(
            [sys.executable, "-c", code, address], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    assert "YoloEdgeError: m.onnx: a worker ended 3 times at a.png" in done.stderr
    assert done.stdout.splitlines() == ["lost b'a model'"] * 3


def test_a_file_that_fails_is_told_and_the_others_are_measured(
    run: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_edge.export import exporter

    real = exporter.export

    def fail(model: Path, output: Path, options: Any, **others: Any) -> Any:
        if options.precisions == ("fp16",):
            raise VerificationError("x-64-fp16.onnx: 12 dB")
        return real(model, output, options, **others)

    monkeypatch.setattr(exporter, "export", fail)
    command = ["sweep", source, "--sizes", "64", "--precisions", "fp32,fp16", *TIMED, "-o", tmp_path, "--json"]
    done = run(*command)
    assert done.code == 1
    assert "not written: x-64-fp16.onnx: 12 dB" in done.err
    assert [item["failed"] for item in done.json["failed"]] == ["x-64-fp16.onnx: 12 dB"]
    assert len(done.json["cells"]) == 1
    assert done.json["accuracy"] is None
    (path,) = (tmp_path / "results").iterdir()
    assert len(read_result(path).cells) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "x"], "expected a size such as 320"),
        (["--precisions", "int8"], "wants --calibration"),
        (["--precisions", "fp8"], "fp8"),
        (["--formats", "pt"], "pt"),
        (["--devices", "nowhere"], "nowhere"),
        (["--workers", "0"], "--workers 0: expected 1..1024"),
        (["--scheduler", "tcp://127.0.0.1:1"], "goes with --data"),
        (["--threads", "0"], "expected numbers from 1 to 1024"),
        (["--data", "/nonexistent.json"], "no such file"),
        (["--repeats", "0"], "--repeats 0"),
    ],
)
def test_bad_options(
    refuse: Callable[..., str], source: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in refuse("sweep", source, "--sizes", "64", "-o", tmp_path, *options)


def test_two_sweeps_in_one_folder(refuse: Callable[..., str], source: Path, tmp_path: Path) -> None:
    from yolo_edge.cli.sweep_files import locked

    with locked(tmp_path):
        assert "another sweep runs there" in refuse("sweep", source, "-o", tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    assert "not the record of a sweep" in refuse("sweep", source, "-o", tmp_path)


def test_a_bad_picture_stops_the_sweep_or_is_left_out(run: Run, source: Path, dataset: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "data"
    shutil.copytree(dataset.parent, copy)
    (copy / "images" / "3.png").write_bytes(b"nothing")
    command = ["sweep", source, "--sizes", "64", "--names", source.with_name("a.names"), *TIMED]
    command += ["--data", copy / "instances.json", "--resamples", "20", "-o", tmp_path / "out"]
    done = run(*command)
    assert done.code == 2
    assert "3.png: not a picture" in done.err
    done = run(*command, "--skip-bad")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "results" / "accuracy.json").read_text())[0]["images"] == PICTURES - 1


def test_answers_that_are_none() -> None:
    request = chunks.Request(sha256="x", pictures=("a",), confidence=0.1, iou=0.5, max_detections=3)
    for data in (b"", b"\x81", b"\xc1", chunks.encode(request)):
        with pytest.raises(ValueError, match="not an answer"):
            chunks.decode_answer(data, 1)
    answer = chunks.Answer(
        errors=(None,), sizes=((1, 1),), counts=(1,), milliseconds=(1.0,), xyxy=b"", confidence=b"", class_id=b""
    )
    with pytest.raises(ValueError, match=r"not an answer|expected 1 detections"):
        chunks.decode_answer(chunks.encode(answer), 1)
    with pytest.raises(ValueError, match="for 1 pictures, expected 2"):
        chunks.decode_answer(chunks.encode(answer), 2)
    old = chunks.encode(
        chunks.Request(version="0.0.0", sha256="x", pictures=(), confidence=0.1, iou=0.5, max_detections=3)
    )
    with pytest.raises(YoloEdgeError, match=r"expected 0\.0\.0: install the same there"):
        chunks.detect_chunk(old, b"", [])


def test_a_worker_that_sends_something_else_is_an_error(dataset: Path, tmp_path: Path) -> None:
    class Others:
        def run(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes]]:
            return ((job.number, b"nonsense") for job in jobs)

    work = ChunkedWork([(tmp_path / "m.onnx", "x")], read_dataset(dataset), Options(), tmp_path / "work")
    with pytest.raises(YoloEdgeError, match=r"^m\.onnx: what a worker sent cannot be used \(not an answer"):
        work.run(Others())
    assert not (tmp_path / "work").exists()


def test_a_model_that_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    request = chunks.encode(chunks.Request(sha256="y", pictures=(), confidence=0.1, iou=0.5, max_detections=3))
    with pytest.raises(InputError, match="the model file changed"):
        chunks.detect_chunk(request, str(tmp_path / "m.onnx"), [])


def test_addresses() -> None:
    with pytest.raises(InputError, match="expected an address"):
        DaskWorkers("127.0.0.1:8786")
