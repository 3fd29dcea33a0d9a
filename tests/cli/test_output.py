"""What people see: tables on terminals, summaries of commands, reasons."""

import sys

import pytest

from tests.cli.conftest import Run
from yolo_edge.cli.output import note_invalid, print_table

COLUMNS = ["model", "threads>", "p50 ms>", "95 % interval>", "memory>"]
ROWS = [["yolo-fastest-1.1-320-fp32.onnx", 1, "4.573", "3.993 .. 5.573", "113 MB"], ["b.tflite", 2, "2.1", "-", "-"]]


def _shown(capsys: pytest.CaptureFixture[str], keys: int = 1) -> list[str]:
    print_table(COLUMNS, ROWS, keys=keys)
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    assert capsys  # whose standard output it is by now
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: True)
    monkeypatch.setenv("TERM", "dumb")  # no bold headings
    return monkeypatch


def test_a_wide_table_is_whole_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = _shown(capsys)
    assert [line.split() for line in lines if "model" in line] == [" ".join(COLUMNS).replace(">", "").split()]
    assert max(map(len, lines)) > 70


@pytest.mark.parametrize(("width", "heads"), [(200, 1), (70, 2)])
def test_a_wide_table_comes_in_parts_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch, width: int, heads: int
) -> None:
    terminal.setenv("COLUMNS", str(width))
    lines = _shown(capsys)
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(" model") for line in lines) == heads
    # each part names its rows, and every cell is in one of them
    assert sum("yolo-fastest-1.1-320-fp32.onnx" in line for line in lines) == heads
    for text in ("4.573", "3.993 .. 5.573", "113 MB", "threads", "memory"):
        assert sum(text in line for line in lines) == 1


@pytest.mark.parametrize("width", [60, 40, 20, 1])
def test_wide_keys_are_said_once_and_numbered(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch, width: int
) -> None:
    terminal.setenv("COLUMNS", str(width))
    lines = _shown(capsys, keys=2)
    for text in ("4.573", "3.993 .. 5.573", "113 MB", "threads", "memory", "yolo-fastest-1.1-320-fp32.onnx"):
        assert sum(text in line for line in lines) == 1
    heads = sum(line.startswith(" #") for line in lines)
    assert sum(line.startswith(" 1 ") for line in lines) == sum(line.startswith(" 2 ") for line in lines) == heads >= 2
    if width >= 40:
        assert max(map(len, lines)) <= width


def test_reasons_say_how_many_cells_they_concern(capsys: pytest.CaptureFixture[str]) -> None:
    note_invalid(["busy", None, "busy", "hot"])
    note_invalid(["busy", "busy"])
    assert capsys.readouterr().err.splitlines() == [
        "not valid, 2 of 4 cells: busy",
        "not valid, 1 of 4 cells: hot",
        "not valid: busy",
    ]


@pytest.mark.parametrize("group", [(), ("devices",)])
def test_groups_show_whole_summaries_also_without_arguments(run: Run, group: tuple[str, ...]) -> None:
    shown = run(*group)
    assert shown.code == 0
    assert shown.out == run(*group, "--help").out
    assert "…" not in shown.out
    assert "..." not in shown.out.replace("[ARGS]...", "")
