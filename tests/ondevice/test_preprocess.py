import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import random_picture
from yolo_edge.ondevice.preprocess import Preprocessor, place
from yolo_edge.ondevice.spec import InputSpec, TensorQuantization

sides = st.integers(1, 400)


def test_stretch_equals_the_plain_way() -> None:
    image = random_picture(300, 200)
    tensor, placement = Preprocessor(InputSpec(96, 64))(image)
    resized = cv2.resize(image, (96, 64), interpolation=cv2.INTER_LINEAR)
    expected = resized[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    np.testing.assert_allclose(tensor, expected, rtol=1e-6)
    assert tensor.dtype == np.float32
    assert placement.scale == (96 / 300, 64 / 200)


def test_equal_to_opencv_blob() -> None:
    image = random_picture(96, 64)
    tensor, _ = Preprocessor(InputSpec(96, 64))(image)
    np.testing.assert_allclose(tensor, cv2.dnn.blobFromImage(image, 1 / 255, swapRB=True), rtol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_layout_color_and_type(layout: str, color: str, dtype: str) -> None:
    image = random_picture(48, 32)
    spec = InputSpec(48, 32, layout=layout, color=color, dtype=dtype, mean=(1, 2, 3), scale=(0.5, 0.25, 2))
    tensor, _ = Preprocessor(spec)(image)
    ordered = image if color == "BGR" else image[:, :, ::-1]
    expected = ordered.astype(np.float32)
    if dtype == "float32":
        expected = (expected - np.float32([1, 2, 3])) * np.float32([0.5, 0.25, 2])
    expected = expected[None] if layout == "NHWC" else expected.transpose(2, 0, 1)[None]
    np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-5)
    assert tensor.dtype == dtype
    assert tensor.shape == spec.shape


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_channels_last_in_memory(dtype: str) -> None:
    quantization = TensorQuantization(1 / 100, -20) if dtype == "int8" else None
    spec = InputSpec(48, 32, dtype=dtype, mean=(1, 2, 3), scale=(0.5, 0.25, 2), quantization=quantization)
    expected, found = Preprocessor(spec), Preprocessor(spec, channels_last=True)
    for seed in range(2):
        picture = random_picture(70, 50, seed)
        tensor = found(picture)[0]
        np.testing.assert_array_equal(tensor, expected(picture)[0])
        assert tensor.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(("position", "top"), [("center", 16), ("top_left", 0)])
def test_letterbox_pads(position: str, top: int) -> None:
    spec = InputSpec(64, 64, dtype="uint8", layout="NHWC", resize="letterbox", pad_value=114, pad_position=position)
    tensor, placement = Preprocessor(spec)(np.full((50, 100, 3), 7, np.uint8))
    assert placement.offset == (0, top)
    assert (tensor[0, top : top + 32] == 7).all()
    assert (np.delete(tensor[0], slice(top, top + 32), axis=0) == 114).all()


def test_buffers_do_not_leak_between_pictures() -> None:
    spec = InputSpec(64, 64, resize="letterbox")
    preprocessor = Preprocessor(spec)
    pictures = [random_picture(w, h) for w, h in [(100, 50), (50, 100), (64, 64), (128, 128), (100, 50), (30, 64)]]
    for picture in pictures:
        again, _ = preprocessor(picture)
        fresh, _ = Preprocessor(spec)(picture)
        np.testing.assert_array_equal(again, fresh)


@given(width=sides, height=sides, net_width=sides, net_height=sides, resize=st.sampled_from(["stretch", "letterbox"]))
@settings(max_examples=200)
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, net_width: int, net_height: int, resize: str
) -> None:
    placement, size = place(InputSpec(net_width, net_height, resize=resize), width, height)
    assert 1 <= size[0] <= net_width
    assert 1 <= size[1] <= net_height
    source = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]], np.float32)
    inside = source * np.array(placement.scale * 2) + np.array(placement.offset * 2)
    assert inside.min() >= 0
    assert inside[:, 2].max() <= net_width + 1e-3
    assert inside[:, 3].max() <= net_height + 1e-3
    np.testing.assert_allclose(placement.to_source(inside), source, rtol=1e-4, atol=1e-2)


def test_boxes_are_clipped_to_the_picture() -> None:
    placement, _ = place(InputSpec(64, 64), 128, 32)
    boxes = placement.to_source(np.array([[-5, -5, 100, 100]], np.float32))
    np.testing.assert_array_equal(boxes, [[0, 0, 128, 32]])
    assert boxes.dtype == np.float32


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"got uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"got float32 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessor(InputSpec(8, 8))(image)


def test_pictures_that_are_not_contiguous() -> None:
    picture = random_picture(64, 48)
    mirrored = picture[:, ::-1]
    tensor, _ = Preprocessor(InputSpec(32, 32))(mirrored)
    expected, _ = Preprocessor(InputSpec(32, 32))(np.ascontiguousarray(mirrored))
    np.testing.assert_array_equal(tensor, expected)
