"""Head rescale: exact but for rounding, one range for all classes, clips that cost nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.export.quantization.support import Prepared, assert_close, depthwise_darknet, in_float, run_heads
from tests.support import random_darknet
from tests.tflite_support import convolve
from yolo_edge.evaluation.snr import snr_db
from yolo_edge.export.graph import GraphBuilder
from yolo_edge.export.onnx_int8 import quantize_onnx
from yolo_edge.export.quantization.apply import apply_plan
from yolo_edge.export.quantization.calibration import Calibration
from yolo_edge.export.quantization.heads import rescale_heads
from yolo_edge.export.quantization.importance import BOX, CLASS, OBJECTNESS, channel_kinds
from yolo_edge.export.quantization.recipe import Recipe
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

HEADS = Recipe("heads", equalize=False, ranges="minmax")


@pytest.mark.parametrize("seed", range(6))
def test_factor_and_offset_give_the_head_back(tmp_path: Path, seed: int) -> None:
    prepared = Prepared.of(random_darknet(tmp_path, seed), 2)
    plan = in_float(prepared.draft(HEADS))
    network = apply_plan(prepared.graph, plan)
    by_convolutions = {
        value.name
        for value in prepared.graph.graph.outputs
        if getattr(value.producer(), "op_type", "") == "Conv" and not value.uses()
    }
    assert set(plan.heads) == by_convolutions
    tensor = np.random.default_rng(seed).random(prepared.tensors[0].shape, dtype=np.float32)
    expected, inner = (run_heads(graph, tensor) for graph in (prepared.graph, network.graph))
    found = run_heads(quantize_onnx(network), tensor)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert_close(found[name], array)
        if name in plan.heads:
            factor, offset = (
                np.array(side).reshape(1, -1, 1, 1) for side in (plan.heads[name].factor, plan.heads[name].offset)
            )
            assert_close(inner[name] * factor + offset, array)


def test_ranges_of_channels(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 4)
    (name, plan), *_ = rescale_heads(prepared.graph, prepared.statistics, prepared.spec).items()
    seen = prepared.statistics[name]
    low, high = np.array(plan.offset), np.array(plan.offset) + np.array(plan.factor)
    kinds = channel_kinds(prepared.spec, name, len(low))
    for kind in (OBJECTNESS, CLASS):
        assert len(set(low[kinds == kind])) == 1
        np.testing.assert_allclose(high[kinds == kind], high[kinds == kind][0])
        # sure is within reach
        assert high[kinds == kind][0] >= max(3.0, seen.high[kinds == kind].max()) - 1e-9
    margin = 0.1 * (seen.high - seen.low)
    np.testing.assert_allclose(low[kinds == BOX], (seen.low - margin)[kinds == BOX])
    np.testing.assert_allclose(high[kinds == BOX], (seen.high + margin)[kinds == BOX])


@pytest.mark.parametrize("shift", [0.0, -6.0, -14.0, -40.0])
def test_a_clip_leaves_26_db(tmp_path: Path, shift: float) -> None:
    """Whether logits are moderate or all far below anything that is a detection."""
    prepared = Prepared.of(depthwise_darknet(tmp_path), 4)
    statistics = dict(prepared.statistics)
    (name,) = (value.name or "" for value in prepared.graph.graph.outputs)
    kinds = channel_kinds(prepared.spec, name, len(statistics[name].low))
    logits = kinds != BOX
    seen, moved = statistics[name].scaled(np.where(logits, 5.0, 1.0)), np.where(logits, shift, 0.0)
    statistics[name] = replace(seen, low=seen.low + moved, high=seen.high + moved)
    plan = rescale_heads(prepared.graph, statistics, prepared.spec)[name]
    low = np.array(plan.offset)
    values, weights = statistics[name].values, statistics[name].histogram
    kept = np.maximum(values, low[:, None])
    noise = float((np.square(values - kept) * weights).sum())
    assert noise <= float((np.square(values) * weights).sum()) * 10**-2.6
    if shift == -14.0:
        assert low[logits].min() > statistics[name].low[logits].min(), "nothing was clipped"


def test_the_clip_on_pictures(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 4)
    plans = rescale_heads(prepared.graph, prepared.statistics, prepared.spec)
    for tensor in prepared.tensors:
        for name, array in run_heads(prepared.graph, tensor).items():
            low = np.array(plans[name].offset).reshape(1, -1, 1, 1)
            assert snr_db(array, np.maximum(array, low).astype(np.float32)) > 24


def test_softmax_logits_are_not_clipped(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 2)
    heads = tuple(replace(head, class_activation="softmax") for head in prepared.spec.heads)
    spec = replace(prepared.spec, heads=heads)
    (name,) = (value.name or "" for value in prepared.graph.graph.outputs)
    statistics = dict(prepared.statistics)
    classes = channel_kinds(spec, name, len(statistics[name].low)) == CLASS
    statistics[name] = statistics[name].scaled(np.where(classes, 0.02, 1.0))
    plan = rescale_heads(prepared.graph, statistics, spec)[name]
    assert np.array(plan.offset)[classes].max() <= statistics[name].low[classes].min()


def test_heads_that_the_network_goes_on_with_stay() -> None:
    """Dividing them would change what the others read."""
    builder, rng = GraphBuilder("used", 16, 16), np.random.default_rng(0)
    first = convolve(builder, builder.input, rng, 6, 3, "first")
    second = convolve(builder, first, rng, 6, 6, "second")
    graph = builder.build({"head_0": first, "head_1": second})
    anchors = ((4.0, 4.0),)
    spec = ModelSpec(
        InputSpec(16, 16),
        (Head("yolo", 1, {"map": "head_0"}, anchors), Head("yolo", 1, {"map": "head_1"}, anchors)),
        ("a",),
    )
    tensor = rng.random((1, 3, 16, 16), dtype=np.float32)
    calibration = Calibration(graph, spec)
    calibration.run(lambda: [tensor])
    prepared = Prepared(graph, spec, [tensor], calibration)
    found = run_heads(quantize_onnx(prepared.quantized(HEADS)), tensor)
    for name, array in run_heads(graph, tensor).items():
        assert snr_db(array, found[name]) > 25, name


def test_a_constant_channel(tmp_path: Path) -> None:
    prepared = Prepared.of(depthwise_darknet(tmp_path), 1)
    prepared.calibration.run(lambda: [np.zeros_like(prepared.tensors[0])])
    for plan in rescale_heads(prepared.graph, prepared.statistics, prepared.spec).values():
        assert min(plan.factor) > 0
        assert np.isfinite(plan.factor).all()
        assert np.isfinite(plan.offset).all()
