"""Which pictures calibrate, steer and judge."""

from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import random_picture
from yolo_edge.datasets import read_dataset
from yolo_edge.export.quantization.roles import roles_of_dataset, roles_of_pictures
from yolo_edge.ondevice.errors import InputError


@given(st.integers(12, 300), st.integers(2, 100), st.integers(0, 5))
def test_no_picture_has_two_roles(count: int, calibrating: int, seed: int) -> None:
    paths = [Path(f"/pictures/{i}.jpg") for i in range(count)]
    if count - min(calibrating, count // 2) < 8:
        return
    roles = roles_of_pictures(paths, calibrating, seed)
    parts = [set(roles.calibration), set(roles.steer.paths), set(roles.judge.paths)]
    assert sum(map(len, parts)) == len(set.union(*parts)) <= count
    assert len(roles.calibration) == min(calibrating, count // 2)
    assert abs(len(roles.steer.paths) - len(roles.judge.paths)) <= 1
    assert "steer" in roles.notes[0]


def test_roles_of_a_dataset(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / part).mkdir(parents=True)
        for i in range(10):
            cv2.imwrite(str(tmp_path / "images" / part / f"{i}.png"), random_picture(20, 20, i))
            lines = [f"0 0.5 0.5 0.2 0.{number + 1}\n" for number in range(i % 3 + 1)]
            (tmp_path / "labels" / part / f"{i}.txt").write_text("".join(lines))
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    validation = read_dataset(tmp_path / "data.yaml")
    validation_boxes = {path: int((validation.image == i).sum()) for i, path in enumerate(validation.paths)}
    training = read_dataset(tmp_path / "data.yaml", training=True).paths
    roles = roles_of_dataset(validation, training)
    assert set(roles.calibration) == set(training)
    assert len(roles.steer.paths) == len(roles.judge.paths) == 5
    for part in (roles.steer, roles.judge):
        assert part.dataset is not None
        assert part.dataset.paths == part.paths
        for number, path in enumerate(part.paths):
            of_picture = part.dataset.image == number
            assert of_picture.sum() == validation_boxes[path]
    assert roles.notes == ("the training part calibrates, 5 other pictures steer, 5 others judge",)
    named = roles_of_dataset(validation, training, source="what --calibration names")
    assert named.notes[0].startswith("what --calibration names calibrates, 5 other")
    whole = roles_of_dataset(validation, validation.paths, 2)
    assert "which has no part of its own for that, calibrate, 4 other pictures steer" in whole.notes[0]
    used = [*whole.calibration, *whole.steer.paths, *whole.judge.paths]
    assert len(used) == len(set(used)) == 10
    assert len(whole.calibration) == 2
    with pytest.raises(InputError, match="others that judge"):
        roles_of_dataset(validation, validation.paths, 64)
