import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec, Provenance, replace_input

HEAD = Head("yolo", 16, {"map": "head_0"}, anchors=((10.0, 20.5),), scale_xy=1.05)
SPEC = ModelSpec(
    input=InputSpec(64, 32),
    heads=(HEAD,),
    names=("café", "b"),
    names_from="file x.names",
    provenance=Provenance("x.cfg", {"x.cfg": "00"}, None, "yolo-edge 0"),
)


def test_json_round_trip() -> None:
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_the_same_spec_gives_the_same_text() -> None:
    # whatever order a dict was filled in
    provenance = dataclasses.replace(SPEC.provenance, sha256={"b": "1", "a": "2"})
    other = dataclasses.replace(SPEC.provenance, sha256={"a": "2", "b": "1"})
    first, second = (dataclasses.replace(SPEC, provenance=p).to_json() for p in (provenance, other))
    assert first == second
    assert "\n" not in first


def test_published_schema_describes_what_is_written() -> None:
    import yolo_edge

    schema = json.loads((Path(yolo_edge.__file__).parent / "spec.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(SPEC.to_json()), schema)
    wrong = json.loads(SPEC.to_json())
    wrong["input"]["width"] = "wide"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_published_schema_is_the_one_of_the_code() -> None:
    import subprocess
    import sys

    from tests.support import ROOT

    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "write_schema.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_shapes_and_grids() -> None:
    assert SPEC.input.shape == (1, 3, 32, 64)
    assert dataclasses.replace(SPEC.input, layout="NHWC").shape == (1, 32, 64, 3)
    assert SPEC.grid(HEAD) == (2, 4)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], 2, "spec.version: this program reads version 1, got 2"),
        (["input", "layout"], "CHW", "spec.input.layout: expected NCHW or NHWC, got 'CHW'"),
        (["input", "dtype"], "float64", "spec.input.dtype"),
        (["input", "color"], "GRB", "spec.input.color"),
        (["input", "resize"], "crop", "spec.input.resize: expected stretch or letterbox, got 'crop'"),
        (["input", "pad_position"], "left", "spec.input.pad_position"),
        (["input", "interpolation"], "CUBIC", "spec.input.interpolation"),
        (["input", "width"], 0, "spec.input.width: expected 1..16384, got 0"),
        (["input", "height"], 10**9, "spec.input.height: expected 1..16384, got 1000000000"),
        (["input", "pad_value"], 256, "spec.input.pad_value: expected 0..255, got 256"),
        (["heads"], [], "spec.heads: a detector has at least one head"),
        (["names"], [], "spec.names: a detector has at least one class"),
        (["heads", 0, "stride"], 0, "spec.heads[0].stride: 0 does not divide the input 64x32"),
        (["heads", 0, "stride"], 24, "spec.heads[0].stride: 24 does not divide the input 64x32"),
        (["heads", 0, "tensors"], {}, "spec.heads[0].tensors"),
        (["heads", 0, "anchors"], [[1, 0]], "spec.heads[0].anchors[0]: expected two sides above 0"),
        (["heads", 0, "tree"], [0, -1], "spec.heads[0].tree[0]: expected a node before it or -1, got 0"),
        (["heads", 0, "tree"], [-1, 0, -1], "spec.heads[0].tree: the children of a node stand together"),
        (["heads", 0, "tree"], [-1, 0, 0], "spec.heads[0].tree: gives 3 classes, there are 2 names"),
        (["heads", 0, "tree_map"], [0], "spec.heads[0].tree_map[0]: expected 0..-1, got 0"),
        (["heads", 0, "class_activation"], "relu", "spec.heads[0].class_activation"),
    ],
)
def test_contradictions_are_named(path: list[Any], value: object, message: str) -> None:
    document = json.loads(SPEC.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(SpecError) as error:
        ModelSpec.from_json(json.dumps(document))
    assert message in str(error.value)


def test_replace_input() -> None:
    assert replace_input(SPEC, resize="letterbox").input.resize == "letterbox"
    with pytest.raises(SpecError, match="resize"):
        replace_input(SPEC, resize="crop")
