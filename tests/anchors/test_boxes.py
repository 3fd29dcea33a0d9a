from pathlib import Path

import numpy as np
import pytest

from tests.datasets.support import write_coco, write_voc
from yolo_edge.anchors.boxes import box_sizes
from yolo_edge.datasets import read_dataset
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.preprocess import place
from yolo_edge.ondevice.spec import InputSpec

RAW = [[20, 30], [80, 60], [20, 80]]  # in pictures of 80x60, 80x60 and 50x100


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("none", RAW),
        ("stretch", [[40, 60], [160, 120], [64, 96]]),
        ("letterbox", [[40, 60], [160, 120], [24, 96]]),
    ],
)
def test_resize(resize: str, expected: list[list[float]], tmp_path: Path) -> None:
    dataset = read_dataset(write_coco(tmp_path))
    found = box_sizes(dataset, (160, 120), resize)
    np.testing.assert_allclose(found.boxes, expected)
    assert sum(found.left_out.values()) == 0


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_as_the_network_sees_them(resize: str, tmp_path: Path) -> None:
    dataset = read_dataset(write_coco(tmp_path))
    found = box_sizes(dataset, (320, 256), resize)
    for raw, size, image in zip(RAW, found.boxes, dataset.image, strict=True):
        placement, _ = place(InputSpec(320, 256, resize=resize), *dataset.sizes[image].tolist())
        np.testing.assert_allclose(size, np.array(raw) * placement.scale, rtol=0.02)


def test_what_is_left_out(tmp_path: Path) -> None:
    dataset = read_dataset(write_voc(tmp_path), training=True)
    assert box_sizes(dataset, (32, 32), "none").left_out == {"crowd": 0, "difficult": 1, "zero_size": 0}
    assert len(box_sizes(dataset, (32, 32), "none", difficult=True).boxes) == 3
    with pytest.raises(InputError, match=r"no boxes to cluster \(left out: 1 difficult\)"):
        box_sizes(read_dataset(tmp_path, split="val"), (32, 32), "none")
    with pytest.raises(InputError, match="resize: expected stretch, letterbox, none"):
        box_sizes(dataset, (32, 32), "crop")
