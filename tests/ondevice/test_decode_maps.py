"""Families with several maps a head, against their formulas written out cell by cell."""

import math

import numpy as np
import pytest

from yolo_edge.ondevice.decode import check_heads, decode
from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

ROLES = {"dfl": {"box": 32, "classes": 3}, "yolox": {"box": 4, "objectness": 1, "classes": 3}}


def make_spec(family: str, layout: str = "NCHW") -> ModelSpec:
    heads = tuple(
        Head(family, stride, {role: f"{role}_{stride}" for role in ROLES[family]}, layout=layout) for stride in (8, 16)
    )
    return ModelSpec(InputSpec(64, 32), heads, ("a", "b", "c"))


def random_maps(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = {}
    for head in spec.heads:
        for role, name in head.tensors.items():
            shape = (1, ROLES[head.family][role], *spec.grid(head))
            array = rng.normal(0, 2, shape).astype(np.float32)
            maps[name] = array.transpose(0, 2, 3, 1) if head.layout == "NHWC" else array
    return maps


def slow_decode(spec: ModelSpec, maps: dict[str, np.ndarray], threshold: float) -> list[tuple[float, ...]]:
    rows = []
    for head in spec.heads:
        parts = {role: maps[name] for role, name in head.tensors.items()}
        if head.layout == "NHWC":
            parts = {role: array.transpose(0, 3, 1, 2) for role, array in parts.items()}
        height, width = spec.grid(head)
        for j in range(height):
            for i in range(width):
                t = {role: [float(v) for v in array[0, :, j, i]] for role, array in parts.items()}
                scores = [1 / (1 + math.exp(-v)) for v in t["classes"]]
                if head.family == "yolox":
                    objectness = 1 / (1 + math.exp(-t["objectness"][0]))
                    scores = [objectness * score for score in scores]
                    x, y = t["box"][0] + i, t["box"][1] + j
                    w, h = math.exp(t["box"][2]), math.exp(t["box"][3])
                    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                else:
                    away = []
                    for side in range(4):
                        odds = [math.exp(v) for v in t["box"][8 * side : 8 * side + 8]]
                        away.append(sum(k * p for k, p in enumerate(odds)) / sum(odds))
                    box = (i + 0.5 - away[0], j + 0.5 - away[1], i + 0.5 + away[2], j + 0.5 + away[3])
                best = max(range(3), key=lambda k: scores[k])
                if scores[best] > threshold:
                    rows.append((*(side * head.stride for side in box), scores[best], best))
    return sorted(rows, key=lambda row: row[4])


def stored(array: np.ndarray, layout: str, in_memory: str) -> np.ndarray:
    """A map whose channels lie in memory as those of a layout, whatever its own is."""
    if layout == in_memory:
        return np.ascontiguousarray(array)
    turn, back = ((0, 2, 3, 1), (0, 3, 1, 2)) if in_memory == "NHWC" else ((0, 3, 1, 2), (0, 2, 3, 1))
    return np.ascontiguousarray(array.transpose(turn)).transpose(back)


@pytest.mark.parametrize("in_memory", ["NCHW", "NHWC"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("family", ROLES)
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.3, 0.7, 0.999])
def test_formulas(family: str, layout: str, in_memory: str, threshold: float) -> None:
    spec = make_spec(family, layout)
    maps = {name: stored(array, layout, in_memory) for name, array in random_maps(spec, 3).items()}
    boxes, confidence, class_id = decode(spec, maps, threshold)
    order = np.argsort(confidence, kind="stable")
    expected = np.array(slow_decode(spec, maps, threshold)).reshape(-1, 6)
    assert len(order) == len(expected)
    np.testing.assert_allclose(boxes[order], expected[:, :4], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(confidence[order], expected[:, 4], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(class_id[order], expected[:, 5])
    assert (boxes.dtype, confidence.dtype, class_id.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize("family", ROLES)
def test_heads_are_checked(family: str) -> None:
    spec = make_spec(family)
    shapes = {name: array.shape for name, array in random_maps(spec, 0).items()}
    check_heads(spec, shapes)
    with pytest.raises(SpecError, match=r"heads\[1\]\.tensors: the model has no output 'classes_16'"):
        check_heads(spec, {name: shape for name, shape in shapes.items() if name != "classes_16"})
    with pytest.raises(SpecError, match=r"output 'classes_8' should be \[1, 3, 4, 8\] with 3 classes"):
        check_heads(spec, {**shapes, "classes_8": (1, 4, 4, 8)})
    short = ModelSpec(spec.input, (Head(family, 8, {"classes": "classes_8"}),), spec.names)
    with pytest.raises(SpecError, match=f"a {family} head has a tensor 'box', this one has none"):
        check_heads(short, shapes)


def test_distributions_come_in_fours() -> None:
    spec = make_spec("dfl")
    shapes = {name: array.shape for name, array in random_maps(spec, 0).items()}
    with pytest.raises(SpecError, match="output 'box_8' holds four distributions"):
        check_heads(spec, {**shapes, "box_8": (1, 30, 4, 8)})


@pytest.mark.parametrize("in_memory", ["NCHW", "NHWC"])
@pytest.mark.parametrize("family", ROLES)
def test_what_is_not_a_number_is_no_detection(family: str, in_memory: str) -> None:
    spec = make_spec(family)
    maps = {name: stored(array, "NCHW", in_memory) for name, array in random_maps(spec, 3).items()}
    expected = decode(spec, maps, 0.3)
    for stride in (8, 16):
        maps[f"classes_{stride}"][0, 1, 0, 0] = np.nan
    _, confidence, _ = decode(spec, maps, 0.3)
    assert np.isfinite(confidence).all()
    assert 0 <= len(expected[1]) - len(confidence) <= 2


def test_enormous_logits() -> None:
    for family in ROLES:
        spec = make_spec(family)
        maps = {name: np.full(array.shape, 1e4, np.float32) for name, array in random_maps(spec, 0).items()}
        boxes, confidence, _ = decode(spec, maps, 0.5)
        assert np.isfinite(boxes).all()
        assert (confidence == 1).all()
