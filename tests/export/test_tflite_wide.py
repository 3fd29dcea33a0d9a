"""int8x16 and int8-weights in TFLite: every operator, and the rounding of weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.int8_operations import KINDS, random_operation
from tests.tflite_support import nhwc
from yolo_edge.export import write_tflite
from yolo_edge.export.rounding import as_int8
from yolo_edge.ondevice.runtimes.tflite import load_interpreter, load_plain_interpreter


@pytest.mark.parametrize("kind", KINDS)
def test_operators_of_16_bits(kind: str) -> None:
    """As near to what int8 gives as int8 rounds, and the same in both runtimes' kernels."""
    for seed in range(3):
        operation = random_operation(kind, seed)
        before, after = (operation.quantized.plan.tensors[name] for name in ("images", "head_0"))
        floats = (operation.integers.astype(np.float32) - before.zero_point) * np.float32(before.scale)
        data = write_tflite(operation.quantized, operation.spec, "int8x16")
        found = []
        for load in (load_interpreter, load_plain_interpreter):
            interpreter = load(data)
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], nhwc(floats))
            interpreter.invoke()
            found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        np.testing.assert_allclose(found[0], found[1], atol=1e-4 * max(np.abs(found[1]).max(), 1))
        expected = (operation.expected() - after.zero_point) * after.scale
        # beyond the range of int8, which is not symmetrical, 16 bits reach further
        inside = np.clip(found[0], *after.bounds)
        # int8 itself rounds several times within an activation
        steps = 6 if kind in ("SiLU", "HardSwish") else 1.6
        assert np.abs(inside - expected).max() <= steps * after.scale, operation.label


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 4), st.just(3), st.just(3)),
        elements=st.floats(-50, 50, width=32),
    )
)
def test_weights_as_int8(weight: np.ndarray) -> None:
    integers, scale = as_int8(weight)
    assert (integers.shape, integers.dtype, scale.shape) == (weight.shape, np.int8, (len(weight),))
    assert np.abs(integers.astype(int)).max(initial=0) <= 127
    back = integers * scale.reshape(-1, 1, 1, 1).astype(np.float64)
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1).reshape(-1, 1, 1, 1)
    plain = np.rint(weight / np.maximum(largest / 127, 1e-32)) * (largest / 127)
    for found, other, exact in zip(back, plain, weight, strict=True):
        # never worse than the scale that reaches to the largest
        assert np.square(found - exact).sum() <= np.square(other - exact).sum() * 1.001 + 1e-9 * np.square(exact).sum()
