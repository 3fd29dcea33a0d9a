from collections.abc import Callable
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.cpus import Machine
from tests.support import random_picture
from yolo_edge import Detector
from yolo_edge.ondevice.images import read_image

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["image", "width", "height", "detections"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
            "detections": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["class", "class_id", "confidence", "box"],
                    "additionalProperties": False,
                    "properties": {
                        "class": {"type": "string"},
                        "class_id": {"type": "integer", "minimum": 0},
                        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                        "box": {
                            "type": "array",
                            "items": {"type": "number", "minimum": 0},
                            "minItems": 4,
                            "maxItems": 4,
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures whose natural order is not that of their letters, and something that is no picture."""
    inside = tmp_path / "pictures"
    inside.mkdir()
    for number in (10, 2, 1):
        cv2.imwrite(str(inside / f"img{number}.png"), random_picture(60 + number, 50, number))
    (inside / "notes.txt").write_text("not a picture")
    return inside


def test_json_is_one_document_of_the_promised_form(run: Run, onnx_file: Path, picture: Path) -> None:
    result = run("detect", onnx_file, picture, "--confidence", 0.05, "--json")
    assert result.code == 0
    jsonschema.validate(result.json, SCHEMA)
    (entry,) = result.json
    assert (entry["image"], entry["width"], entry["height"]) == (str(picture), 120, 90)
    expected = Detector(onnx_file, confidence=0.05)(read_image(picture))
    confidences = [item["confidence"] for item in entry["detections"]]
    np.testing.assert_allclose(confidences, expected.confidence, atol=1e-4)
    assert confidences == sorted(confidences, reverse=True)
    assert result.err.startswith("note: ")


def test_options_reach_the_detector(run: Run, onnx_file: Path, picture: Path) -> None:
    def count(*options: object) -> int:
        result = run("detect", onnx_file, picture, "--json", "--confidence", 0.01, *options)
        return len(result.json[0]["detections"])

    assert count("--max-detections", 3) == 3
    assert count("--iou", 0.1) < count("--iou", 0.9, "--max-detections", 9999)
    assert count("--agnostic", "--max-detections", 9999) < count("--max-detections", 9999)
    assert count("--threads", 1, "--runtime", "onnxruntime", "--max-detections", 4) == 4


def test_fast_reaches_the_runtime(
    run: Run, onnx_file: Path, tflite_file: Path, picture: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sessions = Machine(monkeypatch, tmp_path).sessions()
    for options in ([], ["--fast"], ["--fast", "--resize", "letterbox"]):
        assert run("detect", onnx_file, picture, *options).code == 0
    assert sessions == [True, False, False, False]
    assert run("detect", tflite_file, picture, "--fast").code == 0  # which has no such choice


def test_a_cfg_gives_what_its_export_gives(run: Run, cfg: Path, onnx_file: Path, picture: Path) -> None:
    options = [picture, "--confidence", 0.05, "--json"]
    assert run("detect", cfg, *options).json == run("detect", onnx_file, *options).json


def test_resize_and_names_of_an_exported_file(run: Run, onnx_file: Path, picture: Path, tmp_path: Path) -> None:
    classes = len(Detector(onnx_file).spec.names)
    (tmp_path / "my.names").write_text("\n".join(f"thing {i}" for i in range(classes)))
    options = [onnx_file, picture, "--confidence", 0.05, "--json"]
    plain = run("detect", *options).json
    named = run("detect", *options, "--names", tmp_path / "my.names")
    assert named.json[0]["detections"][0]["class"].startswith("thing ")
    assert named.err == ""
    assert run("detect", *options, "--resize", "stretch").json == plain
    assert run("detect", *options, "--resize", "letterbox").json != plain


def test_folders_and_globs_in_natural_order(run: Run, onnx_file: Path, folder: Path, picture: Path) -> None:
    expected = [str(folder / f"img{number}.png") for number in (1, 2, 10)]
    for arguments in ([folder], [f"{folder}/*.png"], [*expected, folder]):
        assert [entry["image"] for entry in run("detect", onnx_file, *arguments, "--json").json] == expected
    both = run("detect", onnx_file, picture, folder, "--json").json
    assert [entry["image"] for entry in both] == [str(picture), *expected]


def test_nms_in_the_file_is_said(run: Run, cfg: Path, picture: Path, tmp_path: Path) -> None:
    made = run("export", cfg, "-o", tmp_path, "--head", "nms", "--confidence", 0.3, "--iou", 0.5, "--json")
    path = made.json[0]["path"]
    assert "NMS is in the file: confidence 0.3, iou 0.5" in run("detect", path, picture, "--confidence", 0.1).err
    quiet = run("detect", path, picture, "--confidence", 0.4, "--iou", 0.5)
    assert "NMS" not in quiet.err
    assert "confidence 0.3, IoU 0.5, at most 300" in run("inspect", path).out


def test_a_table_for_people(run: Run, onnx_file: Path, picture: Path) -> None:
    result = run("detect", onnx_file, picture, "--confidence", 0.05)
    assert "a picture.png (120x90)" in result.out
    assert "confidence" in result.out
    assert "nothing found" in run("detect", onnx_file, picture, "--confidence", 1).out


def test_save(run: Run, onnx_file: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "img1.png"), random_picture(33, 44))
    result = run("detect", onnx_file, folder, other, "--confidence", 0.05, "--save", out)
    assert result.code == 0
    assert sorted(path.name for path in out.iterdir()) == ["img1-2.png", "img1.png", "img10.png", "img2.png"]
    drawn, source = read_image(out / "img1-2.png"), read_image(other / "img1.png")
    assert drawn.shape == source.shape
    assert not np.array_equal(drawn, source)
    assert f"4 pictures with boxes in {out}" in result.err


def test_save_never_overwrites_a_source(refuse: Callable[..., str], onnx_file: Path, folder: Path) -> None:
    before = (folder / "img1.png").read_bytes()
    assert "would overwrite" in refuse("detect", onnx_file, folder, "--save", folder)
    assert (folder / "img1.png").read_bytes() == before


@pytest.mark.parametrize("name", ["empty.jpg", "text.jpg", "cut.jpg", "cut.png", "missing.jpg"])
def test_one_bad_picture_and_nothing_is_written(
    refuse: Callable[..., str], run: Run, onnx_file: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    bad = tmp_path / name
    if name.startswith("cut"):
        cv2.imwrite(str(bad), random_picture(80, 60))
        bad.write_bytes(bad.read_bytes()[:-300])
    elif name != "missing.jpg":
        bad.write_text("" if name == "empty.jpg" else "not a picture")
    out = tmp_path / "out"
    assert name in refuse("detect", onnx_file, folder, bad, "--save", out)
    assert name in refuse("detect", onnx_file, bad, "--json")
    assert not out.exists()
    result = run("detect", onnx_file, folder, bad, "--json", "--skip-bad")
    assert result.code == 0
    assert len(result.json) == 3
    assert f"skipped: {bad}: " in result.err
    assert "1 of 4 pictures were skipped" in result.err
    assert "none of the 1 pictures can be read" in refuse("detect", onnx_file, bad, "--skip-bad")


def test_places_without_pictures(refuse: Callable[..., str], onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no pictures in this folder" in refuse("detect", onnx_file, tmp_path / "empty")
    assert "matches no file" in refuse("detect", onnx_file, f"{tmp_path}/*.jpg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--confidence", "2"], "confidence: expected 0..1, got 2.0"),
        (["--confidence", "high"], "Invalid value for '--confidence'"),
        (["--iou", "nan"], "iou: expected 0..1, got nan"),
        (["--threads", "0"], "threads: expected 1..1024, got 0"),
        (["--runtime", "tensorrt"], "runtime 'tensorrt' is not known"),
        (["--resize", "crop"], "--resize 'crop': expected stretch or letterbox"),
        (["--names", "missing.names"], "missing.names: no such file"),
        (["--weights", "x.weights"], "goes with a .cfg"),
        (["--save", "/dev/null/x"], "is not a folder"),
        (["--frobnicate"], "No such option: --frobnicate"),
    ],
)
def test_wrong_options(
    refuse: Callable[..., str], onnx_file: Path, picture: Path, options: list[str], message: str
) -> None:
    assert message in refuse("detect", onnx_file, picture, *options)


def test_tflite_finds_what_onnx_finds(run: Run, cfg: Path, tflite_file: Path, onnx_file: Path, picture: Path) -> None:
    lines = [
        ["detect", onnx_file, picture, "--json"],
        ["detect", tflite_file, picture, "--json"],
        ["detect", tflite_file, picture, "--json", "--runtime", "tflite", "--threads", "2"],
        ["detect", cfg, picture, "--json", "--runtime", "tflite"],
    ]
    results = [run(*line) for line in lines]
    expected = results[0].json[0]["detections"]
    assert len(expected) > 0
    for result in results[1:]:
        found = result.json[0]["detections"]
        assert [box["class"] for box in found] == [box["class"] for box in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["box"] == pytest.approx(other["box"], abs=0.02)
            assert one["confidence"] == pytest.approx(other["confidence"], abs=2e-4)
        assert "INFO" not in result.err


def test_a_runtime_that_does_not_run_it(
    refuse: Callable[..., str], tflite_file: Path, onnx_file: Path, picture: Path
) -> None:
    assert "does not run .tflite files" in refuse("detect", tflite_file, picture, "--runtime", "onnxruntime")
    assert "does not run .onnx files" in refuse("detect", onnx_file, picture, "--runtime", "tflite")
    assert "is not known; there are auto" in refuse("detect", onnx_file, picture, "--runtime", "ncnn")
