"""The sample model is what its card says: judged by the script behind it, on pictures that it never saw."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, shared_dir
from yolo_edge.sample import CFG, CLASSES, NAMES


def test_the_files_are_small() -> None:
    parts = [CFG, CFG.with_suffix(".weights"), NAMES, CFG.with_name("MODEL_CARD.md")]
    assert sum(path.stat().st_size for path in parts) <= 1_000_000
    assert tuple(NAMES.read_text().split()) == CLASSES


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("judge")
    command = [sys.executable, str(ROOT / "tools" / "judge_sample.py"), str(CFG), "--work", str(work)]
    folder = Path(os.environ.get("YOLO_EDGE_SHARED", ROOT.parent / "shared")) / "assets" / "codes"
    if folder.is_dir():
        command += ["--photographs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_finds_codes_in_scenes_that_training_never_saw(judged: dict[str, Any]) -> None:
    first = judged["scenes"][0]
    assert first["images"] == 500
    assert first["mAP50"] >= 0.90
    assert set(first["per_class"]) == set(CLASSES)


def test_integers_keep_it(judged: dict[str, Any]) -> None:
    by_name = {Path(row["model"]).name: row["mAP50"] for row in judged["scenes"]}
    for form in ("onnx", "tflite"):
        assert by_name[f"codes-320-int8.{form}"] >= by_name[f"codes-320-fp32.{form}"] - 0.005


def test_it_is_quiet_where_there_is_none(judged: dict[str, Any]) -> None:
    assert judged["false alarms"]["with a detection"] <= 0.02 * judged["false alarms"]["pictures without codes"]


def test_it_finds_codes_in_photographs(judged: dict[str, Any]) -> None:
    shared_dir()  # skips, or fails in CI
    for folder, found in judged["recall"].items():
        limit = 0.90 if folder.startswith("qr") else 0.80
        assert found["recall"] >= limit, (folder, found)
