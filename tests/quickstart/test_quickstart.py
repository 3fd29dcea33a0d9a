"""The whole way, as a newcomer walks it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.browser import open_page
from yolo_edge.cli import main
from yolo_edge.quickstart.steps import FILES, Step

# The program with fewer scenes and a shorter benchmark: what the sample is worth is tested in tests/sample, and how a
# benchmark takes its time in tests/benchmarks.
SHORTER = """
import sys
from dataclasses import replace
from importlib import import_module

from yolo_edge.cli import main
from yolo_edge.sample.scenes import Part

if __name__ == "__main__":  # not in the processes that draw scenes
    run = import_module("yolo_edge.quickstart.run")
    every = run.steps

    def steps(pictures):
        return tuple(
            replace(step, arguments=(*step.arguments, "--seconds", "0.1", "--repeats", "2"))
            if step.name == "benchmark"
            else step
            for step in every(pictures)
        )

    run.PARTS = {"train": (Part(3, 32),), "val": (Part(3, 24, start=1000), Part(3, 8, codes=False))}
    run.steps = steps
    sys.exit(main(["quickstart", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    script = tmp_path_factory.mktemp("program") / "quickstart.py"
    script.write_text(SHORTER)
    return [sys.executable, str(script)]


@pytest.fixture(scope="module")
def made(program: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("quickstart") / "first steps"
    done = subprocess.run([*program, str(folder), "--json"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_every_file_was_made_judged_and_timed(made: tuple[Path, dict[str, Any], str]) -> None:
    folder, summary, _ = made
    assert [file["path"] for file in summary["files"]] == list(FILES)
    for file in summary["files"]:
        assert (folder / file["path"]).stat().st_size == file["bytes"]
        assert 0.8 < file["mAP50"] <= 1
        assert 0 < file["p50_ms"] <= file["p90_ms"]
    assert len(list((folder / "pictures").glob("*.jpg"))) >= 12


def test_the_commands_are_those_that_ran(made: tuple[Path, dict[str, Any], str]) -> None:
    folder, summary, told = made
    lines = (folder / "commands.txt").read_text().splitlines()
    assert lines == summary["commands"]
    assert [shlex.split(line)[1] for line in lines] == [
        "anchors", "export", "validate", "benchmark", "detect", "report",
    ]  # fmt: skip
    words, kept = shlex.split(lines[2]), (folder / "validate.json").read_text()
    again = subprocess.run(
        [sys.executable, "-m", "yolo_edge", *words[1 : words.index(">")]],
        capture_output=True, cwd=folder, check=True, timeout=120,
    )  # fmt: skip
    first, second = ([{**row, "inference_ms": 0} for row in json.loads(text)] for text in (kept, again.stdout))
    assert first == second
    assert "Traceback" not in told


def test_the_page_stands_alone(made: tuple[Path, dict[str, Any], str], tmp_path: Path) -> None:
    folder, _, _ = made
    with open_page(folder / "index.html", tmp_path / "profile") as page:
        deadline = time.monotonic() + 20
        ready = "document.readyState === 'complete' && [...document.images].every(i => i.complete || i.loading)"
        while not page.evaluate(ready) and time.monotonic() < deadline:
            time.sleep(0.1)
        page.evaluate("[...document.images].forEach(image => { image.loading = 'eager' })")
        loaded = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
        assert all(width > 0 for width in page.evaluate(loaded))
        links = page.evaluate("[...document.links].map(link => decodeURI(new URL(link.href).pathname))")
        assert page.evaluate("document.querySelectorAll('ol pre').length") == 6
        assert page.evaluate("document.documentElement.scrollWidth") <= 1240
        assert not page.complaints
        assert all(url.startswith("file:") for url in page.requests)
    assert links
    assert all(Path(link).is_file() for link in links)


def test_another_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["quickstart", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert main(["quickstart", str(tmp_path / "mine.txt")]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_commands(program: list[str], tmp_path: Path, number: int) -> None:
    folder = tmp_path / "cut"
    process = subprocess.Popen([*program, str(folder)], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    started: list[int] = []
    while not started and time.monotonic() < deadline:
        time.sleep(0.1)
        started = _children(process.pid) if (folder / "anchors.json").exists() else []
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in told
    assert started
    deadline = time.monotonic() + 10
    while any(_runs(child) for child in started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in started if _runs(child)]


def _children(process: int) -> list[int]:
    numbers = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return numbers + [below for number in numbers for below in _children(number)]


def _runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_a_command_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\necho $$ > pid.new && mv pid.new pid\nwhile :; do sleep 1; done\n")
    deaf.chmod(0o755)

    def interrupted(process: "subprocess.Popen[bytes]") -> None:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "executable", str(deaf))
    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    module = import_module("yolo_edge.quickstart.run")  # the package has a function of its name
    monkeypatch.setattr(module, "_WAIT", 0.2)
    with pytest.raises(KeyboardInterrupt):
        module._call(Step(("detect",), "", "found.json"), tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not (tmp_path / "found.json").exists()
