import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support import random_picture, wait_for
from yolo_edge.datasets import Preparer, load_images
from yolo_edge.ondevice.errors import InputError
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.spec import InputSpec


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((10 + i, 30, 3), i, np.uint8))
    return paths


def test_order_is_kept(pictures: list[Path]) -> None:
    def slow_at_first(image: np.ndarray) -> int:
        time.sleep(0.002 * (30 - image.shape[0]))  # later ones are done sooner
        return int(image[0, 0, 0])

    items = list(load_images(pictures, slow_at_first, workers=4, ahead=6))
    assert [item.get() for item in items] == list(range(20))
    assert [item.index for item in items] == list(range(20))
    assert [item.size for item in items] == [(30, 10 + i) for i in range(20)]
    assert [item.path for item in items] == pictures


def test_memory_is_bounded(pictures: list[Path]) -> None:
    begun = 0
    lock = threading.Lock()

    def prepare(image: np.ndarray) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return 0

    for used, _ in enumerate(load_images(pictures, prepare, workers=2, ahead=3), start=1):
        time.sleep(0.005)  # let the workers run as far as they may
        with lock:
            assert begun <= used + 2 + 3


def test_a_bad_picture_does_not_end_the_job(pictures: list[Path], tmp_path: Path) -> None:
    pictures[3].write_bytes(b"no picture")
    pictures[7].unlink()
    items = list(load_images(pictures, lambda image: image.shape))
    assert [item.index for item in items if item.error] == [3, 7]
    assert items[3].value is None
    with pytest.raises(InputError, match=r"3\.png: not a picture"):
        items[3].get()
    assert items[19].get() == (29, 30, 3)


def test_leaving_early_ends_the_workers(pictures: list[Path]) -> None:
    before = threading.active_count()
    for item in load_images(pictures, lambda image: image):
        assert threading.active_count() > before
        if item.index == 2:
            break
    wait_for(lambda: threading.active_count() == before)


def test_an_error_of_prepare_reaches_the_caller(pictures: list[Path]) -> None:
    def prepare(image: np.ndarray) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        list(load_images(pictures, prepare))


def test_options() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        list(load_images([], lambda image: image, workers=0))
    assert list(load_images([], lambda image: image)) == []


def test_preparer_in_many_threads(tmp_path: Path) -> None:
    specs = [InputSpec(64, 32), InputSpec(32, 48, resize="letterbox", dtype="uint8", layout="NHWC")]
    paths = []
    for i in range(16):
        paths.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(paths[-1]), random_picture(20 + 3 * i, 70 - 2 * i, i))
    items = list(load_images(paths, Preparer(specs), workers=4, ahead=8))
    for path, item in zip(paths, items, strict=True):
        for spec, (tensor, placement) in zip(specs, item.get(), strict=True):
            expected, place = Preprocessor(spec)(cv2.imread(str(path)))
            np.testing.assert_array_equal(tensor, expected)
            assert placement == place
