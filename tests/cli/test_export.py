from collections.abc import Callable
from pathlib import Path

import cv2
import jsonschema
import pytest

from tests.cli.conftest import Run
from tests.support import random_darknet, random_picture
from yolo_edge import Detector
from yolo_edge.export.load import load_model
from yolo_edge.export.verify import noise

ITEM = {
    "path": {"type": "string"},
    "format": {"enum": ["onnx", "tflite"]},
    "precision": {"enum": ["fp32", "fp16"]},
    "size": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    "head": {"enum": ["raw", "decoded", "nms"]},
    "input": {"enum": ["float32", "uint8"]},
    "bytes": {"type": "integer"},
    "snr_db": {"type": "array", "items": {"type": "number"}, "minItems": 1},
    "agreement": {"type": ["number", "null"]},
    "fused": {"type": "integer"},
    "convolutions": {"type": "integer"},
    "speed_vs_fp32": {"type": "number", "exclusiveMinimum": 0},
    "verified": {"const": True},
}
SCHEMA = {
    "type": "array",
    "items": {"type": "object", "properties": ITEM, "required": list(ITEM), "additionalProperties": False},
}


def test_json_and_files(run: Run, cfg: Path, tmp_path: Path) -> None:
    options = ["--format", "onnx,tflite", "--precision", "fp32,fp16", "--size", "64,128x96", "--output", tmp_path]
    result = run("export", cfg, *options, "--json")
    assert result.code == 0
    jsonschema.validate(result.json, SCHEMA)
    names = [
        f"{cfg.stem}-{size}-{precision}.{suffix}"
        for size in ("64", "128x96")
        for suffix in ("onnx", "tflite")
        for precision in ("fp32", "fp16")
    ]
    assert [Path(item["path"]).name for item in result.json] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [item["size"] for item in result.json] == [[64, 64]] * 4 + [[128, 96]] * 4
    assert [item["format"] for item in result.json] == ["onnx", "onnx", "tflite", "tflite"] * 2


def test_a_table_for_people(run: Run, cfg: Path, tmp_path: Path) -> None:
    result = run("export", cfg, "-o", tmp_path)
    assert result.code == 0
    assert ".onnx" in result.out
    assert "have no names" in result.err


def test_pictures_give_an_agreement(run: Run, cfg: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(20):
        cv2.imwrite(str(pictures / f"{number}.png"), random_picture(70, 50, number))
    result = run("export", cfg, "-o", tmp_path / "out", "--calibration", pictures, "--json")
    assert result.json[0]["agreement"] == pytest.approx(1, abs=1e-3)


def test_names_and_resize_are_in_the_file(run: Run, cfg: Path, tmp_path: Path) -> None:
    (tmp_path / "my.names").write_text("\n".join(f"thing {i}" for i in range(len(load_model(cfg).spec.names))))
    result = run("export", cfg, "-o", tmp_path, "--names", tmp_path / "my.names", "--resize", "letterbox", "--json")
    assert result.err == ""
    spec = Detector(result.json[0]["path"]).spec
    assert (spec.names[0], spec.input.resize) == ("thing 0", "letterbox")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "33"], "size 33x33: random-3.cfg needs multiples of"),
        (["--size", "0"], "expected 1..2048 pixels a side"),
        (["--size", "320;416"], "expected a size such as 320, or 352x288"),
        (["--size", "320,"], "expected values between commas"),
        (["--size", "99999999"], "expected a size such as"),
        (["--format", "coreml"], "format 'coreml': there is onnx and tflite"),
        (["--head", "boxes"], "head 'boxes': there is raw and decoded and nms"),
        (["--iou", "0.6"], "of export go with --head nms"),
        (["--names", ""], "expected coco, voc or a file, got an empty text"),
        (["--input", "float16"], "input 'float16': there is float32 and uint8"),
        (["--head", "nms", "--iou", "7"], "iou: expected 0..1, got 7.0"),
        (["--precision", "int4"], "precision 'int4': there is fp32 and fp16"),
        (["--resize", "crop"], "expected stretch or letterbox"),
        (["--names", "coco"], "names coco: 80 names for"),
        (["--calibration", "missing"], "missing: no such file"),
        (["--weights", "missing.weights"], "missing.weights: no such file"),
    ],
)
def test_wrong_options(refuse: Callable[..., str], cfg: Path, tmp_path: Path, options: list[str], message: str) -> None:
    assert message in refuse("export", cfg, "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_a_missing_output_is_asked_for(refuse: Callable[..., str], cfg: Path) -> None:
    assert "Missing option '--output'" in refuse("export", cfg)


def test_weights_that_do_not_fit(refuse: Callable[..., str], tmp_path: Path) -> None:
    cfg = random_darknet(tmp_path, 5)
    cfg.with_suffix(".weights").write_bytes(b"\0" * 10)
    assert "not darknet weights (10 bytes" in refuse("export", cfg, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_not_measured_is_said(run: Run, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.export.verify.own_pictures", noise)  # in which it finds nothing
    result = run("export", assets / "darknet" / "yolo-fastest" / "yolo-fastest-1.1.cfg", "-o", tmp_path)
    assert "agreement: not measured where the source found nothing (--calibration DIR gives it pictures)." in result.err
    assert "class names are COCO's, assumed from the 80 classes" in result.err


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize("head", ["decoded", "nms"])
def test_heads_inputs_and_licence(run: Run, cfg: Path, tmp_path: Path, picture: Path, head: str, suffix: str) -> None:
    limits = ["--confidence", "0.1", "--max-detections", "50"] if head == "nms" else []
    options = ["--format", suffix, "--head", head, "--input", "uint8", "--licence", "MIT", *limits]
    (item,) = run("export", cfg, "-o", tmp_path, *options, "--json").json
    assert (item["head"], item["input"]) == (head, "uint8")
    assert item["path"].endswith(f"-fp32-{head}-uint8.{suffix}")
    shown = run("inspect", item["path"])
    assert shown.code == 0
    assert "MIT" in shown.out
    assert {"nms": "NMS inside", "decoded": "decoded"}[head] in shown.out
    limits = ["--confidence", "0.1", "--max-detections", "50", "--json"]
    plain, found = (run("detect", model, picture, *limits).json[0] for model in (cfg, item["path"]))
    assert [box["class"] for box in found["detections"]] == [box["class"] for box in plain["detections"]]
