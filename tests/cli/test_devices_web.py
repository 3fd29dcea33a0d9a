"""`yolo-edge devices web` with a page that speaks as ours does; tests/devices/web/test_browser.py has the real one."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.devices.phone import free_port
from tests.devices.web.page import FACTS, NO_ORT, Page
from tests.support import wait_for
from yolo_edge.benchmarks.result_file import json_schema, read_result
from yolo_edge.devices.web.package import SCRIPT, WASM

QUICK = ("--quick", "--repeats", 3, "--seconds", 0.01)


@pytest.fixture
def ort_web(tmp_path: Path) -> Path:
    folder = tmp_path / "ort"
    folder.mkdir()
    (folder / SCRIPT).write_bytes(NO_ORT.script)
    (folder / WASM).write_bytes(NO_ORT.wasm)
    return folder


@contextmanager
def opened(**options: Any) -> Iterator[tuple[list[object], Page]]:
    """A page that is opened as soon as it is served, and the options that serve it where it looks."""
    page = Page(free_port(), **options)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", page.port)) == 0

    def begin() -> None:
        wait_for(listens, 60)
        page.start()

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    yield ["--listen", f"127.0.0.1:{page.port}"], page
    thread.join(60)


def test_a_run(run: Run, onnx_file: Path, ort_web: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with opened() as (listen, page):
        done = run(
            "devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--image", picture, "-o", out,
            "--threads", "1,4", "--json",
        )  # fmt: skip
    assert done.code == 0, done.err
    jsonschema.validate(done.json, json_schema())
    (saved,) = out.iterdir()
    jsonschema.validate(json.loads(saved.read_bytes()), json_schema())
    result = read_result(saved)
    assert [(cell.device, cell.runtime, cell.threads) for cell in result.cells] == [
        ("Pixel 8", "onnxruntime-web", 1),
        ("Pixel 8", "onnxruntime-web", 4),
    ]
    for cell in result.cells:
        assert cell.latency_ms.p50 == pytest.approx(10, abs=0.001)
        assert (cell.start_ms, cell.load_ms, cell.first_ms) == (90, 30, 12)
        assert (cell.agreement, cell.snr_db) == (1, 200)
        assert cell.detections is not None
        assert (cell.memory_mb, cell.total_ms, cell.samples.cpu if cell.samples else 0) == (None, None, None)
        assert (cell.valid, cell.energy_mj, cell.emulated) == (True, None, False)
    (ratio,) = result.ratios
    assert (ratio.ratio, ratio.verdict, ratio.undisturbed) == (1, "no difference", None)
    assert result.host.browser is not None
    assert result.host.browser.user_agent == FACTS["user_agent"]
    assert (result.host.browser.cores, result.host.browser.isolated) == (9, True)
    assert result.host.hardware == "Pixel 8: CPU (aarch64), 9 CPUs"
    # each repeat had workers of its own, and closed them
    assert [order["do"] for order in page.orders].count("load") == 6
    assert [order["do"] for order in page.orders].count("close") == 6
    wait_for(lambda: page.ended, 60)
    assert page.ended is not None
    assert [cell["p50"] for cell in page.ended["result"]["cells"]] == [cell.latency_ms.p50 for cell in result.cells]
    assert page.ended["result"]["saved"]
    assert "Pixel 8: Android 15.0.0, Google Chrome 131.0.6778.39, 9 cores, cross-origin isolated" in done.err
    # and others read it
    assert run("report", saved, "-o", tmp_path / "report.html").code == 0
    page_text = (tmp_path / "report.html").read_text()
    assert "Pixel 8" in page_text
    assert "cross-origin isolated, in a secure context" in page_text
    chosen = run("choose", out, "--max-latency", "50ms")
    assert chosen.code in (0, 2), chosen.err


def test_as_a_table(run: Run, onnx_file: Path, ort_web: Path, tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    with opened() as (listen, _):
        done = run(
            "devices",
            "web",
            onnx_file,
            *listen,
            "--ort-web",
            ort_web,
            *QUICK,
            "--threads",
            1,
            "--csv",
            csv,
        )
    assert done.code == 0, done.err
    assert "10.000" in done.out
    assert "compared with this machine: " in done.err
    assert "equal outputs" in done.err
    assert "adb reverse tcp:" in done.err
    assert "onnxruntime-web" in csv.read_text()


def test_a_broken_run_is_noticed(run: Run, onnx_file: Path, ort_web: Path) -> None:
    def spoil(do: str, answer: dict[str, Any], arrays: list[np.ndarray]) -> None:
        for array in arrays:
            array[...] = array[:, ::-1]

    with opened(change=spoil) as (listen, page):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--threads", 1, "--json")
    assert done.code == 0, done.err
    (cell,) = done.json["cells"]
    assert not cell["valid"]
    assert "the outputs differ from this machine's" in cell["invalid_reason"]
    assert "SNR" in cell["invalid_reason"]
    wait_for(lambda: page.ended, 60)
    assert page.ended is not None
    assert not page.ended["result"]["cells"][0]["valid"]


@pytest.mark.parametrize(
    "said",
    [
        {"times_ns": []},
        {"times_ns": [0, 0]},
        {"times_ns": ["1"]},
        {"times_ns": [-1]},
        {"times_ns": [10**30]},
        {"window_ns": []},
        {"times_ns": None},
    ],
)
def test_turns_that_are_none(run: Run, onnx_file: Path, ort_web: Path, said: dict[str, Any]) -> None:
    def spoil(do: str, answer: dict[str, Any], arrays: list[np.ndarray]) -> None:
        if do == "turn":
            answer.update(said)

    with opened(change=spoil) as (listen, page):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--threads", 1)
    assert done.code == 1
    assert "answers something else than expected" in done.err
    assert "internal error" not in done.err
    wait_for(lambda: page.ended, 60)


def test_a_page_that_is_closed_and_a_run_that_goes_on(run: Run, onnx_file: Path, ort_web: Path, tmp_path: Path) -> None:
    def leave(page: Page) -> None:
        if [order["do"] for order in page.orders].count("load") == 2:
            page.leave()

    command = ["devices", "web", onnx_file, "--ort-web", ort_web, *QUICK, "--threads", 1, "-o", tmp_path / "out"]
    with opened(on_turn=leave) as (listen, page):
        done = run(*command, *listen)
    assert done.code == 1
    assert done.err.endswith("error: Pixel 8: the page was closed before the end\n") or (
        "the page was closed before the end" in done.err
    )
    assert "1 of 3 repeats are kept: the same command goes on from there" in done.err
    with opened() as (listen, page):
        done = run(*command, *listen)
    assert done.code == 0, done.err
    assert "going on with a run of" in done.err
    assert [order["do"] for order in page.orders].count("load") == 2
    (saved,) = (tmp_path / "out").iterdir()
    assert len(read_result(saved).cells[0].repeats_ms) == 3


def test_without_isolation_there_is_one_thread(run: Run, onnx_file: Path, ort_web: Path) -> None:
    facts = {**FACTS, "isolated": False, "secure": False}
    with opened(facts=facts) as (listen, page):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--threads", "1,2")
    assert done.code == 1
    assert "--threads 1,2: the page is not cross-origin isolated" in done.err
    wait_for(lambda: page.ended, 60)
    assert page.ended is not None
    assert "not cross-origin isolated" in page.ended["text"]
    with opened(facts=facts) as (listen, _):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--json")
    assert done.code == 0, done.err
    assert [cell["threads"] for cell in done.json["cells"]] == [1]
    assert done.json["host"]["browser"]["isolated"] is False
    assert "measured with 1 thread alone" in done.err


def test_threads_that_silently_became_one_are_noticed(run: Run, onnx_file: Path, ort_web: Path) -> None:
    def spoil(do: str, answer: dict[str, Any], arrays: list[np.ndarray]) -> None:
        if do == "load":
            answer["threads"] = 1

    with opened(change=spoil) as (listen, _):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--threads", 2)
    assert done.code == 1
    assert "the browser gives 1 thread instead of 2" in done.err


def test_a_clock_of_large_steps_is_told_of(run: Run, onnx_file: Path, ort_web: Path) -> None:
    def spoil(do: str, answer: dict[str, Any], arrays: list[np.ndarray]) -> None:
        if do == "warm_up":
            answer["batch"] = 4

    with opened(change=spoil, facts={**FACTS, "clock_us": 1000.0}) as (listen, _):
        done = run("devices", "web", onnx_file, *listen, "--ort-web", ort_web, *QUICK, "--threads", 1, "--json")
    notes = done.json["cells"][0]["notes"]
    assert "a sample is the mean of 4 inferences: the browser's clock has steps of 1 ms" in notes


def test_what_cannot_be_served(
    refuse: Callable[..., str], onnx_file: Path, tflite_file: Path, ort_web: Path, tmp_path: Path
) -> None:
    assert "runs .onnx files" in refuse("devices", "web", tflite_file)
    assert "named twice" in refuse("devices", "web", onnx_file, onnx_file, "--listen", "127.0.0.1:0")
    assert "add --token auto" in refuse("devices", "web", onnx_file, "--listen", "0.0.0.0:0")
    assert "--token: expected" in refuse("devices", "web", onnx_file, "--token", "short")
    assert "--listen" in refuse("devices", "web", onnx_file, "--listen", "8080")
    for name in ("local", "", " ", "x" * 61, "a\nb"):
        assert "--name" in refuse("devices", "web", onnx_file, "--name", name)
    assert "expected ort.wasm" in refuse("devices", "web", onnx_file, "--ort-web", tmp_path, "--listen", "127.0.0.1:0")
    assert "no such file" in refuse("devices", "web", tmp_path / "none.onnx", "--listen", "127.0.0.1:0")
    assert "expected 1..1000" in refuse("devices", "web", onnx_file, "--repeats", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refuse("devices", "web", onnx_file, "--listen", f"127.0.0.1:{port}")


def test_without_the_extra(refuse: Callable[..., str], onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ("yolo_edge.serving", "yolo_edge.devices.web", "starlette", "uvicorn")
    for name in list(sys.modules):
        if name.startswith(ours):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert "pip install 'yolo-edge[web]'" in refuse("devices", "web", onnx_file)
