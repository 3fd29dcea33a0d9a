"""Integers at the ends of int8 files: pixels become them, and they become raw maps."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import random_picture
from yolo_edge.ondevice.decode import check_heads, decode
from yolo_edge.ondevice.errors import SpecError
from yolo_edge.ondevice.preprocess import Preprocessor
from yolo_edge.ondevice.quantized import affine_of, may_exceed, pixel_table, to_floats
from yolo_edge.ondevice.spec import Head, InputSpec, ModelSpec, TensorQuantization

NAMES = ("a", "b", "c")
# family → role → channels
CHANNELS = {
    "dfl": {"box": 16, "classes": 3},
    "region": {"map": 2 * 8},
    "yolo": {"map": 2 * 8},
    "yolov5": {"map": 2 * 8},
    "yolox": {"box": 4, "objectness": 1, "classes": 3},
}


def quantized_spec(family: str, layout: str, seed: int) -> tuple[ModelSpec, dict[str, np.ndarray]]:
    """A head of integers, and its maps."""
    rng = np.random.default_rng(seed)
    tensors = {role: f"{role}_out" for role in CHANNELS[family]}
    quantization, maps = {}, {}
    for role, channels in CHANNELS[family].items():
        own = rng.random() < 0.5
        quantization[tensors[role]] = TensorQuantization(
            float(rng.uniform(0.01, 0.1)),
            int(rng.integers(-128, 128)),
            tuple(rng.uniform(0.2, 3, channels).tolist()) if own else (),
            tuple(rng.normal(0, 2, channels).tolist()) if own else (),
        )
        shape = (1, 4, 8, channels) if layout == "NHWC" else (1, channels, 4, 8)
        maps[tensors[role]] = rng.integers(-128, 128, shape).astype(np.int8)
    anchors = ((8.0, 9.0), (20.0, 12.0)) if "map" in tensors else ()
    head = Head(family, 8, tensors, anchors, layout=layout, quantization=quantization)
    return ModelSpec(InputSpec(64, 32), (head,), NAMES), maps


@pytest.mark.parametrize("family", CHANNELS)
@settings(max_examples=60)
@given(
    layout=st.sampled_from(["NCHW", "NHWC"]), seed=st.integers(0, 2**32), threshold=st.sampled_from([-1, 0, 0.1, 0.6])
)
def test_decoding_integers_is_decoding_their_numbers(family: str, layout: str, seed: int, threshold: float) -> None:
    spec, maps = quantized_spec(family, layout, seed)
    floats = to_floats(spec, maps)
    plain = dataclasses.replace(spec, heads=(dataclasses.replace(spec.heads[0], quantization={}),))
    expected = decode(plain, floats, threshold)
    # numbers in the place of integers are taken as they are
    for found in (decode(spec, maps, threshold), decode(spec, floats, threshold)):
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_numbers_of_channels() -> None:
    spec, maps = quantized_spec("yolo", "NHWC", 5)
    head = spec.heads[0]
    quantization = TensorQuantization(0.5, 3, tuple(range(1, 17)), tuple(range(16)))
    spec = dataclasses.replace(
        spec, heads=(dataclasses.replace(head, quantization={head.tensors["map"]: quantization}),)
    )
    array = maps[head.tensors["map"]]
    found = to_floats(spec, maps)[head.tensors["map"]]
    assert found.dtype == np.float32
    expected = np.arange(1, 17) * (0.5 * (array.astype(np.float64) - 3)) + np.arange(16)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@given(
    scale=st.floats(1e-6, 100),
    zero=st.integers(-128, 127),
    factor=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
    limit=st.one_of(st.floats(-1000, 1000), st.sampled_from([-np.inf, np.inf])),
)
def test_no_integer_above_a_limit_is_missed(
    scale: float, zero: int, factor: float, offset: float, limit: float
) -> None:
    affine = affine_of(TensorQuantization(scale, zero, (factor,), (offset,)), 1)
    integers = np.arange(-128, 128, dtype=np.int8)[:, None]
    above = integers * affine[0] + affine[1] > np.float32(limit)
    assert (may_exceed(integers, affine, limit) | ~above).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize(
    ("mean", "scale", "quantization"),
    [
        ((0.0,) * 3, (1 / 255,) * 3, TensorQuantization(float(np.float32(1 / 255)), -128)),
        ((0.0,) * 3, (1 / 255,) * 3, TensorQuantization(0.005, -128)),
        ((0.0,) * 3, (1 / 255,) * 3, TensorQuantization(0.003, -128)),
        ((103.5, 116.3, 123.7), (0.017, 0.018, 0.019), TensorQuantization(0.0175, -14)),
    ],
)
def test_pixels_become_integers(
    layout: str, color: str, mean: tuple[float, ...], scale: tuple[float, ...], quantization: TensorQuantization
) -> None:
    plain = InputSpec(48, 32, layout=layout, color=color, mean=mean, scale=scale)  # type: ignore[arg-type]
    spec = dataclasses.replace(plain, dtype="int8", quantization=quantization)
    preprocessor = Preprocessor(spec)
    for seed in range(2):
        picture = random_picture(70, 20, seed)
        found, expected = preprocessor(picture)[0], Preprocessor(plain)(picture)[0]
        assert (found.dtype, found.shape) == (np.int8, expected.shape)
        steps = np.clip(np.rint(expected / quantization.scale) + quantization.zero_point, -128, 127)
        # numbers in the middle of two integers may go either way
        assert np.abs(found - steps).max() <= (0 if mean[0] == 0 else 1)
        assert (found == steps).mean() > 0.99


def test_pixels_that_only_change_their_sign() -> None:
    spec = InputSpec(16, 8, layout="NHWC", dtype="int8", quantization=TensorQuantization(1 / 255, -128))
    np.testing.assert_array_equal(pixel_table(spec)[:, 0], np.arange(-128, 128))
    picture = random_picture(16, 8)
    expected = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.int64) - 128
    np.testing.assert_array_equal(Preprocessor(spec)(picture)[0][0], expected)
    with pytest.raises(ValueError, match="the input is float32, not quantized"):
        pixel_table(InputSpec(16, 8))


HEAD = Head("yolox", 8, {"box": "b", "objectness": "o", "classes": "c"})
ONE = TensorQuantization(0.5, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "input.quantization: an int8 input has one, this one has none"),
        ({"quantization": ONE}, "input.quantization: is for int8 inputs, this one is float32"),
        (
            {"dtype": "int8", "quantization": TensorQuantization(0, 0)},
            "input.quantization.scale: expected a number above 0",
        ),
        (
            {"dtype": "int8", "quantization": TensorQuantization(1, 300)},
            r"input.quantization.zero_point: expected -128..255, got 300",
        ),
        (
            {"dtype": "int8", "quantization": TensorQuantization(1, 0, (1.0,))},
            "input.quantization: factor and offset are for heads",
        ),
    ],
)
def test_wrong_inputs(changes: dict[str, object], message: str) -> None:
    image = dataclasses.replace(InputSpec(64, 32), **changes)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(ModelSpec(image, (HEAD,), NAMES).to_json())


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"x": ONE}, r"heads\[0\].quantization: 'x' is no tensor of the head"),
        ({"b": TensorQuantization(0.5, 0, (1.0, 0.0))}, r"quantization.b.factor: expected numbers above 0"),
        ({"b": TensorQuantization(0.5, 0, (), (1e9,))}, r"quantization.b.offset: expected numbers up to 1e"),
    ],
)
def test_wrong_heads(quantization: dict[str, TensorQuantization], message: str) -> None:
    spec = ModelSpec(InputSpec(64, 32), (dataclasses.replace(HEAD, quantization=quantization),), NAMES)
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(spec.to_json())


def test_heads_and_types_fit_together() -> None:
    shapes = {"b": (1, 4, 4, 8), "o": (1, 1, 4, 8), "c": (1, 3, 4, 8)}
    head = dataclasses.replace(HEAD, quantization={"b": ONE})
    spec = ModelSpec(InputSpec(64, 32), (head,), NAMES)
    assert ModelSpec.from_json(spec.to_json()) == spec
    types = dict.fromkeys(shapes, "float32")
    check_heads(spec, shapes)
    check_heads(spec, shapes, dtypes={**types, "b": "int8"})
    with pytest.raises(SpecError, match=r"quantization: output 'b' is float32, and has one here"):
        check_heads(spec, shapes, dtypes=types)
    with pytest.raises(SpecError, match=r"quantization: output 'o' is int8, and has no quantization here"):
        check_heads(spec, shapes, dtypes={**types, "b": "int8", "o": "int8"})
    few = dataclasses.replace(HEAD, quantization={"b": TensorQuantization(0.5, 0, (1.0,) * 3)})
    with pytest.raises(SpecError, match=r"output 'b' has 4 channels, and 3 factors"):
        check_heads(dataclasses.replace(spec, heads=(few,)), shapes)
    decoded = Head("decoded", 1, {"map": "o"}, quantization={"o": ONE})
    with pytest.raises(SpecError, match="a decoded head holds float32"):
        check_heads(dataclasses.replace(spec, heads=(decoded,)), {"o": (1, 7, 50)})


def test_specs_of_float_files_do_not_speak_of_it() -> None:
    """Programs from before it refuse keys that they do not know."""
    assert "quantization" not in ModelSpec(InputSpec(64, 32), (HEAD,), NAMES).to_json()
