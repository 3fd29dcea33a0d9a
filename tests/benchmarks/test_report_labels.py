"""Where the labels of points go, and what axes hold."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from yolo_edge.benchmarks.report.labels import Label, axis_of, place, steps


@given(
    st.lists(st.tuples(st.floats(0, 700), st.floats(0, 340)), min_size=1, max_size=20),
    st.lists(st.text("abc ×", min_size=1, max_size=20), min_size=20, max_size=20),
)
def test_labels_lie_on_nothing(points: list[tuple[float, float]], texts: list[str]) -> None:
    placed = place(points, [(i, texts[i]) for i in range(len(points))], 740, 360)

    def box(label: Label) -> tuple[float, float, float, float]:
        x, y = points[label.number][0] + label.dx, points[label.number][1] - label.dy
        wide = 6.2 * len(texts[label.number])
        left = {"left": x, "right": x - wide, "center": x - wide / 2}[label.align]
        return left, y - 6.5, left + wide, y + 6.5

    boxes = [(label.number, box(label)) for label in placed]
    for i, (number, (x1, y1, x2, y2)) in enumerate(boxes):
        assert min(x1, y1) >= 0
        assert x2 <= 740
        assert y2 <= 360
        for _, other in boxes[:i]:
            assert not (x1 < other[2] and other[0] < x2 and y1 < other[3] and other[1] < y2)
        for j, (x, y) in enumerate(points):
            if j != number:
                assert not (x1 < x + 5 and x - 5 < x2 and y1 < y + 5 and y - 5 < y2)


@given(st.lists(st.tuples(st.floats(0, 700), st.floats(0, 340)), min_size=2, max_size=8))
def test_labels_keep_off_lines(points: list[tuple[float, float]]) -> None:
    """Against points on the lines, close beside each other."""
    lines = [*pairwise(points), *steps(sorted(points))]
    for label in place(points, [(i, "608 int8") for i in range(len(points))], 740, 360, lines=lines):
        x, y = points[label.number][0] + label.dx, points[label.number][1] - label.dy
        wide = 6.2 * len("608 int8")
        left = {"left": x, "right": x - wide, "center": x - wide / 2}[label.align]
        for (x1, y1), (x2, y2) in lines:
            for share in np.linspace(0, 1, 400):
                at_x, at_y = x1 + share * (x2 - x1), y1 + share * (y2 - y1)
                assert not (left + 1e-6 < at_x < left + wide - 1e-6 and abs(at_y - y) < 6.5 - 1e-6)


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_axes_hold_their_values(values: list[float]) -> None:
    axis = axis_of(values, 100)
    for value in values:
        assert -1e-6 <= axis.at(value) <= 100 + 1e-6
