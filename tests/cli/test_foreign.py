"""ONNX files of other trainers on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from tests.cli.conftest import Run
from tests.export import foreign
from tests.export.onnx_parts import STRIDES


@pytest.fixture
def yolov8(tmp_path: Path) -> Path:
    path = tmp_path / "yolov8t.onnx"
    onnx.save(foreign.yolov8(names="['cat', 'dog', 'bird']", stride="32"), path)
    return path


def test_inspect_export_detect(run: Run, yolov8: Path, picture: Path, tmp_path: Path) -> None:
    shown = run("inspect", yolov8)
    assert shown.code == 0, shown.err
    assert "dfl" in shown.out
    assert "cat, dog, bird" in shown.out
    assert "SiLU" in shown.out
    made = run("export", yolov8, "-o", tmp_path / "out", "--format", "onnx,tflite", "--size", "64,64x96", "--json")
    assert made.code == 0, made.err
    assert [Path(file["path"]).name for file in made.json] == [
        "yolov8t-64-fp32.onnx",
        "yolov8t-64-fp32.tflite",
        "yolov8t-64x96-fp32.onnx",
        "yolov8t-64x96-fp32.tflite",
    ]
    own = run("detect", yolov8, picture, "--confidence", 0.5, "--json").json
    for file in made.json[2:]:
        found = run("detect", file["path"], picture, "--confidence", 0.5, "--json").json
        assert len(found[0]["detections"]) == len(own[0]["detections"]) > 0
    as_tflite = run("detect", yolov8, picture, "--confidence", 0.5, "--runtime", "tflite", "--json").json
    assert len(as_tflite[0]["detections"]) == len(own[0]["detections"])


def test_a_spec_by_hand(run: Run, refuse: Callable[..., str], picture: Path, tmp_path: Path) -> None:
    model = foreign.yolov5(form="raw")
    path = tmp_path / "raw.onnx"
    onnx.save(model, path)
    for command in (("inspect",), ("export", "-o", tmp_path / "out")):
        message = run(command[0], path, *command[1:]).err
        assert "say it with --spec FILE" in message
        assert "16 channels" in message
    values = [node.input[0] for node in model.graph.node if node.op_type == "Reshape"]
    spec = tmp_path / "spec.json"
    heads = [
        {"family": "yolov5", "stride": s, "scale_xy": 2, "tensors": {"map": value}, "anchors": anchors}
        for s, value, anchors in zip(STRIDES, values, foreign.ANCHORS, strict=True)
    ]
    size = {"width": 64, "height": 96, "resize": "letterbox", "pad_value": 114}
    spec.write_text(json.dumps({"version": 1, "names": ["a", "b", "c"], "input": size, "heads": heads}))
    assert run("inspect", path, "--spec", spec).code == 0
    assert run("export", path, "--spec", spec, "-o", tmp_path / "out").code == 0
    decoded = tmp_path / "decoded.onnx"
    onnx.save(foreign.yolov5(), decoded)
    by_hand = run("detect", path, picture, "--spec", spec, "--confidence", 0.3, "--json").json
    recognised = run("detect", decoded, picture, "--confidence", 0.3, "--json").json
    assert [item["box"] for item in by_hand[0]["detections"]] == [item["box"] for item in recognised[0]["detections"]]
    spec.write_text("{}")
    assert "spec.json: key 'input' is missing" in refuse("export", path, "--spec", spec, "-o", tmp_path)
    assert "nothing.json: no such file" in refuse("detect", path, picture, "--spec", tmp_path / "nothing.json")


def test_a_quantized_file_says_so(run: Run, picture: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(foreign.yolov8(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "small.onnx", weight_type=QuantType.QUInt8)
    for command in (("inspect",), ("detect", picture), ("export", "-o", tmp_path / "out")):
        result = run(command[0], tmp_path / "small.onnx", *command[1:])
        assert result.code == 0, result.err
        assert "note: small.onnx is quantized: " in result.err


def test_checkpoints_are_never_loaded(refuse: Callable[..., str], picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    for arguments in (["inspect", path], ["export", path, "-o", tmp_path], ["detect", path, picture]):
        assert "never loaded" in refuse(*arguments)
        assert "yolo export model=best.pt format=onnx" in refuse(*arguments)


def test_a_foreign_file_beside_its_export(run: Run, yolov8: Path, tmp_path: Path) -> None:
    from tests.datasets.support import write_coco

    data = write_coco(tmp_path / "data")
    assert run("export", yolov8, "-o", tmp_path / "out", "--format", "tflite").code == 0
    exported = tmp_path / "out" / "yolov8t-64x96-fp32.tflite"
    result = run("validate", yolov8, exported, "--data", data, "--resamples", 10, "--json")
    assert result.code == 0, result.err
    assert result.json[1]["difference"]["mAP50"][0] == pytest.approx(0, abs=1e-3)
    assert result.json[1]["agreement"] == pytest.approx(1, abs=1e-3)
    assert "does not know traffic light" in result.err
