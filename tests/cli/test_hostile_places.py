"""Odd names, streams and places: one clear line, nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.conftest import Run
from tests.support import random_darknet, wait_for
from yolo_edge import Detector

NOT_UTF8 = os.fsdecode(b"bad\xff")


def program(*arguments: object, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "yolo_edge", *map(str, arguments)]
    command = ["bash", "-c", f'"$@" {shell}', "bash", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, check=False, timeout=120, env=env)


def test_names_that_are_no_utf8(tmp_path: Path, cfg: Path, onnx_file: Path, picture: Path) -> None:
    image = Path(shutil.copy(picture, tmp_path / f"{NOT_UTF8}.png"))
    model = Path(shutil.copy(onnx_file, tmp_path / f"{NOT_UTF8}.onnx"))
    source = Path(shutil.copy(cfg, tmp_path / f"{NOT_UTF8}.cfg"))
    shutil.copy(cfg.with_suffix(".weights"), source.with_suffix(".weights"))
    found = program("detect", model, image, "--save", tmp_path / f"{NOT_UTF8}.d", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["width"] == 120
    assert (tmp_path / f"{NOT_UTF8}.d" / image.name).exists()
    made = program("export", source, "-o", tmp_path / f"{NOT_UTF8}.o", "--json")
    assert made.returncode == 0, made.stderr
    (path,) = (tmp_path / f"{NOT_UTF8}.o").iterdir()
    assert Detector(path).spec.provenance.source.startswith("bad")
    assert program("detect", source, image).returncode == 0
    assert program("inspect", source).returncode == 0


@pytest.mark.parametrize(
    ("shell", "code"),
    [(">&-", 0), ("2>&-", 0), (">/dev/full", 1), ("2>/dev/full", 0)],
)
def test_streams_that_are_closed_or_full(onnx_file: Path, picture: Path, shell: str, code: int) -> None:
    done = program("detect", onnx_file, picture, shell=shell)
    assert done.returncode == code
    assert b"internal error" not in done.stderr
    if code:
        assert done.stderr == b"error: the output cannot be written (no space left on device)\n"


def test_a_terminal_without_our_letters(cfg: Path) -> None:
    done = program("inspect", cfg, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert b"anchors" in done.stdout


def test_a_hang_up_leaves_nothing_half_written(tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 3)
    command = [sys.executable, "-m", "yolo_edge", "export", str(cfg), "-o", str(tmp_path / "out")]
    sizes = ",".join(str(side) for side in range(96, 2016, 96))
    process = subprocess.Popen([*command, "--size", sizes], stderr=subprocess.PIPE)
    wait_for(lambda: list((tmp_path / "out").glob("*.onnx")), 60)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (129, b"error: terminated\n")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".onnx"}


def test_nothing_is_reported_to_anybody(tmp_path: Path, onnx_file: Path, picture: Path) -> None:
    assert program("detect", onnx_file, picture, HOME=str(tmp_path)).returncode == 0
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("option", [["-o", ""], ["-o", "out", "--weights", ""], ["-o", "out", "--calibration", ""]])
def test_an_empty_text_is_no_path(refuse: Callable[..., str], cfg: Path, option: list[str]) -> None:
    assert "expected a path, got an empty text" in refuse("export", cfg, *option)


def test_empty_arguments(refuse: Callable[..., str], onnx_file: Path, picture: Path) -> None:
    assert "expected a path, got an empty text" in refuse("inspect", "")
    assert "expected a path, got an empty text" in refuse("detect", onnx_file, picture, "--save", "")
    assert "expected a picture, got an empty text" in refuse("detect", onnx_file, "")
    assert "name too long" in refuse("detect", onnx_file, "n" * 300)


def test_no_arguments_show_the_help(run: Run) -> None:
    result = run()
    assert result.code == 0
    assert "Commands:" in result.out
    assert run("-h").out == run("--help").out == result.out


@pytest.mark.parametrize("location", ["/etc/passwd", "../../etc/passwd", "missing.bin", "pipe"])
def test_weights_in_other_files_are_not_opened(
    refuse: Callable[..., str], tmp_path: Path, onnx_bytes: bytes, picture: Path, location: str
) -> None:
    model = onnx.load_from_string(onnx_bytes)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    os.mkfifo(tmp_path / "pipe")
    for arguments in (["inspect", path], ["detect", path, picture]):
        assert "keeps its weights in other files" in refuse(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_xy": 1e300}, "heads[0].scale_xy: expected a number above 0, up to 100"),
        ({"anchors": [[1e308, 1]]}, "heads[0].anchors[0]: expected two sides above 0, up to 1e+06"),
    ],
)
def test_absurd_numbers_in_a_spec(
    refuse: Callable[..., str], tmp_path: Path, onnx_bytes: bytes, picture: Path, change: dict, message: str
) -> None:
    model = onnx.load_from_string(onnx_bytes)
    spec = json.loads(model.metadata_props[0].value)
    spec["heads"][0].update(change)
    model.metadata_props[0].value = json.dumps(spec)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    for arguments in (["inspect", path], ["detect", path, picture]):
        assert message in refuse(*arguments)


def test_files_too_large_for_onnx(refuse: Callable[..., str], tmp_path: Path, picture: Path) -> None:
    path = tmp_path / "a.onnx"
    with path.open("wb") as file:
        file.truncate(9 << 30)  # sparse
    for arguments in (["inspect", path], ["detect", path, picture]):
        assert "larger than the 2 GB of one ONNX file" in refuse(*arguments)


def test_tables_keep_names_and_numbers_whole(onnx_file: Path, picture: Path, cfg: Path, tmp_path: Path) -> None:
    for columns in ("40", "80", "200"):
        found = program("detect", onnx_file, picture, "--confidence", "0.05", COLUMNS=columns).stdout.decode()
        assert "a picture.png (120x90)" in found
        made = program("export", cfg, "-o", tmp_path, COLUMNS=columns).stdout.decode()
        assert f"{cfg.stem}-" in made
        assert "-fp32.onnx" in made


def test_one_detector_in_several_threads(onnx_file: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.support import random_picture

    pictures = [random_picture(80 + 10 * i, 60, i) for i in range(8)]
    detector = Detector(onnx_file, confidence=0.02, threads=1)
    expected = [detector(picture).xyxy for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for boxes, found in zip(expected, pool.map(detector, pictures), strict=True):
                np.testing.assert_array_equal(found.xyxy, boxes)


def test_nohup_is_respected(tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 3)
    sizes = ",".join(str(side) for side in range(96, 480, 96))
    command = [sys.executable, "-m", "yolo_edge", "export", str(cfg), "-o", str(tmp_path / "out"), "--size", sizes]
    ignore = "trap '' HUP; exec \"$@\""
    process = subprocess.Popen(["bash", "-c", ignore, "bash", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(lambda: list((tmp_path / "out").glob("*.onnx")), 60)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_licence_that_is_no_utf8(cfg: Path, tmp_path: Path) -> None:
    done = program("export", cfg, "-o", tmp_path, "--licence", NOT_UTF8)
    assert done.returncode == 0, done.stderr
