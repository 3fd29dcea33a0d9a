"""Weights of raw heads against how confidences and boxes of the decoder really move."""

import math
from dataclasses import replace

import numpy as np
import pytest

from yolo_edge.export.quantization.importance import (
    BOX,
    CLASS,
    OBJECTNESS,
    channel_kinds,
    has_logistic_classes,
    importance,
)
from yolo_edge.ondevice.decode import decode_cells
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec

ANCHORS = ((14.0, 22.0), (40.0, 30.0))
CLASSES, GRID, STRIDE, BINS = 3, (2, 3), 16, 8
FLOOR = 1e-3


def head(family: str, **options: object) -> Head:
    if family == "dfl":
        return Head(family, STRIDE, {"box": "b", "classes": "c"})
    if family == "yolox":
        return Head(family, STRIDE, {"box": "b", "objectness": "o", "classes": "c"})
    return Head(family, STRIDE, {"map": "m"}, ANCHORS, **options)  # type: ignore[arg-type]


HEADS = {
    "yolo": head("yolo", scale_xy=1.1),
    "yolov5": head("yolov5", scale_xy=2.0),
    "gaussian": head("gaussian_yolo"),
    "region": head("region", class_activation="softmax"),
    "region, logistic": head("region"),
    "dfl": head("dfl"),
    "yolox": head("yolox"),
}
CHANNELS = {
    "m": {"gaussian_yolo": 2 * (9 + CLASSES)},
    "b": {"dfl": 4 * BINS, "yolox": 4},
    "o": {"yolox": 1},
    "c": {"dfl": CLASSES, "yolox": CLASSES},
}


def spec_of(found: Head) -> ModelSpec:
    image = InputSpec(GRID[1] * STRIDE, GRID[0] * STRIDE)
    return ModelSpec(image, (found,), tuple("abcdefgh"[:CLASSES]))


