"""The int8 files of a sweep: both formats of one plan, and a sweep that was cut among them."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from tests.cli.conftest import Run
from tests.support import random_darknet, random_picture
from yolo_edge.cli.sweep_files import MODELS, RECORD, Exported, Plan, export_files
from yolo_edge.export import exporter
from yolo_edge.export.job import ExportOptions, Int8Options
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.files import write_atomically

SIZE = (64, 64)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_darknet(tmp_path_factory.mktemp("model"), 11, classes=3)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), random_picture(64, 64, i))
    return sorted(folder.iterdir())


def plan_of(source: Path, folder: Path, pictures: list[Path], **changes: Any) -> Plan:
    options = ExportOptions(
        formats=("onnx", "tflite"),
        precisions=("fp32", "int8"),
        sizes=(SIZE,),
        int8=Int8Options(pictures, 4, 0),
    )
    return Plan(source, None, folder, replace(options, **changes))


def make(plan: Plan) -> tuple[list[Exported], list[str]]:
    """The files, and which were made now."""
    told: list[str] = []
    found = export_files(plan, told.append)
    return found, [what.split(" at 64x64, ")[1] for what in told if not what.endswith(": there")]


def contents(plan: Plan) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (plan.folder / MODELS).iterdir()}


def test_a_sweep_that_was_cut_between_the_formats_of_a_plan(
    source: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan_of(source, tmp_path / "whole", pictures)
    files, made = make(whole)
    assert made == ["fp32, onnx", "fp32, tflite", "int8, onnx", "int8, tflite"]
    assert all(item.failed is None for item in files)
    expected = contents(whole)
    assert len(expected) == 5  # four files, and the plan that both int8 files obey

    cut, real = plan_of(source, tmp_path / "cut", pictures), exporter.export
    calibrated: list[bool] = []

    def until_the_last(model: Path, output: Path, options: ExportOptions, **others: Any) -> Any:
        if options.precisions == ("int8",):
            calibrated.append(bool(options.int8.pictures))
            if options.formats == ("tflite",) and len(calibrated) == 2:
                raise KeyboardInterrupt
        return real(model, output, options, **others)

    monkeypatch.setattr(exporter, "export", until_the_last)
    with pytest.raises(KeyboardInterrupt):
        make(cut)
    files, made = make(cut)
    assert made == ["int8, tflite"]
    assert calibrated == [True, False, False]  # the plan was kept: nothing is calibrated twice
    assert contents(cut) == expected
    assert [item.precision for item in files] == ["fp32", "fp32", "int8", "int8"]
    # what goes is made again, and the same
    for item in files:
        if (item.precision, item.format) == ("int8", "onnx"):
            (cut.folder / MODELS / str(item.name)).unlink()
    assert make(cut)[1] == ["int8, onnx"]
    assert contents(cut) == expected


def test_what_int8_files_are_made_from(
    source: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other pictures, or the same with another content, make other files; float files stay."""

    def written(model: Path, output: Path, options: ExportOptions, **_: object) -> Any:
        path = output / f"{model.stem}-{options.precisions[0]}.onnx"
        write_atomically(path, repr(options).encode())
        return SimpleNamespace(files=[SimpleNamespace(path=str(path))])

    monkeypatch.setattr(exporter, "export", written)
    plan = plan_of(source, tmp_path / "out", pictures, formats=("onnx",))
    assert make(plan)[1] == ["fp32, onnx", "int8, onnx"]
    assert make(plan)[1] == []
    fewer = replace(plan.options.int8, pictures=pictures[:3])
    assert make(plan_of(source, plan.folder, pictures, formats=("onnx",), int8=fewer))[1] == ["int8, onnx"]
    assert make(plan)[1] == ["int8, onnx"]
    os.utime(pictures[0], (1, 1))  # written again since
    assert make(plan)[1] == ["int8, onnx"]
    names = tmp_path / "own.names"
    names.write_text("a\nb\nc\n")
    named = replace(plan, options=replace(plan.options, names=str(names)))
    assert make(named)[1] == ["fp32, onnx", "int8, onnx"]
    assert make(named)[1] == []
    names.write_text("a\nb\nd\n")
    assert make(named)[1] == ["fp32, onnx", "int8, onnx"]


def test_a_record_of_another_version_is_refused(source: Path, pictures: list[Path], tmp_path: Path) -> None:
    plan = plan_of(source, tmp_path, pictures)
    (tmp_path / RECORD).write_text('{"sweep": 2, "files": []}')
    with pytest.raises(InputError, match=r"sweep\.json: not the record of a sweep .* without it all is made again"):
        make(plan)


def test_int8_on_the_command_line(
    run: Run, refuse: Callable[..., str], source: Path, pictures: list[Path], tmp_path: Path
) -> None:
    command = ["sweep", source, "--sizes", "64", "--precisions", "int8", "-o", tmp_path / "out"]
    assert "wants --calibration" in refuse(*command)
    assert "a sweep makes all" in refuse(*command[:5], "auto", *command[6:])
    timed = ["--quick", "--seconds", "0.05", "--inferences", "5", "--repeats", "1", "--threads", "1"]
    done = run(*command, "--calibration", pictures[0].parent, "--calibration-images", "4", *timed, "--json")
    assert done.code == 0, done.err
    (file,), (cell,) = done.json["files"], done.json["cells"]
    assert file["name"] == cell["model"] == f"{source.stem}-64-int8.onnx"
    assert cell["precision"] == file["precision"] == "int8"
