"""The program as a process of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import random_darknet, wait_for


def program(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "yolo_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_version_and_help() -> None:
    assert program("--version").stdout == "yolo-edge 0.1.0\n"
    for command in ("inspect", "export", "detect"):
        assert command in program("--help").stdout
        shown = program(command, "--help")
        assert shown.returncode == 0
        assert "--json" in shown.stdout
    unknown = program("frobnicate")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)


def test_standard_output_holds_the_document_alone(cfg: Path, tmp_path: Path) -> None:
    result = program("export", cfg, "-o", tmp_path, "--json")
    assert json.loads(result.stdout)[0]["verified"] is True
    # nothing but a note: no progress bar, no log line of a library, where there is no terminal
    assert [line[:5] for line in result.stderr.splitlines()] == ["note:"]


def test_a_reader_that_goes_away(cfg: Path) -> None:
    shell = f'"{sys.executable}" -m yolo_edge inspect "{cfg}" | head -1'
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "internal" not in result.stderr


@pytest.mark.parametrize(
    ("number", "code", "message"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_it_cleanly(tmp_path: Path, number: int, code: int, message: str) -> None:
    cfg = random_darknet(tmp_path, 3)
    command = [sys.executable, "-m", "yolo_edge", "export", str(cfg), "-o", str(tmp_path / "out")]
    sizes = ",".join(str(side) for side in range(96, 2016, 96))
    process = subprocess.Popen(
        [*command, "--size", sizes, "--precision", "fp32,fp16"], stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list((tmp_path / "out").glob("*.onnx")), 60)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == f"error: {message}\n"
    for path in (tmp_path / "out").iterdir():
        assert path.suffix == ".onnx"  # whole files, no temporary ones
        assert program("inspect", path).returncode == 0


def test_further_signals_do_not_break_off_the_cleaning_up() -> None:
    code = "import time\nfrom yolo_edge import cli\nfrom yolo_edge.cli import app\n"
    code += "def slow(*_, **__):\n    try:\n        print('on', flush=True)\n        time.sleep(60)\n"
    code += "    finally:\n        print('off', flush=True)\n        time.sleep(1)\n        print('done', flush=True)\n"
    code += "app.app = slow\nraise SystemExit(cli.main([]))\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "off\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "done\n"
        assert process.stderr.read() == "error: interrupted\n"
    assert process.returncode == 130


def test_unexpected_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from yolo_edge import cli
    from yolo_edge.cli import app

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(app, "app", fail)
    assert cli.main([]) == 1
    assert capsys.readouterr().err.startswith("error: internal error, please report it: RuntimeError: two lines (")
