"""Scenes: the same from the same seed, with codes where the labels say."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_edge.datasets import read_dataset
from yolo_edge.ondevice.errors import InputError
from yolo_edge.sample import ARUCO_MARKER, BARCODE, CLASSES, QR_CODE
from yolo_edge.sample.scenes import Part, codes, scene, write_dataset
from yolo_edge.sample.scenes.codes import code
from yolo_edge.sample.scenes.patch import Code, Patch, rectangle
from yolo_edge.sample.scenes.scan import scan
from yolo_edge.sample.scenes.warp import bent, bounds, lay, turned


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, again, other = scene(7, 3), scene(7, 3), scene(7, 4)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_boxes_are_in_the_picture_and_of_the_sizes_that_are_promised() -> None:
    made = [scene(11, number) for number in range(60)]
    seen = np.concatenate([picture.class_id for picture in made])
    assert set(seen.tolist()) == {QR_CODE, ARUCO_MARKER, BARCODE}
    for picture in made:
        height, width = picture.image.shape[:2]
        assert picture.image.dtype == np.uint8
        assert (picture.boxes[:, :2] >= 0).all()
        assert (picture.boxes[:, 2:] <= (width, height)).all()
        sides = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(1, initial=0) * 320 / max(width, height)
        # a box that the edge of the picture cuts is smaller, by a quarter at most
        assert ((sides == 0) | ((sides > 10) & (sides < 321))).all()


def test_scans_fill_their_picture() -> None:
    shares = []
    for seed in range(40):
        made = scan(np.random.default_rng(seed))
        height, width = made.image.shape[:2]
        (box,) = made.boxes
        assert (box[:2] >= 0).all()
        assert (box[2:] <= (width, height)).all()
        shares.append(float((box[2:] - box[:2]).prod()) / (width * height))
    assert max(shares) > 0.85
    assert min(shares) > 0.05


def test_empty_scenes_have_no_code() -> None:
    reader = cv2.QRCodeDetector()
    for number in range(15):
        picture = scene(11, number, codes=False)
        assert len(picture.boxes) == 0
        found, _ = reader.detectAndDecode(picture.image)[:2]
        assert found == ""


def test_qr_codes_are_read_where_they_are_said_to_be() -> None:
    zxingcpp = pytest.importorskip("zxingcpp", reason="no zxing-cpp for this Python")
    read = 0
    for seed in range(30):
        patch = code(np.random.default_rng(seed), QR_CODE, 260)
        picture = cv2.copyMakeBorder(patch.image, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=patch.image[0, 0].tolist())
        found = zxingcpp.read_barcodes(picture)
        if not found:
            continue
        read += 1
        place = found[0].position
        corners = [(p.x, p.y) for p in (place.top_left, place.top_right, place.bottom_right, place.bottom_left)]
        assert bounds(np.array(corners, np.float32) - 60) == pytest.approx(bounds(patch.codes[0].outline), abs=6)
    assert read >= 26  # dots and logos make a few hard


def test_markers_are_read_where_they_are_said_to_be() -> None:
    read = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        patch = code(rng, ARUCO_MARKER, 200)
        found = False
        for name in codes._DICTIONARIES:
            detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}")))
            corners, _, _ = detector.detectMarkers(patch.image)
            for quad in corners:
                got, said = bounds(quad[0]), bounds(patch.codes[0].outline)
                found = found or bool(np.allclose(got, said, atol=4))
        read += found
    assert read >= 22  # inverted ones and those with a double border are not found by default


@pytest.mark.parametrize("around", [False, True])
def test_outlines_stay_on_what_they_outline(around: bool) -> None:
    """A white code on a black patch, bent and turned: its pixels and its outline have the same bounds."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        image = np.zeros((120, 200, 3), np.uint8)
        image[30:90, 40:160] = 255
        patch = Patch(image, np.full((120, 200), 255, np.uint8), (Code(0, rectangle(40, 30, 120, 60)),))
        shown = bent(rng, patch) if around else patch
        pose = turned(rng, shown.size)
        x1, y1, x2, y2 = bounds(pose(rectangle(0, 0, *shown.size)))
        pose = pose.scaled(300 / max(x2 - x1, y2 - y1))
        x1, y1, _, _ = bounds(pose(rectangle(0, 0, *shown.size)))
        pose = pose.moved(100 - x1, 100 - y1)
        picture = np.zeros((500, 500, 3), np.uint8)
        lay(np.random.default_rng(0), picture, shown, pose)
        rows, columns = np.nonzero(picture.max(2) > 30)
        got = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert got == pytest.approx(bounds(pose(shown.codes[0].outline)), abs=5)


def test_a_dataset_is_the_same_with_more_processes(tmp_path: Path) -> None:
    splits = {"train": (Part(5, 6),), "val": (Part(5, 3, start=6), Part(5, 2, codes=False))}
    digests = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        written = list(write_dataset(folder, splits, workers=workers))
        assert len(written) == 11
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digests.append(
            [(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
        )
    assert digests[0] == digests[1]
    data = read_dataset(tmp_path / "1" / "data.yaml")
    assert tuple(data.names) == CLASSES
    assert len(data.paths) == 5
    made = scene(5, 6)
    labels = (tmp_path / "1" / "labels" / "val" / "scene-5-00006.txt").read_text().splitlines()
    assert len(labels) == len(made.boxes)


def test_an_opencv_without_markers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    codes._dictionary.cache_clear()
    monkeypatch.delattr(cv2, "aruco")
    with pytest.raises(InputError, match=r"OpenCV 4\.7 or newer"):
        code(np.random.default_rng(0), ARUCO_MARKER, 50)
