import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_edge.ondevice.decode import check_heads, decode, decode_cells, entries_before_classes
from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.maps import logit, sigmoid
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

FAMILIES = ["gaussian_yolo", "region", "yolo", "yolov5"]


def make_spec(family: str, anchors: int, classes: int, /, **changes: object) -> ModelSpec:
    rng = np.random.default_rng(anchors * 100 + classes)
    sides = tuple((float(w), float(h)) for w, h in rng.uniform(5, 60, (anchors, 2)))
    activation = "softmax" if family == "region" else "sigmoid"
    heads = tuple(
        dataclasses.replace(Head(family, stride, {"map": f"head_{i}"}, sides, class_activation=activation), **changes)
        for i, stride in enumerate((16, 8))
    )
    return ModelSpec(InputSpec(64, 32), heads, tuple(f"c{i}" for i in range(classes)))


def random_maps(spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = {}
    for head in spec.heads:
        rows, columns = spec.grid(head)
        channels = len(head.anchors) * (entries_before_classes(head.family) + (len(head.tree) or len(spec.names)))
        maps[head.tensors["map"]] = rng.normal(-0.5, 2, (1, channels, rows, columns)).astype(np.float32)
    return maps


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_decode(spec: ModelSpec, maps: dict[str, np.ndarray], threshold: float) -> list[list[float]]:
    """Cell by cell, from darknet's get_yolo_box, get_gaussian_yolo_box and get_region_box, in double precision."""
    found = []
    for head in spec.heads:
        rows, columns = spec.grid(head)
        entries = maps[head.tensors["map"]].astype(float).reshape(len(head.anchors), -1, rows, columns)
        for a, (anchor_width, anchor_height) in enumerate(head.anchors):
            for j in range(rows):
                for i in range(columns):
                    values = list(entries[a, :, j, i])
                    certainty = 1.0
                    if head.family == "gaussian_yolo":
                        certainty -= sum(logistic(values[k]) for k in (1, 3, 5, 7)) / 4
                        values = [*values[0:8:2], *values[8:]]
                    x, y, w, h, objectness, *classes = values
                    if head.class_activation == "softmax":
                        total = sum(math.exp(c - max(classes)) for c in classes)
                        scores = [math.exp(c - max(classes)) / total for c in classes]
                    else:
                        scores = [logistic(c) for c in classes]
                    confidence = logistic(objectness) * max(scores) * certainty
                    if confidence <= threshold:
                        continue
                    shift = (head.scale_xy - 1) / 2
                    center_x = (logistic(x) * head.scale_xy - shift + i) / columns * spec.input.width
                    center_y = (logistic(y) * head.scale_xy - shift + j) / rows * spec.input.height
                    growth = [4 * logistic(v) ** 2 if head.family == "yolov5" else math.exp(v) for v in (w, h)]
                    half_w, half_h = growth[0] * anchor_width / 2, growth[1] * anchor_height / 2
                    box = [center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h]
                    found.append([*box, confidence, scores.index(max(scores))])
    return sorted(found, key=lambda row: row[4])


@given(
    family=st.sampled_from(FAMILIES),
    anchors=st.integers(1, 3),
    classes=st.integers(1, 6),
    scale_xy=st.sampled_from([1.0, 1.05, 2.0]),
    threshold=st.sampled_from([0.0, 0.05, 0.25, 0.9]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100)
def test_equals_the_formulas_cell_by_cell(
    family: str, anchors: int, classes: int, scale_xy: float, threshold: float, seed: int
) -> None:
    spec = make_spec(family, anchors, classes, scale_xy=scale_xy)
    maps = random_maps(spec, seed)
    boxes, confidence, class_id = decode_cells(spec, maps, threshold)
    expected = np.array(slow_decode(spec, maps, threshold)).reshape(-1, 6)
    assert len(confidence) == len(expected)
    # by boxes, which are far apart: confidences near 0 are equal in float32
    weights = np.array([1, 0.7, 0.3, 0.11])
    order = np.argsort(boxes @ weights, kind="stable")
    expected = expected[np.argsort(expected[:, :4] @ weights, kind="stable")]
    np.testing.assert_allclose(confidence[order], expected[:, 4], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(boxes[order], expected[:, :4], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(class_id[order], expected[:, 5])
    assert boxes.dtype == confidence.dtype == np.float32
    assert class_id.dtype == np.int64


TREES = [
    (-1, -1, -1),
    (-1, -1, 0, 0, 1, 1, 1, 2, 4, 4),
    (-1, 0, 0, 1, 1, 3, 3, 3),
]


def slow_walk(tree: tuple[int, ...], logits: np.ndarray) -> int:
    """darknet's hierarchy_top_prediction (src/tree.c) after a softmax over each group of siblings."""
    conditional = slow_conditional(tree, logits)
    parent, product = -1, 1.0
    while True:
        group = [node for node in range(len(tree)) if tree[node] == parent]
        best = max(group, key=lambda node: conditional[node])
        if product * conditional[best] > 0.5:
            product *= conditional[best]
            if best not in tree:
                return best
            parent = best
        else:
            return best if parent < 0 else parent


def slow_conditional(tree: tuple[int, ...], logits: np.ndarray) -> list[float]:
    exponents = [math.exp(x) for x in logits]
    return [
        exponents[node] / sum(exponents[other] for other in range(len(tree)) if tree[other] == tree[node])
        for node in range(len(tree))
    ]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("seed", range(5))
def test_word_trees_are_walked_as_darknet_does(tree: tuple[int, ...], seed: int) -> None:
    spec = make_spec("region", 2, len(tree), tree=tree)
    maps = random_maps(spec, seed)
    boxes, confidence, class_id = decode_cells(spec, maps, 0.1)
    expected = []
    for head in spec.heads:
        entries = maps[head.tensors["map"]].reshape(2, 5 + len(tree), -1)
        for anchor, cell in np.argwhere(entries[:, 4] > math.log(0.1 / 0.9)):
            objectness = logistic(float(entries[anchor, 4, cell]))
            expected.append((objectness, slow_walk(tree, entries[anchor, 5:, cell].astype(float))))
    assert len(boxes) == len(expected) > 5
    np.testing.assert_allclose(confidence, [row[0] for row in expected], rtol=1e-5)
    np.testing.assert_array_equal(class_id, [row[1] for row in expected])


@pytest.mark.parametrize("seed", range(3))
def test_mapped_trees_have_products_along_the_path(seed: int) -> None:
    tree, nodes = TREES[1], (8, 2, 1)
    spec = dataclasses.replace(make_spec("region", 1, 3, tree=tree, tree_map=nodes))
    maps = random_maps(spec, seed)
    _, confidence, class_id = decode_cells(spec, maps, 0.01)
    expected = []
    for head in spec.heads:
        entries = maps[head.tensors["map"]].reshape(5 + len(tree), -1).astype(float)
        for cell in range(entries.shape[1]):
            conditional = slow_conditional(tree, entries[5:, cell])
            scores = []
            for start in nodes:
                product, node = 1.0, start
                while node >= 0:
                    product, node = product * conditional[node], tree[node]
                scores.append(product)
            value = logistic(entries[4, cell]) * max(scores)
            if value > 0.01:
                expected.append((value, scores.index(max(scores))))
    np.testing.assert_allclose(confidence, [row[0] for row in expected], rtol=1e-5)
    np.testing.assert_array_equal(class_id, [row[1] for row in expected])


def test_region_without_softmax_has_independent_classes() -> None:
    spec = make_spec("region", 2, 4, class_activation="sigmoid")
    maps = random_maps(spec, 0)
    _, confidence, _ = decode_cells(spec, maps, 0.1)
    np.testing.assert_allclose(sorted(confidence), [row[4] for row in slow_decode(spec, maps, 0.1)], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_absurd_logits_give_finite_boxes(value: float) -> None:
    spec = make_spec("yolo", 1, 2)
    maps = {name: np.full_like(array, value) for name, array in random_maps(spec, 0).items()}
    with np.errstate(all="ignore"):
        boxes, confidence, _ = decode(spec, maps, 0.25)
    assert np.isfinite(boxes).all()
    assert np.isfinite(confidence).all()
    assert len(boxes) == (0 if not value > 0 else sum(np.prod(spec.grid(head)) for head in spec.heads))


def test_a_box_without_width_does_no_harm() -> None:
    spec = make_spec("yolo", 1, 2)
    maps = {name: np.full_like(array, 3) for name, array in random_maps(spec, 0).items()}
    whole = len(decode(spec, maps, 0.25)[0])
    maps["head_0"][0, 2, 0, 0] = -100
    maps["head_1"][0, 0, 0, 0] = np.nan
    boxes, _, _ = decode(spec, maps, 0.25)
    assert len(boxes) == whole - 2
    assert np.isfinite(boxes).all()


@given(st.floats(1e-30, 1) | st.just(0.0))
def test_logit_inverts_sigmoid(p: float) -> None:
    x = logit(p)
    if math.isfinite(x):
        assert sigmoid(np.float64(x)) == pytest.approx(p, rel=1e-9, abs=1e-300)
    else:
        assert p in (0, 1)


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise"):
        assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == pytest.approx([0, 0.5, 1], abs=1e-30)


@pytest.mark.parametrize(
    ("changes", "shapes", "message"),
    [
        (
            {"family": "yolo3"},
            {},
            "spec.heads[0].family: expected one of decoded, detection_postprocess, dfl, fastestdet, gaussian_yolo, "
            "ltrb, nanodet_plus, nms, region, yolo, yolo_fastestv2, yolov5, yolox, got 'yolo3'",
        ),
        ({"anchors": ()}, {}, "spec.heads[0].anchors: a yolo head has anchors"),
        ({"tensors": {"box": "head_0"}}, {}, "has a tensor 'map', this one has none"),
        ({}, {}, "the model has no output 'head_0'"),
        ({}, {"head_0": (1, 14, 2, 3)}, "output 'head_0' should be [1, 14, 2, 4] with 2 anchors and 2 classes"),
    ],
)
def test_heads_that_do_not_fit_the_model(changes: dict, shapes: dict, message: str) -> None:
    spec = make_spec("yolo", 2, 2, **changes)
    with pytest.raises(SpecError) as error:
        check_heads(spec, shapes)
    assert message in str(error.value)
