from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Run
from yolo_edge import Detector
from yolo_edge.ondevice.spec import ModelSpec


def test_a_cfg(run: Run, cfg: Path) -> None:
    result = run("inspect", cfg)
    assert result.code == 0
    for text in ("conv_0", "parameters", "MACs", "anchors", "stretch", "stride", "sha256", "images: float32"):
        assert text in result.out


def test_json(run: Run, cfg: Path, onnx_file: Path) -> None:
    before, after = (run("inspect", path, "--json").json for path in (cfg, onnx_file))
    assert (before["parameters"], before["macs"]) == (after["parameters"], after["macs"])
    assert before["spec"]["heads"] == after["spec"]["heads"]
    for document in (before, after):
        import json

        spec = ModelSpec.from_json(json.dumps(document["spec"]))
        assert spec.heads == Detector(onnx_file).spec.heads
        assert document["layers"][0]["name"] == "conv_0"
        jsonschema.validate(document["layers"][0]["output"], {"type": "array", "items": {"type": "integer"}})


def test_a_cfg_without_weights_shows_its_structure(run: Run, cfg: Path, tmp_path: Path) -> None:
    alone = tmp_path / cfg.name
    alone.write_bytes(cfg.read_bytes())
    result = run("inspect", alone)
    assert result.code == 0
    assert "only the structure was looked at" in result.err
    assert run("inspect", alone, "--json").json["macs"] == run("inspect", cfg, "--json").json["macs"]


def test_damaged_weights_are_seen(refuse: Callable[..., str], cfg: Path, tmp_path: Path) -> None:
    alone = tmp_path / cfg.name
    alone.write_bytes(cfg.read_bytes())
    alone.with_suffix(".weights").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    assert "PyTorch checkpoint" in refuse("inspect", alone)


def test_a_foreign_onnx_file(run: Run, assets: Path) -> None:
    result = run("inspect", assets / "onnx" / "yolo-fastestv2.onnx")
    assert result.code == 0
    assert "the file does not hold them. Say them with --anchors" in result.err
    assert "MACs" in result.out


def test_an_onnx_file_of_another_trainer(run: Run, assets: Path) -> None:
    result = run("inspect", assets / "onnx" / "yolov5n.onnx")
    assert result.code == 0
    assert "116x90" in result.out
    assert "yolov5" in result.out
    assert "2.23 G" in result.out  # its trainer says 4.5 GFLOPs


def test_a_tflite_file(run: Run, cfg: Path, tflite_file: Path) -> None:
    shown = run("inspect", tflite_file)
    assert shown.code == 0
    for text in ("CONV_2D 3x3", "images: float32", "NHWC", "sha256 of", "head_0"):
        assert text in shown.out
    assert "note: XNNPACK runs" in shown.err
    before, after = (run("inspect", path, "--json").json for path in (cfg, tflite_file))
    assert (before["parameters"], before["macs"]) == (after["parameters"], after["macs"])
    assert [head["anchors"] for head in after["spec"]["heads"]] == [head["anchors"] for head in before["spec"]["heads"]]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("yolov8n_full_integer_quant_416", 3151905), ("yolox_nano_float16_quantize", 904463)],
)
def test_a_foreign_tflite_file(run: Run, assets: Path, name: str, parameters: int) -> None:
    result = run("inspect", assets / "tflite" / f"{name}.tflite", "--json")
    assert result.code == 0
    assert result.json["parameters"] == parameters
    assert any("carries no yolo_edge.spec" in note for note in result.json["notes"])
    assert any("RESIZE_NEAREST_NEIGHBOR (2)" in note for note in result.json["notes"])


@pytest.mark.parametrize("command", ["inspect", "detect", "export"])
@pytest.mark.parametrize("suffix", [".cfg", ".onnx", ".tflite", ".pt", ""])
@pytest.mark.parametrize("content", [None, b"", b"\0\1\2\xff" * 40, b"[net]\n", b"hello", b"\x08\x08\x12\x04"])
def test_nonsense_to_every_command(
    refuse: Callable[..., str], tmp_path: Path, picture: Path, command: str, suffix: str, content: bytes | None
) -> None:
    model = tmp_path / f"a model{suffix}"
    if content is not None:
        model.write_bytes(content)
    rest = {"inspect": [], "detect": [picture, "--save", tmp_path / "out"], "export": ["-o", tmp_path / "out"]}[command]
    assert "a model" in refuse(command, model, *rest)
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_said_in_words(refuse: Callable[..., str], tmp_path: Path, onnx_file: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_file.read_bytes()[:-1000])
    assert "not an ONNX file (it is cut short by " in refuse("inspect", path)
    path.write_text("<!DOCTYPE html><title>Not found</title>")
    assert "not an ONNX file (it looks like an HTML page)" in refuse("inspect", path)


@pytest.mark.parametrize("command", ["inspect", "detect", "export"])
def test_a_folder_is_no_model(refuse: Callable[..., str], tmp_path: Path, picture: Path, command: str) -> None:
    rest = {"inspect": [], "detect": [picture], "export": ["-o", tmp_path / "out"]}[command]
    folder = tmp_path / "model.cfg"
    folder.mkdir()
    assert "is a folder, expected a file" in refuse(command, folder, *rest)


def test_names_that_would_move_the_cursor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text(
        "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=6\nactivation=\x1b[2Jevil\n[yolo]\nclasses=1\nanchors=1,2\n"
    )
    result = run("inspect", tmp_path / "a.cfg")
    assert result.code == 2
    assert "\x1b" not in result.err + result.out
