"""The sample's scenes as a source."""

import itertools

import numpy as np
import pytest

from tests.demo.support import demo_of, names_of_threads, scripted
from tests.support import wait_for
from yolo_edge.demo import scenes
from yolo_edge.demo.sources import open_source


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FPS", 1000.0)
    monkeypatch.setattr(scenes, "EACH", 6)


def some(source: scenes.Scenes, count: int) -> list[np.ndarray]:
    source.open()
    images = []
    for _ in range(count):
        taken = source.read()
        assert taken is not None
        images.append(taken[0])
    source.close()
    return images


def test_pictures_move_and_scenes_change() -> None:
    before = names_of_threads()
    images = some(scenes.Scenes(3), 14)
    assert {image.shape for image in images} == {(480, 640, 3)}
    changes = [float(np.abs(np.subtract(a, b, dtype=np.int16)).mean()) for a, b in itertools.pairwise(images)]
    assert min(changes) > 0.5  # no picture twice
    assert names_of_threads() == before


def test_the_same_seed_gives_the_same_pictures() -> None:
    one, other, another = some(scenes.Scenes(3), 8), some(scenes.Scenes(3), 8), some(scenes.Scenes(4), 8)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0], another[0])


def test_a_demo_of_them() -> None:
    source = open_source("scenes")
    assert source.live
    with demo_of(source, [scripted()], view=True) as demo:
        wait_for(lambda: demo.inference.frames > 15)
    assert demo.inference.error is None
