"""`yolo-edge compare`."""

from collections.abc import Callable
from pathlib import Path

import cv2
import jsonschema
import pytest

from tests.browser import open_page
from tests.cli.conftest import Run
from tests.export.quantization.support import Prepared, depthwise_darknet
from tests.support import random_picture
from yolo_edge.export import write_onnx, write_tflite
from yolo_edge.export.comparison.result import json_schema
from yolo_edge.export.quantization.apply import apply_plan


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return depthwise_darknet(tmp_path_factory.mktemp("net"), 3, "leaky", spread=0.3)


@pytest.fixture(scope="module")
def files(cfg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8.onnx and int8.tflite, and pictures with and without labels."""
    folder = tmp_path_factory.mktemp("files")
    prepared = Prepared.of(cfg, 3)
    network = apply_plan(prepared.graph, prepared.draft())
    (folder / "int8.onnx").write_bytes(write_onnx(network, prepared.spec, "int8"))
    (folder / "int8.tflite").write_bytes(write_tflite(network, prepared.spec, "int8"))
    for part in ("plain", "labelled"):
        (folder / part).mkdir()
        for i in range(5):
            cv2.imwrite(str(folder / part / f"<b>{i}.png"), random_picture(90, 70, i))
    for i in range(5):
        (folder / "labelled" / f"<b>{i}.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    return folder


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_json(run: Run, cfg: Path, files: Path, suffix: str) -> None:
    result = run("compare", cfg, files / f"int8.{suffix}", "--data", files / "plain", "--json", "--limit", 3)
    assert result.code == 0, result.err
    jsonschema.validate(result.json, json_schema())
    assert result.json["images"] == 3
    assert result.json["accuracy"] is None
    assert result.json["quantized_file"]["int8"] == 11
    added = [layer["added"] for layer in result.json["layers"]]
    assert added == sorted(added, reverse=True)
    assert {"sqnr_db", "saturated", "cosine", "range", "stored"} <= set(result.json["layers"][0])


def test_labels_give_map(run: Run, cfg: Path, files: Path) -> None:
    result = run("compare", cfg, files / "int8.onnx", "--data", files / "labelled", "--json")
    assert result.code == 0, result.err
    assert set(result.json["accuracy"]) == {"float", "quantized"}
    assert set(result.json["accuracy"]["float"]) == {"mAP50", "mAP50_95"}


def test_figures_are_those_of_validate(run: Run, cfg: Path, files: Path, tmp_path: Path) -> None:
    # labelled with what the float network itself finds: figures above 0
    found = run("detect", cfg, files / "plain", "--confidence", 0.1, "--json").json
    for picture in found:
        path = Path(picture["image"])
        (tmp_path / path.name).write_bytes(path.read_bytes())
        lines = []
        for item in picture["detections"]:
            x1, y1, x2, y2 = item["box"]
            box = ((x1 + x2) / 2 / 90, (y1 + y2) / 2 / 70, (x2 - x1) / 90, (y2 - y1) / 70)
            lines.append(f"{item['class_id']} " + " ".join(f"{min(max(side, 0), 1):.6f}" for side in box) + "\n")
        (tmp_path / path.name).with_suffix(".txt").write_text("".join(lines))
    compared = run("compare", cfg, files / "int8.onnx", "--data", tmp_path, "--json").json["accuracy"]
    validated = run("validate", cfg, files / "int8.onnx", "--data", tmp_path, "--json").json
    for side, result in zip(("float", "quantized"), validated, strict=True):
        assert compared[side]["mAP50"] > 0
        assert compared[side] == {name: pytest.approx(result[name]) for name in ("mAP50", "mAP50_95")}


def test_in_words(run: Run, cfg: Path, files: Path) -> None:
    result = run("compare", cfg, files / "int8.onnx", "--data", files / "plain")
    assert result.code == 0, result.err
    for said in ("float: ", "the other: ", "11 of them in integers", "SQNR dB", "cut off %"):
        assert said in result.out
    assert "added: noise beyond what the layer reads" in result.err


def test_page(run: Run, cfg: Path, files: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "compare.html"
    model = tmp_path / "a_long_name_without_any_space_as_exporters_write_them_int8_quantize.tflite"
    model.write_bytes((files / "int8.tflite").read_bytes())
    result = run("compare", cfg, model, "--data", files / "plain", "-o", page, "--json")
    assert result.code == 0, result.err
    assert f"Page: {page}" in result.err
    with open_page(page, tmp_path / "profile") as shown:
        drawn = "new Promise(done => { const look = () => document.querySelectorAll('.chart:not([data-drawn])').length"
        shown.evaluate(f"{drawn} ? setTimeout(look, 50) : done(1); look(); }})")
        assert shown.evaluate("document.querySelectorAll('.chart').length") >= 2
        assert shown.evaluate("document.querySelectorAll('.finding').length") == len(result.json["findings"])
        said = "[...document.querySelectorAll('.finding .severity')].map(item => item.textContent)"
        assert shown.evaluate(said) == [finding["severity"] for finding in result.json["findings"]]
        assert "`" not in shown.evaluate("[...document.querySelectorAll('.finding')].map(f => f.textContent).join('')")
        assert shown.evaluate("document.querySelectorAll('#layers tbody tr').length") == len(result.json["layers"])
        assert shown.evaluate("document.querySelectorAll('.pair img').length") == 2 * len(result.json["pictures"])
        assert shown.evaluate("[...document.querySelectorAll('.pair img')].every(image => image.naturalWidth > 50)")
        assert shown.evaluate("document.querySelectorAll('b').length") == 0, "names of files are no markup"
        first = "document.querySelector('#layers tbody tr').cells[0].textContent"
        assert shown.evaluate(first) == result.json["layers"][0]["name"]
        shown.evaluate("document.querySelectorAll('#layers th button')[3].click()")
        least = min(result.json["layers"], key=lambda layer: layer["sqnr_db"])
        assert shown.evaluate(first) == least["name"]
        shown.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390, "on a phone"
        assert shown.complaints == []
        assert [url for url in shown.requests if not url.startswith("file:")] == []


def test_what_is_refused(refuse: Callable[..., str], cfg: Path, files: Path, tmp_path: Path) -> None:
    plain = files / "plain"
    assert "expected an .onnx or .tflite file" in refuse("compare", cfg, cfg, "--data", plain)
    assert "expected the name of a .html file" in refuse(
        "compare", cfg, files / "int8.onnx", "--data", plain, "-o", tmp_path / "x.txt"
    )
    assert "no such file" in refuse("compare", cfg, files / "int8.onnx", "--data", tmp_path / "missing")
    assert "missing.onnx" in refuse("compare", cfg, tmp_path / "missing.onnx", "--data", plain)
    assert "resize" in refuse("compare", cfg, files / "int8.onnx", "--data", plain, "--resize", "crop")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes((files / "int8.tflite").read_bytes()[:3000])
    assert "broken.tflite" in refuse("compare", cfg, broken, "--data", plain)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in refuse("compare", cfg, files / "int8.onnx", "--data", empty)
