import re
from pathlib import Path

import numpy as np
import pytest

from tests.support import random_picture
from yolo_edge.ondevice import draw as draw_module
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.draw import _ascii, _overlap, _place_label, color_of, draw


def detections(*boxes: tuple[float, ...]) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count).astype(np.float32),
        np.arange(count) % 3,
    )


@pytest.mark.parametrize("size", [(16, 16), (40, 300), (320, 240), (3000, 2000)])
def test_draws_within_a_copy_at_any_size(size: tuple[int, int]) -> None:
    width, height = size
    image = random_picture(width, height)
    before = image.copy()
    found = detections(
        (0, 0, width, height), (width / 4, height / 4, width / 2, height / 2), (width, height, width, height)
    )
    drawn = draw(image, found, ["person", "a very long name of a class", "tür"])
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, image)
    np.testing.assert_array_equal(image, before)


def test_nothing_found_draws_nothing() -> None:
    image = random_picture(64, 48)
    np.testing.assert_array_equal(draw(image, detections(), []), image)


def test_the_box_is_where_it_should_be() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    drawn = draw(image, detections((100, 80, 200, 160)), ["x"])
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert columns.min() in (99, 100)
    assert columns.max() in (200, 201)
    assert rows.max() in (160, 161)


# COCO's ids: a person, a dog and a car, with what is often beside them; what stands in a street, on a table
TOGETHER = [
    (0, range(1, 53)), (0, range(54, 80)), (16, (1, 2, 7, 13, 15, 17, 56, 57)), (2, (1, 3, 5, 7, 9, 11)), (5, (6, 7)),
    (39, range(40, 46)), (42, (43, 44)), (56, (57, 58, 60, 62)), (62, (63, 64, 66)),
]  # fmt: skip


def test_what_is_often_together_has_different_colors() -> None:
    for one, others in TOGETHER:
        assert color_of(one) not in [color_of(other) for other in others if other not in (23, 46, 76)], one


def test_the_colors_are_those_of_the_live_page() -> None:
    script = (Path(draw_module.__file__).parents[1] / "demo/boxes.js").read_text()
    palette = re.findall(r"\[(\d+), (\d+), (\d+)\]", script.split("];")[0])
    step = re.search(r"STEP = (\d+);", script)
    assert step
    for class_id in range(80):
        again, first = divmod(class_id, len(palette))
        red, green, blue = palette[(first + int(step[1]) * again) % len(palette)]
        assert color_of(class_id) == (int(blue), int(green), int(red))


def test_labels_do_not_cover_each_other() -> None:
    taken: list[tuple[int, int, int, int]] = []
    for offset in range(5):  # five boxes almost in the same place
        label = _place_label((100 + offset, 100, 200, 200), (80, 20), (400, 400), taken)
        assert not any(_overlap(label, other) for other in taken)
        taken.append(label)


@pytest.mark.parametrize("box", [(0, 0, 400, 400), (390, 390, 400, 400), (-20, -20, 5, 5), (0, 395, 10, 500)])
def test_labels_stay_in_the_picture(box: tuple[int, int, int, int]) -> None:
    x1, y1, x2, y2 = _place_label(box, (80, 20), (400, 400), [])
    assert 0 <= x1 < x2 <= 400
    assert 0 <= y1 < y2 <= 400


def test_letters_that_the_font_lacks() -> None:
    assert _ascii("café 日本 x") == "cafe ?? x"
