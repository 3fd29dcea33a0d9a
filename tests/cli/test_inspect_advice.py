"""`yolo-edge inspect` on files that are not recognised."""

import json
import re
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from tests.export import foreign
from yolo_edge.cli.app import app
from yolo_edge.export.importers.onnx import import_onnx
from yolo_edge.ondevice.spec import ModelSpec


def inspect(path: Path, *options: str) -> tuple[str, dict[str, object]]:
    """What is printed, as text and as JSON."""
    texts = []
    for more in ((), ("--json",)):
        result = CliRunner().invoke(app, ["inspect", str(path), *options, *more])
        assert result.exit_code == 0, result.output
        texts.append(result.stdout)
    return texts[0], json.loads(texts[1])


@pytest.mark.parametrize(
    ("model", "family", "words"),
    [
        (foreign.yolov5(form="raw"), "yolov5", "one map a grid of 16 channels: with 2 anchors and 3 classes"),
        (foreign.fastestdet(squash=False), "yolox", "a YOLOX .* or a FastestDet"),
        (foreign.yolov8(form="raw", bins=1), "ltrb", "distances"),
    ],
    ids=["anchors", "fastestdet", "distances"],
)
def test_the_spec_that_is_printed_can_be_filled_in(
    model: onnx.ModelProto, family: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    text, document = inspect(path)
    advice = document["advice"]
    assert isinstance(advice, dict)
    assert "Likely: " in text
    assert "Missing: " in text
    assert "A spec to fill in" in text
    assert re.search(words, str(advice["likely"]))
    assert next(head["family"] for head in advice["spec"]["heads"]) == family
    filled = json.dumps(advice["spec"]).replace('"fill in"', "20")
    spec = ModelSpec.from_json(filled)
    source = import_onnx(path, spec=spec, where="spec.json")
    assert [head.family for head in source.spec.heads] == [family] * len(spec.heads)


def test_nothing_is_advised_where_nothing_is_known(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(foreign.yolov8(), path)
    assert inspect(path)[1]["advice"] is None


def test_anchors_are_taken_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(foreign.fastestv2(), path)
    _, document = inspect(path, "--anchors", "10,13,16,30,62,45,59,119")
    heads = document["spec"]["heads"]  # type: ignore[index]
    assert heads[1]["anchors"] == [[62, 45], [59, 119]]
    for wrong in ("10,13,16", "10,x", "0,5", "-1,2", ""):
        result = CliRunner().invoke(app, ["inspect", str(path), f"--anchors={wrong}"])
        assert result.exit_code != 0
