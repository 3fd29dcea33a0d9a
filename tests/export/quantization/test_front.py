"""The front of accuracy control: what is expected, what beats what, what is said of it, and damaged ones."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from yolo_edge.export.controlled import describe
from yolo_edge.export.quantization.front import Front, Point, expect, mark_best, read_front, reversals
from yolo_edge.export.quantization.plan import QuantizationPlan
from yolo_edge.export.quantization.ranking import Damage
from yolo_edge.ondevice.errors import InputError


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_what_is_expected_never_rises(losses: list[float]) -> None:
    found = expect(losses)
    assert len(found) == len(losses)
    assert all(b <= a + 1e-9 for a, b in pairwise(found))
    assert sum(found) == pytest.approx(sum(losses), abs=1e-6)
    assert expect(sorted(losses, reverse=True)) == sorted(losses, reverse=True)
    # the nearest of all that never rise: no constant, and no other that does not rise either
    error = sum((a - b) ** 2 for a, b in zip(found, losses, strict=True))
    for other in (np.minimum.accumulate(losses), np.full(len(losses), np.mean(losses))):
        assert error <= float(np.square(other - losses).sum()) + 1e-6


def test_points_that_no_other_beats() -> None:
    def point(number: int, time: float, expected: float) -> Point:
        return Point(number=number, floats=(), int8=1, agreement=None, drop=None, time=time, expected=expected)

    marked = mark_best((point(0, 0.5, 3), point(1, 0.6, 3), point(2, 0.7, 1), point(3, 1.0, 0), point(4, 1.0, 0)))
    assert [item.best for item in marked] == [True, False, True, True, True]


def test_what_is_not_monotone_beyond_noise() -> None:
    def point(number: int, agreement: tuple[float, float], drop: tuple[float, float]) -> Point:
        middle = sum(agreement) / 2
        return Point(
            number=number,
            floats=(),
            int8=1,
            agreement=middle,
            drop=sum(drop) / 2,
            time=1.0,
            agreement_interval=agreement,
            interval=drop,
        )

    falling = [point(0, (0.90, 0.94), (1, 3)), point(1, (0.96, 0.98), (-1, 1)), point(2, (1, 1), (0, 0))]
    assert reversals(falling, drops=False) == reversals(falling, drops=True) == []
    noisy = [falling[0], falling[1], point(2, (0.93, 0.97), (0.5, 2)), point(3, (1, 1), (0, 0))]
    assert reversals(noisy, drops=False) == reversals(noisy, drops=True) == []
    worse = [*noisy[:2], point(2, (0.80, 0.90), (2.5, 5)), noisy[3]]
    assert reversals(worse, drops=False) == reversals(worse, drops=True) == [(1, 2)]
    # the float network itself worse than a mix, by more than chance
    gains = [point(0, (0.9, 0.9), (-3, -1)), point(1, (1, 1), (0, 0))]
    assert reversals(gains, drops=True) == [(0, 1)]
    assert reversals([structs.replace(item, agreement_interval=None) for item in worse], drops=False) == []
    assert reversals(worse[:1], drops=True) == reversals([], drops=True) == []


@given(st.integers(0, 2**32 - 1))
def test_noise_alone_is_no_reversal(seed: int) -> None:
    """Fronts that are flat, and measured with noise of the size that they say, hardly ever seem to rise."""
    rng = np.random.default_rng(seed)
    false_alarms = 0
    for _ in range(40):
        found = rng.normal(1.0, 0.5, 10)
        points = [
            Point(
                number=i,
                floats=(),
                int8=1,
                agreement=None,
                drop=drop,
                time=1.0,
                interval=(drop - 0.98, drop + 0.98),
            )
            for i, drop in enumerate(found.tolist())
        ]
        false_alarms += bool(reversals(points, drops=True))
    assert false_alarms <= 12  # 2 are expected; more than 12 by chance once in 1e6


def test_what_is_said_of_a_front() -> None:
    def damage(name: str, cause: str | None, interval: tuple[float, float] | None) -> Damage:
        drop = None if interval is None else sum(interval) / 2
        return Damage(
            group=name, op="Conv", nodes=2, sqnr_db=20.0, noise=0.1, cause=cause, drop=drop, interval=interval
        )

    def point(number: int, drop: float, half: float) -> Point:
        return Point(
            number=number,
            floats=("a", "b")[:number],
            int8=2 - number,
            agreement=0.9,
            drop=drop,
            time=1.0,
            interval=(drop - half, drop + half),
            agreement_interval=(0.88, 0.92),
        )

    front = Front(
        limit="max-drop 0.5",
        format="onnx",
        steering_images=40,
        convolutions=2,
        points=(point(0, 0.2, 2.0), point(1, 0.1, 1.5), point(2, 0.0, 0.0)),
        chosen=0,
        judged=None,
        ranking=(damage("a", None, (1.0, 3.0)), damage("b", "a", None)),
        groups={"a": ("a",), "b": ("b",)},
        plan=QuantizationPlan(),
    )
    said = describe(front)
    assert said[0].endswith("most harm: a (20.0 dB, loses 2.00 points [+1.00, +3.00]), b (20.0 dB, because of a)")
    assert any("40 pictures that steer tell mAP50 to ± 1.8 points only" in text for text in said)
    assert not any("do not always lose less" in text for text in said)
    fine = structs.replace(front, points=tuple(structs.replace(item, interval=(-0.1, 0.1)) for item in front.points))
    assert not any("tell mAP50" in text for text in describe(fine))
    broken = structs.replace(front, points=(point(0, 0.0, 0.1), point(1, 5.0, 0.1), point(2, 0.0, 0.0)))
    assert any("(points 0 and 1)" in text for text in describe(broken))
    agrees = structs.replace(front, limit="min-agreement 0.99")
    assert any("tell agreement to ± 0.020 only" in text for text in describe(agrees))


def test_fronts_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    assert read_front(path) is None
    path.write_text('{"points": 3}')
    with pytest.raises(InputError, match="not a front"):
        read_front(path)
    path.write_text("[" * 100_000)
    assert read_front(path) is None
