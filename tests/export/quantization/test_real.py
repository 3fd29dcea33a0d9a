"""Real detectors in int8, judged on pictures that nothing was fitted to."""

from pathlib import Path

import pytest

from yolo_edge.export import canonicalize, verify, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.choose import quantize
from yolo_edge.export.quantization.pictures import Pictures
from yolo_edge.export.quantization.recipe import RECIPES
from yolo_edge.export.verify import Reference
from yolo_edge.ondevice.images import read_image
from yolo_edge.ondevice.runtimes.onnx import new_session

# one recipe each, since trying all takes minutes; pictures to calibrate with
REAL = {
    "darknet/yolo-fastest/yolo-fastest-1.1.cfg": ("dense, heads, affine", 16),
    "onnx/yolox_nano.onnx": ("dense, heads, affine", 16),
}


@pytest.mark.parametrize("name", REAL)
def test_real_detectors_agree(assets: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # yolox_nano is at the limit of 15 dB with so few pictures; what counts here are detections
    monkeypatch.setitem(verify.MIN_SNR_DB, "int8", 12.0)
    recipe, count = REAL[name]
    paths = sorted((assets / "coco128/images/train2017").glob("*.jpg"))
    source = load_model(assets / name)
    graph = canonicalize(source.graph)
    recipes = [found for found in RECIPES if found.name == recipe]
    made = quantize(graph, source.spec, Pictures.choose(paths[:64], count), recipes=recipes)
    reference = Reference(source.graph, source.spec, [read_image(path) for path in paths[64:80]])
    convolutions = sum(node.op_type == "Conv" for node in graph.graph)
    data = write_onnx(made.network, source.spec, "int8")
    new_session(data, precise=True)  # does not load files whose tensors share zero-points
    for file in (data, write_tflite(made.network, source.spec, "int8")):
        seen = reference.verify(file, "int8")
        print(name, recipe, seen)
        assert seen.agreement is not None
        assert seen.agreement >= 0.85
        assert seen.convolutions == convolutions
        assert seen.fused >= convolutions - 2
