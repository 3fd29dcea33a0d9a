"""Real detectors in int8, judged on pictures that nothing was fitted to."""

from pathlib import Path

import pytest

from yolo_edge.export import canonicalize, verify, write_onnx, write_tflite
from yolo_edge.export.load import load_model
from yolo_edge.export.quantization.cache import Cache
from yolo_edge.export.quantization.choose import quantize
from yolo_edge.export.quantization.control import Limit, control
from yolo_edge.export.quantization.expand import expand_activations
from yolo_edge.export.quantization.front import reversals
from yolo_edge.export.quantization.judge import StreamJudge
from yolo_edge.export.quantization.pictures import Pictures, stream
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


def test_the_front_of_a_real_detector(assets: Path, tmp_path: Path) -> None:
    """Five points or more, monotone within the noise of its pictures; those of larger ones are in docs/accuracy.md."""
    paths = sorted((assets / "coco128/images/train2017").glob("*.jpg"))
    source = load_model(assets / "darknet/yoloface/yoloface-50k.cfg")
    graph = expand_activations(canonicalize(source.graph))
    chosen = Pictures.choose(paths[:48], 32)
    made = quantize(graph, source.spec, chosen, recipes=RECIPES[:1])
    halves = paths[48:88], paths[88:]
    steer, judge = (StreamJudge(graph, source.spec, half) for half in halves)
    cache = Cache(tmp_path, [b"real"])
    try:
        front = control(
            graph,
            source.spec,
            made.network,
            Limit(min_agreement=0.99),
            steer=steer,
            judge=judge,
            steering_images=len(halves[0]),
            judging_images=len(halves[1]),
            tensors=list(stream(chosen.held_back, source.spec.input)),
            clock=lambda network: 1.0,
            format_="onnx",
            cache=cache,
            progress=lambda what: None,
        ).front
    finally:
        cache.close()
    for point in front.points:
        print(len(point.floats), point.agreement, point.agreement_interval)
    assert len(front.points) >= 5
    assert not reversals(front.points, drops=False)
    assert (front.points[0].agreement or 0.0) < 0.99
    assert front.points[-1].agreement == pytest.approx(1)
    low, high = front.points[0].agreement_interval or (0.0, 0.0)
    assert 0.001 < high - low < 0.2, "the noise is measured, and does not excuse everything"
