import numpy as np
import pytest

from yolo_edge.anchors import assign, default_strides, region_fragment, yolo_fragment
from yolo_edge.ondevice.errors import InputError

YOLOV3 = np.array(
    [[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]], np.float64
)


def test_either_order() -> None:
    coarse_to_fine = assign(YOLOV3, (32, 16, 8))  # yolov3.cfg
    assert [head.mask for head in coarse_to_fine] == [(6, 7, 8), (3, 4, 5), (0, 1, 2)]
    fine_to_coarse = assign(YOLOV3, (8, 16, 32))  # yolov4.cfg
    assert [head.mask for head in fine_to_coarse] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert [head.stride for head in fine_to_coarse] == [8, 16, 32]


def test_what_is_left_over_goes_to_the_coarsest() -> None:
    assert [len(head.mask) for head in assign(np.ones((10, 2)), (32, 16, 8))] == [4, 3, 3]
    assert [len(head.mask) for head in assign(np.ones((11, 2)), (8, 16, 32))] == [3, 4, 4]
    with pytest.raises(InputError, match="k = 2: there are 3 heads"):
        assign(np.ones((2, 2)), (8, 16, 32))


@pytest.mark.parametrize("k", range(1, 16))
def test_every_anchor_has_one_head(k: int) -> None:
    heads = assign(np.ones((k, 2)), default_strides(k))
    assert sorted(number for head in heads for number in head.mask) == list(range(k))


def test_fragments() -> None:
    text = yolo_fragment(YOLOV3, assign(YOLOV3, (32, 16, 8)), 80)
    assert "anchors = 10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326" in text
    assert "num = 9" in text
    assert text.count("filters = 255") == 3
    assert "stride 32: mask = 6,7,8" in text
    # yolov2-voc.cfg has 1.3221, 1.73145 …: cells of 32 pixels
    text = region_fragment(np.array([[42.3072, 55.4064], [102.168, 128.298]]), 32, 20)
    assert "anchors = 1.3221,1.7314, 3.1928,4.0093" in text
    assert "filters = 50" in text