def random_maps(found: Head, seed: int, loud: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = {}
    for name in found.tensors.values():
        channels = CHANNELS[name].get(found.family, 2 * (5 + CLASSES))
        maps[name] = rng.normal(0, loud, (1, channels, *GRID)).astype(np.float32)
    return maps


@pytest.mark.parametrize("name", HEADS)
def test_shape_sign_and_size(name: str) -> None:
    maps = random_maps(HEADS[name], 0, loud=8)
    found = importance(spec_of(HEADS[name]), maps)
    assert set(found) == set(maps)
    for key, weights in found.items():
        assert (weights.shape, weights.dtype) == (maps[key].shape, np.float32)
        assert np.isfinite(weights).all()
        assert weights.min() >= FLOOR


@pytest.mark.parametrize("name", HEADS)
def test_weights_are_squared_derivatives(name: str) -> None:
    """Of the confidence of the best class, or of a side or centre of the box over its size, times the confidence."""
    found, spec = HEADS[name], spec_of(HEADS[name])
    rng, step = np.random.default_rng(1), 2e-3
    for seed in range(3):
        maps = random_maps(found, seed)
        weights = importance(spec, maps)
        for key, array in maps.items():
            kinds = channel_kinds(spec, key, array.shape[1])
            for _ in range(25):
                place = (0, *(int(rng.integers(size)) for size in array.shape[1:]))
                expected = moved(spec, maps, key, place, step, int(kinds[place[1]]))
                if math.isnan(expected):
                    continue
                limit = 0.02 * expected + FLOOR * 1.05
                if found.family == "gaussian_yolo" and kinds[place[1]] != BOX:
                    # the certainty of the box, at most 1, is left out
                    assert weights[key][place] >= expected - limit
                    continue
                assert weights[key][place] == pytest.approx(max(expected, FLOOR), rel=0.03, abs=2e-5), (key, place)


def moved(
    spec: ModelSpec, maps: dict[str, np.ndarray], key: str, place: tuple[int, ...], step: float, kind: int
) -> float:
    """The square of a difference quotient; NaN where the decoder does not show it (classes that are not the best)."""
    ends = []
    for sign in (1, 0, -1):
        other = {name: array.copy() for name, array in maps.items()}
        other[key][place] += np.float32(sign * step)
        ends.append(decode_cells(spec, other, -1.0))
    (above, high, best_above), (boxes, confidence, best), (below, low, best_below) = ends
    assert len(high) == len(low) == len(confidence)
    if kind != BOX:
        if not (best_above == best).all() or not (best_below == best).all():
            return math.nan
        change = (high.astype(np.float64) - low) / (2 * step)
        if kind == CLASS and spec.heads[0].class_activation == "softmax":
            # a softmax moves all others, too
            own = best[np.abs(change).argmax()] == (place[1] % (5 + CLASSES)) - 5
            return float(np.square(change).max()) if own else math.nan
        if kind == CLASS and not change.any():
            return math.nan
        return float(np.square(change).max())
    if spec.heads[0].family == "gaussian_yolo" and place[1] % (9 + CLASSES) % 2:
        change = (high.astype(np.float64) - low) / (2 * step)
        at = np.abs(change).argmax()
        # of the confidence without the factor that moves
        return float(np.square(change[at]))
    middle = [(array[:, :2] + array[:, 2:]) / 2 for array in (above.astype(np.float64), below.astype(np.float64))]
    size = [array[:, 2:] - array[:, :2] for array in (above.astype(np.float64), below.astype(np.float64))]
    whole = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    center, grown = ((a - b) / (2 * step) / whole for a, b in (middle, size))
    changed = grown if np.abs(grown).max() > np.abs(center).max() * 1.01 else center
    row, axis = np.unravel_index(np.abs(changed).argmax(), changed.shape)
    if whole[row].min() < 2:
        return math.nan  # thinner boxes count as if they were not
    sure = float(confidence[row])
    if spec.heads[0].family == "gaussian_yolo":
        sure = own_confidence(spec, maps, row)
    return float(np.square(sure * changed[row, axis]))


def own_confidence(spec: ModelSpec, maps: dict[str, np.ndarray], row: int) -> float:
    """Of a gaussian head, as if the box were certain."""
    certain = maps["m"].copy().reshape(len(ANCHORS), -1, *GRID)
    certain[:, 1:8:2] = -60
    _, confidence, _ = decode_cells(spec, {"m": certain.reshape(maps["m"].shape)}, -1.0)
    return float(confidence[row])


def test_nothing_found_costs_nothing() -> None:
    for found in HEADS.values():
        maps = {name: np.full_like(array, -20) for name, array in random_maps(found, 0).items()}
        for weights in importance(spec_of(found), maps).values():
            if found.class_activation != "softmax":
                assert (weights == np.float32(FLOOR)).all()


def test_large_logits_stay_finite() -> None:
    for found in HEADS.values():
        for number in (-1e4, 1e4):
            maps = {name: np.full_like(array, number) for name, array in random_maps(found, 0).items()}
            with np.errstate(over="raise", invalid="raise"):
                for weights in importance(spec_of(found), maps).values():
                    assert np.isfinite(weights).all()


def test_kinds_of_channels() -> None:
    spec = spec_of(HEADS["yolo"])
    each = [BOX] * 4 + [OBJECTNESS] + [CLASS] * CLASSES
    assert channel_kinds(spec, "m", 2 * len(each)).tolist() == each * 2
    each = [BOX] * 8 + [OBJECTNESS] + [CLASS] * CLASSES
    assert channel_kinds(spec_of(HEADS["gaussian"]), "m", 2 * len(each)).tolist() == each * 2
    spec = spec_of(HEADS["yolox"])
    assert channel_kinds(spec, "b", 4).tolist() == [BOX] * 4
    assert channel_kinds(spec, "o", 1).tolist() == [OBJECTNESS]
    assert channel_kinds(spec, "c", 3).tolist() == [CLASS] * 3
    assert channel_kinds(spec_of(HEADS["dfl"]), "b", 32).tolist() == [BOX] * 32
    assert channel_kinds(spec, "another", 2).tolist() == [BOX] * 2


def test_which_classes_are_logistic() -> None:
    assert has_logistic_classes(spec_of(HEADS["yolo"]), "m")
    assert not has_logistic_classes(spec_of(HEADS["region"]), "m")
    assert not has_logistic_classes(spec_of(replace(HEADS["yolo"], tree=(-1, 0, 0))), "m")
